"""What the user asked for before packages were installed is done after that, without another press."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.module import segment_ids
from Testing.slicer.scene import paint, volumes
from Testing.slicer.shelf import SECOND, Shelf

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the launcher is a script of a POSIX shell")


@pytest.fixture
def desk(host: Host) -> Desk:
    """All packages are there."""
    return Desk(host)


@pytest.fixture
def shelf(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Packages are missing from now on, and lie on the shelf."""
    made = Shelf(tmp_path, monkeypatch)
    made.fill()
    desk.host.window.show()
    desk.context.packages.found = False
    return made


def install(desk: Desk) -> None:
    assert desk.ui.firstUsePage.isVisible()
    desk.ui.installButton.click()
    desk.host.wait_until(lambda: not desk.context.packages.installing, "the installation to end", 240)
    desk.wait()


def test_segmenting_goes_on_after_the_installation(desk: Desk, shelf: Shelf) -> None:
    desk.ui.segmentButton.click()
    assert desk.node is None
    install(desk)
    assert "Marked " in desk.status
    assert desk.mask().any()


def test_a_tool_is_taken_up_after_the_installation(desk: Desk, shelf: Shelf) -> None:
    desk.ui.lassoButton.click()
    assert not desk.ui.lassoButton.checked
    install(desk)
    assert desk.ui.lassoButton.checked
    assert len(segment_ids(desk.node)) == 1


def test_a_click_on_a_segment_from_elsewhere_counts_after_the_installation(desk: Desk, shelf: Shelf) -> None:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Elsewhere")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(desk.volumes["ct"])
    node.GetSegmentation().AddEmptySegment("GTV", "GTV")
    paint(node, "GTV", volumes.gridFromVolume(desk.volumes["ct"]), (5, 5, 5), (6, 6, 6))
    desk.ui.segmentationSelector.setCurrentNode(node)
    desk.host.process_events()
    desk.hand_over("point", [desk.ras(40, 40, 16)])
    install(desk)
    assert len(desk.widget.logic.clickPoints(node, "GTV")) == 1


@pytest.mark.parametrize("how", ["not now", "cancel", "another image", "another scene", "another module"])
def test_the_wish_is_dropped(desk: Desk, shelf: Shelf, how: str) -> None:
    import slicer

    desk.ui.segmentButton.click()
    if how == "not now":
        desk.ui.notNowButton.click()
        desk.widget.panel.firstUse._show()
    elif how == "cancel":
        desk.ui.installButton.click()
        desk.ui.cancelButton.click()
        desk.host.wait_until(lambda: not desk.context.packages.installing, "the installation to end", 240)
    elif how == "another module":
        desk.widget.exit()
    elif how == "another image":
        desk.choose("pet", None)
    else:
        slicer.mrmlScene.Clear(False)
    install(desk)
    assert desk.status == "The packages are installed: TumorSeg is ready."
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_the_wish_outlasts_a_failure_of_pip(desk: Desk, tmp_path: Path, shelf: Shelf) -> None:
    for wheel in tmp_path.rglob(f"{SECOND.replace('-', '_')}*.whl"):
        wheel.unlink()
    desk.ui.segmentButton.click()
    install(desk)
    assert "There is no version of" in desk.status
    assert desk.node is None
    shelf.add(SECOND, "2.1")
    install(desk)
    assert desk.mask().any()
