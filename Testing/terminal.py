"""A terminal in the place of standard error."""

from __future__ import annotations

import io
import re

import pytest


class Terminal(io.StringIO):
    """Text written to a terminal."""

    def isatty(self) -> bool:
        """True."""
        return True

    def shows(self, *texts: str) -> bool:
        """Whether all texts appear, colours and cursor movements aside."""
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())
        return all(text in plain for text in texts)


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Replaces standard error by a terminal. Not a fixture: pytest sets standard error anew after those."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    return stream
