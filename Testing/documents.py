"""The documents as their tests read them: blocks of code, commands, code spans and links."""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))]
FENCE = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: path in the repository.
        line: number of its first line of code.
        language: as the fence states it; empty where it does not.
        text: the code.
        name: the last code span before the block: what a reader would save it as, where it is a file.
    """

    page: str
    line: int
    language: str
    text: str
    name: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each command of a block for the shell, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text, found = text_of(page), []
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        spans = SPAN.findall(FENCE.sub("", before))
        line, code = before.count("\n") + 2, textwrap.dedent(match[2])
        found.append(Block(page, line, match[1].strip(), code, spans[-1] if spans else ""))
    return found


def prose_of(page: str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", text_of(page))


def headings_of(page: str) -> list[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    titles = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
