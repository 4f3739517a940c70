"""Two images in linked views beside each other; afterwards the views are as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.module import load_phantom

LEFT, RIGHT = ("Red", "Green"), ("TumorSegAxial", "TumorSegCoronal")


@pytest.fixture
def pair(desk: Desk) -> Desk:
    """A second examination is chosen beside the first."""
    desk.host.show(desk.volumes["ct"])
    desk.later = load_phantom()["ct"]
    desk.later.SetName("Later CT")
    desk.ui.secondImageSelector.setCurrentNode(desk.later)
    return desk


def manager() -> Any:
    import slicer

    return slicer.app.layoutManager()


def image_in(view: str) -> str:
    import slicer

    volume = manager().sliceWidget(view).mrmlSliceCompositeNode().GetBackgroundVolumeID()
    return str(slicer.mrmlScene.GetNodeByID(volume).GetName())


def visible() -> set[str]:
    return {name for name in manager().sliceViewNames() if not manager().sliceWidget(name).isHidden()}


def links() -> list[bool]:
    return [bool(manager().sliceWidget(name).mrmlSliceCompositeNode().GetLinkedControl()) for name in (*LEFT, *RIGHT)]


def test_both_images_are_seen_at_the_same_place_in_linked_views(pair: Desk) -> None:
    manager().sliceWidget("Red").mrmlSliceNode().SetSliceOffset(12.0)
    pair.ui.sideBySideButton.click()
    pair.host.process_events()
    assert visible() == {*LEFT, *RIGHT}
    assert [image_in(name) for name in LEFT] == ["Phantom CT"] * 2
    assert [image_in(name) for name in RIGHT] == ["Later CT"] * 2
    assert links() == [True] * 4
    for left, right in zip(LEFT, RIGHT):
        nodes = [manager().sliceWidget(name).mrmlSliceNode() for name in (left, right)]
        assert nodes[0].GetSliceOffset() == pytest.approx(nodes[1].GetSliceOffset())
        assert nodes[0].GetFieldOfView()[1] == pytest.approx(nodes[1].GetFieldOfView()[1])
    assert manager().sliceWidget("TumorSegAxial").mrmlSliceNode().GetSliceOffset() == pytest.approx(12.0)
    pictures = [manager().sliceWidget(name).sliceView().picture() for name in RIGHT]
    assert all(np.ptp(picture[..., :3]) > 50 for picture in pictures)  # something is seen


def test_the_former_views_come_back(pair: Desk) -> None:
    former = manager().layout
    manager().sliceWidget("Green").mrmlSliceCompositeNode().SetLinkedControl(True)
    pair.ui.sideBySideButton.click()
    assert manager().layout != former
    pair.ui.sideBySideButton.click()
    assert manager().layout == former
    assert visible() == {"Red", "Green", "Yellow"}
    assert links() == [False, True, False, False]
    pair.ui.sideBySideButton.click()  # and again
    assert visible() == {*LEFT, *RIGHT}


def test_another_image_can_be_chosen_and_none_ends_it(pair: Desk) -> None:
    former = manager().layout
    pair.ui.sideBySideButton.click()
    pair.ui.secondImageSelector.setCurrentNode(pair.volumes["mr_t1"])
    assert [image_in(name) for name in RIGHT] == ["Phantom T1 MR"] * 2
    pair.ui.secondImageSelector.setCurrentNode(None)
    assert not pair.ui.sideBySideButton.checked
    assert manager().layout == former


def test_the_second_image_stays_when_others_are_chosen_under_images(pair: Desk) -> None:
    pair.ui.sideBySideButton.click()
    pair.choose("pet", None)
    pair.choose("pet", pair.volumes["pet"])
    pair.choose("ct", pair.volumes["mr_t1"])
    pair.host.process_events()
    assert pair.ui.sideBySideButton.checked
    assert [image_in(name) for name in (*LEFT, *RIGHT)] == ["Phantom T1 MR"] * 2 + ["Later CT"] * 2


@pytest.mark.parametrize("how", ["deleted", "not chosen"])
def test_it_ends_with_the_first_image(pair: Desk, how: str) -> None:
    import slicer

    former = manager().layout
    pair.ui.sideBySideButton.click()
    if how == "deleted":
        slicer.mrmlScene.RemoveNode(pair.volumes["ct"])
    else:
        for role in ("pet", "ct"):
            pair.choose(role, None)
    pair.host.process_events()
    assert not pair.ui.sideBySideButton.checked
    assert manager().layout == former
    assert pair.status == "The first of the two images is gone: they are no longer side by side."


def test_two_images_are_needed(desk: Desk) -> None:
    former = manager().layout
    desk.ui.sideBySideButton.click()
    assert not desk.ui.sideBySideButton.checked
    assert manager().layout == former
    assert "beside the button the one to compare it with" in desk.status
    desk.ui.secondImageSelector.setCurrentNode(desk.volumes["mr_t1"])
    desk.choose_nothing()
    desk.ui.sideBySideButton.click()
    assert not desk.ui.sideBySideButton.checked
    assert manager().layout == former


def test_a_layout_that_the_user_chooses_stays(pair: Desk) -> None:
    node = manager().layoutLogic().GetLayoutNode()
    pair.ui.sideBySideButton.click()
    manager().setLayout(node.SlicerLayoutOneUpRedSliceView)
    assert not pair.ui.sideBySideButton.checked
    assert manager().layout == node.SlicerLayoutOneUpRedSliceView
    assert links() == [False] * 4


@pytest.mark.parametrize("end", ["scene", "module", "image"])
def test_closing_or_deleting_gives_the_views_back(pair: Desk, end: str) -> None:
    import slicer

    former = manager().layout
    pair.ui.sideBySideButton.click()
    if end == "scene":
        slicer.mrmlScene.Clear(False)
    elif end == "module":
        pair.host.unload_modules()
    else:
        slicer.mrmlScene.RemoveNode(pair.later)
    assert manager().layout == former
    assert visible() == {"Red", "Green", "Yellow"}


def test_a_scene_saved_side_by_side_opens_in_the_usual_layout(pair: Desk, tmp_path: Path) -> None:
    import slicer

    pair.ui.sideBySideButton.click()
    assert slicer.util.saveScene(str(tmp_path / "case.mrml"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "case.mrml"))
    assert not pair.ui.sideBySideButton.checked
    assert manager().layout == manager().layoutLogic().GetLayoutNode().SlicerLayoutConventionalView
    assert visible() == {"Red", "Green", "Yellow"}


def test_an_overlay_lies_over_the_first_image_alone(pair: Desk) -> None:
    from TumorSegSlicer.mrml.overlays import SECOND_VIEWS

    pair.find()
    pair.ui.sideBySideButton.click()
    pair.ui.overlaySelector.setCurrentIndex(1)
    pair.wait()
    laid = {name: manager().sliceWidget(name).mrmlSliceCompositeNode().GetForegroundVolumeID() for name in visible()}
    assert set(SECOND_VIEWS) < set(laid)
    assert all(bool(volume) is (name not in SECOND_VIEWS) for name, volume in laid.items()), laid


def test_overlays_are_not_offered_for_comparison(pair: Desk) -> None:
    pair.find()
    pair.widget.logic.probabilityVolume(pair.node, pair.segment)
    selector = pair.ui.secondImageSelector
    names = [selector.nodeFromIndex(index).GetName() for index in range(selector.nodeCount())]
    assert "Later CT" in names
    assert not any("probability" in name for name in names)
