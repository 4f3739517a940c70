"""A progress bar for whoever watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

#: Called with steps done, steps in all, and a remark on the last.
Progress: TypeAlias = Callable[[int, int, str], None]


@contextmanager
def progress_bar(title: str, shown: bool = True) -> Iterator[Progress]:
    """Shows a bar on standard error while the block runs; nothing unless that is a terminal, and ``shown``."""
    if not (shown and sys.stderr.isatty()):
        yield lambda *_: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[remark]}", markup=False),
    )
    # What is printed meanwhile goes above the bar, unless it goes to a file.
    with progress.Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(title, total=None, remark="")
        yield lambda done, total, remark: bar.update(task, completed=done, total=total, remark=remark)
