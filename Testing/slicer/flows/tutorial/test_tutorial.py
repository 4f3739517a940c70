"""docs/slicer.md is true: each step of each task is done by mouse and keys, with the models that ship."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from Testing.slicer.flows.tutorial.page import Task, tasks
from Testing.slicer.flows.tutorial.reader import STEPS, Reader
from Testing.slicer.flows.user import User
from Testing.slicer.module import OUTPUT, REPOSITORY
from Testing.slicer.screenshots import tutorial
from Testing.slicer.screenshots.window import WINDOW_SIZE

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

TASKS = tasks()
TITLES = [
    "Sarcoma on PET/CT",
    "Lung nodule on CT",
    "Brain lesion on FLAIR",
    "Second lesion",
    "Correct a contour from elsewhere",
    "Measure and export",
    "Without internet",
]
LARGEST_BYTES = 200_000

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def engines() -> dict[str, Any]:
    """Those that the first reader made, for the others, so that models are loaded once."""
    return {}


@pytest.mark.parametrize("task", TASKS, ids=[task.title for task in TASKS])
def test_a_task_leads_where_the_page_says(
    host: Host, engines: dict[str, Any], task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(User(host, engines.get("kept")), tmp_path, monkeypatch)
    engines["kept"] = reader.user.engines
    written = tutorial.follow(reader, task, OUTPUT / tutorial.FOLDER)
    assert [path.name for path in written] == [picture.file.name for picture in task.pictures]
    assert host.dialogs.unused_answers == 0


def test_the_tasks_of_the_page_are_complete() -> None:
    assert [task.title for task in TASKS] == TITLES
    for task in TASKS:
        assert [step.number for step in task.steps] == list(range(1, len(task.steps) + 1)), task.title
        assert len(task.pictures) == 1, task.title


def test_each_step_has_a_function_and_each_function_a_step() -> None:
    assert {step.text for task in TASKS for step in task.steps} == set(STEPS)


def test_the_pictures_that_ship_are_those_of_the_page_and_small() -> None:
    folder = REPOSITORY / "Resources" / tutorial.FOLDER
    assert sorted(folder.iterdir()) == sorted(picture.file for task in TASKS for picture in task.pictures)
    for file in folder.iterdir():
        assert file.stat().st_size < LARGEST_BYTES, file
        with Image.open(file) as picture:
            assert picture.size == WINDOW_SIZE
