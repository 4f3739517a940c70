"""Boxes drawn with the mouse in a slice view: segmented at once, and again once their handles were moved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from TumorSegLib import BoxPrompt

CORNERS = ((20, 20, 16), (40, 44, 16))


@pytest.fixture
def desk(host: Any) -> Desk:
    """A user who sees the CT, with nothing found yet."""
    made = Desk(host)
    host.show(made.volumes["ct"])
    return made


def where(roi: Any) -> list[float]:
    """Centre in RAS mm and size in mm."""
    centre = [0.0, 0.0, 0.0]
    roi.GetXYZ(centre)
    return [*centre, *roi.GetSize()]


def draw(desk: Desk, corners: Any = CORNERS, view: str = "Red") -> None:
    for ijk in corners:
        desk.host.click(view, desk.ras(*ijk))
    desk.wait()


def prompts(desk: Desk) -> tuple[Any, ...]:
    return tuple(desk.widget.logic.bench.open(desk.node, desk.segment).prompts.items)


def rois() -> list[Any]:
    import slicer

    return list(slicer.util.getNodesByClass("vtkMRMLMarkupsROINode"))


def placing() -> bool:
    import slicer

    interaction = slicer.app.applicationLogic().GetInteractionNode()
    return bool(interaction.GetCurrentInteractionMode() == interaction.Place)


def test_a_box_is_segmented_as_soon_as_it_is_drawn(desk: Desk) -> None:
    assert not desk.ui.boxAgainButton.enabled
    desk.ui.boxButton.click()
    assert (desk.status, placing(), desk.ui.boxButton.checked) == (
        "Click on two opposite corners of a box round the lesion in a slice view.",
        True,
        True,
    )
    draw(desk)
    assert desk.status.startswith("Segmented in the box. Segment now:")
    (box,) = prompts(desk)
    assert isinstance(box, BoxPrompt)
    (i0, i1), (j0, j1), (k0, k1) = box.box
    assert np.abs(np.array([i0, i1, j0, j1]) - [20, 41, 20, 45]).max() <= 1
    assert k0 < 16 < k1
    assert desk.mask()[16, 32, 30] == 1
    (roi,) = rois()
    assert desk.ui.boxSelector.currentNode() is roi
    # The mouse is free to move the handles.
    assert (placing(), desk.ui.boxButton.checked, desk.ui.boxAgainButton.enabled) == (False, False, True)
    desk.press("undoButton")
    assert not desk.mask().any()
    assert desk.host.dialogs.shown == []


def test_a_moved_box_is_segmented_again(desk: Desk) -> None:
    desk.ui.boxButton.click()
    draw(desk)
    (roi,) = rois()
    roi.SetXYZ(desk.ras(40, 40, 16))
    assert len(prompts(desk)) == 1  # nothing happens by itself
    desk.press("boxAgainButton")
    first, second = prompts(desk)[0], prompts(desk)[-1]
    assert first != second or len(prompts(desk)) == 1
    low, high = np.array(second.box).T
    np.testing.assert_allclose((low + high - 1) / 2, (40, 40, 16), atol=1)


def test_a_second_box_takes_the_place_of_the_first(desk: Desk) -> None:
    desk.ui.boxButton.click()
    draw(desk)
    desk.ui.boxButton.click()
    draw(desk, ((10, 10, 16), (20, 20, 16)))
    (roi,) = rois()
    np.testing.assert_allclose(where(roi)[:3], desk.ras(15, 15, 16), atol=3)


@pytest.mark.parametrize("corners", [(), CORNERS[:1]])
@pytest.mark.parametrize("way", ["key", "mode"])
def test_a_box_that_is_not_finished_changes_nothing(desk: Desk, corners: Any, way: str) -> None:
    import slicer

    def leave() -> None:
        if way == "key":
            desk.leave()
        else:
            slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()
        desk.host.wait_until(lambda: not desk.ui.boxButton.checked, "the tool to be put down")

    desk.ui.boxButton.click()
    draw(desk, corners)
    leave()
    assert (rois(), desk.segment, desk.ui.boxSelector.currentNode(), placing()) == ([], "", None, False)
    desk.ui.boxButton.click()
    draw(desk)
    (roi,) = rois()
    before = where(roi)
    desk.ui.boxButton.click()
    draw(desk, corners)
    leave()
    assert where(roi) == before
    assert roi.GetNumberOfDefinedControlPoints() > 0
    assert len(prompts(desk)) == 1
    assert desk.ui.boxAgainButton.enabled


def test_again_needs_a_box_that_was_drawn(desk: Desk) -> None:
    import slicer

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    desk.ui.boxSelector.setCurrentNode(roi)
    assert not desk.ui.boxAgainButton.enabled
    roi.SetXYZ(desk.ras(30, 30, 16))
    roi.SetRadiusXYZ(20, 20, 20)
    assert desk.ui.boxAgainButton.enabled
    desk.press("boxAgainButton")  # which makes a segment
    assert desk.mask()[16, 30, 30] == 1
    slicer.mrmlScene.RemoveNode(roi)
    desk.host.process_events()
    assert not desk.ui.boxAgainButton.enabled


def test_a_box_waits_for_the_running_segmentation(desk: Desk) -> None:
    slow = desk.begin_slowly()
    desk.ui.boxButton.click()
    for ijk in CORNERS:
        desk.host.click("Red", desk.ras(*ijk))
    assert desk.status == "Wait for the current task, or cancel it; then press Again."
    slow.go.set()
    desk.wait()
    desk.press("boxAgainButton")
    assert desk.status.startswith("Segmented in the box.")


def test_deleting_the_box_while_it_is_drawn(desk: Desk) -> None:
    import slicer

    desk.ui.boxButton.click()
    draw(desk, CORNERS[:1])
    slicer.mrmlScene.RemoveNode(rois()[0])
    desk.host.process_events()
    desk.widget.panel.correct.keyActions()["leave"]()
    assert (rois(), desk.ui.boxButton.checked, desk.segment, desk.ui.boxAgainButton.enabled) == ([], False, "", False)
    desk.ui.boxButton.click()
    draw(desk)
    assert len(prompts(desk)) == 1
