"""The panel on the test host: tools whose segment goes while they are in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.slicer.desk import Desk

TOOLS = ("point", "scribble", "lasso", "line", "brush")
GONE = "There is no segment any more that the tool works on. Take it up again to begin a new one."


def read_beside(desk: Desk, path: Path) -> None:
    """Reads a scene of images alone into the one that is open, as Add Data does."""
    import slicer

    slicer.util.loadScene(str(path), {"clear": False})
    desk.host.process_events()


@pytest.fixture
def images(desk: Desk, tmp_path: Path) -> Path:
    """A scene with the panel's images and settings, and no segment."""
    import slicer

    assert slicer.util.saveScene(str(tmp_path / "images.mrb"))
    return tmp_path / "images.mrb"


@pytest.mark.parametrize("tool", TOOLS)
def test_a_scene_read_in_beside_puts_tools_down_that_lose_their_segment(desk: Desk, images: Path, tool: str) -> None:
    desk.find()
    desk.host.show(desk.volumes["ct"])
    desk.take(tool)
    read_beside(desk, images)
    assert desk.context.selection.target() is None
    assert not getattr(desk.ui, f"{tool}Button").checked
    assert desk.status.startswith("Press P and click on a lesion")


def test_a_tool_is_taken_up_again_after_a_scene_was_read_in(desk: Desk, images: Path) -> None:
    desk.find()
    desk.host.show(desk.volumes["ct"])
    desk.take("point")
    read_beside(desk, images)
    desk.widget.panel.correct.keyActions()["point"]()
    desk.place("Red", (30, 34, 16))
    assert desk.mask()[16, 34, 30] == 1


def test_what_is_drawn_without_a_segment_is_answered(desk: Desk) -> None:
    desk.find()
    for tool in ("point", "line"):
        desk.take(tool)
        desk.context.settings.setQuietly(segmentation=None, segmentId="")
        desk.hand_over(tool, [desk.ras(30, 34, 16), desk.ras(40, 34, 16)])
        assert desk.status == GONE
        assert not getattr(desk.ui, f"{tool}Button").checked


@pytest.mark.parametrize("tool", TOOLS)
def test_a_deleted_segmentation_puts_the_tool_down_and_says_so(desk: Desk, tool: str) -> None:
    import slicer

    desk.find()
    desk.host.show(desk.volumes["ct"])
    desk.take(tool)
    slicer.mrmlScene.RemoveNode(desk.node)
    desk.host.process_events()
    assert not getattr(desk.ui, f"{tool}Button").checked
    assert desk.status == GONE


@pytest.mark.parametrize("tool", TOOLS)
def test_a_segmentation_without_selected_segment_puts_the_tool_down_and_says_so(desk: Desk, tool: str) -> None:
    import slicer

    desk.find()
    desk.host.show(desk.volumes["ct"])
    organs = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    organs.CreateDefaultDisplayNodes()
    for name in ("liver", "spleen"):
        organs.GetSegmentation().AddEmptySegment(name, name)
    desk.take(tool)
    desk.ui.segmentationSelector.setCurrentNode(organs)
    desk.host.process_events()
    assert not getattr(desk.ui, f"{tool}Button").checked
    assert desk.status.startswith("No segment is selected, so the tool was put down. Select one in the list")
