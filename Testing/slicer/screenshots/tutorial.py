"""The pictures of the tasks in docs/slicer.md, taken of what their steps lead to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.flows.tutorial.page import Picture, Task, tasks
from Testing.slicer.flows.tutorial.reader import Reader
from Testing.slicer.flows.tutorial.steps import (  # noqa: F401 - these register what does each step
    common,
    elsewhere,
    export,
    lesions,
    offline,
    sarcoma,
)
from Testing.slicer.flows.user import User
from Testing.slicer.screenshots.window import in_documents, leave_empty, turn_to, write

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host
    from Testing.slicer.host.views.three_d_view import ThreeDView

#: Of the folder of the pictures that ship.
FOLDER = "tutorial"


def take(host: Host, folder: Path) -> Iterator[Path]:
    """Follows all tasks from an empty scene each, and writes their pictures into a folder."""
    engines: Any = None
    for task in tasks():
        with TemporaryDirectory() as work, pytest.MonkeyPatch.context() as patch:
            reader = Reader(User(host, engines), Path(work), patch)
            engines = reader.user.engines
            yield from follow(reader, task, folder)
            host.clear()
            host.activate()


def follow(reader: Reader, task: Task, folder: Path) -> list[Path]:
    """Does a task, and returns its pictures."""
    host, written = reader.user.host, []

    def look(picture: Picture) -> None:
        prepare(reader, view)
        written.append(write(host, folder / picture.file.name))

    with in_documents(host) as view:
        reader.follow(task, look)
    return written


def prepare(reader: Reader, view: ThreeDView) -> None:
    """The list has its figures; a surface is in sight; what the task is about is not scrolled away."""
    user = reader.user
    if user.node is not None:
        _ = user.lesions
    if user.node is not None and user.node.GetSegmentation().ContainsRepresentation("Closed surface"):
        turn_to(user.node, view)
    else:
        leave_empty(view)
    if user.last is not None and user.ui.sectionsArea.isVisible():
        user.ui.sectionsArea.ensureWidgetVisible(section_of(user.last), 0, 0)
        user.host.process_events()


def section_of(control: Any) -> Any:
    """The section of the panel that a control is in; a section is in itself."""
    import ctk

    while not isinstance(control, ctk.ctkCollapsibleButton):
        control = control.parent()
    return control
