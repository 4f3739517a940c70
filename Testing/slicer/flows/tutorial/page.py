"""The tasks of docs/slicer.md as its readers follow them: numbered steps, and pictures of what they lead to."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from Testing.documents import FENCE, REPOSITORY, text_of

PAGE = "docs/slicer.md"
NUMBER = re.compile(r"^(\d+)\. ")
PICTURE = re.compile(r"^!\[([^\]]+)\]\(([^)]+)\)$")


@dataclass(frozen=True)
class Step:
    """One step: what to do, and what then is seen.

    Attributes:
        number: as the page has it.
        text: on one line, without its code.
        commands: its commands for the shell, by their words.
    """

    number: int
    text: str
    commands: tuple[tuple[str, ...], ...] = ()

    @property
    def used(self) -> set[str]:
        """The words that stand on what is used: they are bold."""
        return set(re.findall(r"\*\*(.+?)\*\*", self.text))

    @property
    def said(self) -> list[str]:
        """The sentences that the strip says at its end; an ellipsis stands for any figure."""
        return re.findall(r'strip says "([^"]+)"', self.text)


@dataclass(frozen=True)
class Picture:
    """A picture of what is seen after the steps above it."""

    file: Path


@dataclass(frozen=True)
class Task:
    """A heading with its steps and pictures, in order."""

    title: str
    parts: tuple[Step | Picture, ...]

    @property
    def steps(self) -> list[Step]:
        return [part for part in self.parts if isinstance(part, Step)]

    @property
    def pictures(self) -> list[Picture]:
        return [part for part in self.parts if isinstance(part, Picture)]


def tasks() -> list[Task]:
    """The tasks of the page."""
    section = re.split(r"^## ", text_of(PAGE), flags=re.MULTILINE)
    (found,) = [each for each in section if each.startswith("Tasks\n")]
    return [_task(each) for each in re.split(r"^### ", found, flags=re.MULTILINE)[1:]]


def _task(text: str) -> Task:
    title, _, rest = text.partition("\n")
    return Task(title, tuple(_parts(rest)))


def _parts(text: str) -> Iterator[Step | Picture]:
    """Steps end before the next one, before a picture, and before a paragraph that is not indented."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if lines and (not line.strip() or line.startswith("   ")):
            lines.append(line)
            continue
        if lines:
            yield _step("\n".join(lines))
            lines = []
        if NUMBER.match(line):
            lines = [line]
        picture = PICTURE.match(line)
        if picture:
            yield Picture((REPOSITORY / PAGE).parent.joinpath(picture[2]).resolve())
    if lines:
        yield _step("\n".join(lines))


def _step(text: str) -> Step:
    number, _, words = text.partition(". ")
    code = [textwrap.dedent(match[2]) for match in FENCE.finditer(text) if match[1].strip() == "sh"]
    commands = tuple(tuple(shlex.split(line)) for block in code for line in block.splitlines())
    return Step(int(number), " ".join(FENCE.sub("", words).split()), commands)
