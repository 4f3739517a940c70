"""Images and their roles: any one volume is enough, what it is is guessed, and the user may say otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.module import choose, segment_ids
from Testing.slicer.mrml.test_dicom_pet import load, write
from TumorSegLib import Click
from TumorSegLib.images.roles import PET_WITHOUT_SUV

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

SHAPE = (12, 40, 44)


@pytest.fixture
def desk(host: Host) -> Desk:
    """A user at a panel without any image, in a scene without any volume."""
    import slicer

    made = Desk(host)
    for node in made.volumes.values():
        slicer.mrmlScene.RemoveNode(node)
    made.volumes = {}
    host.process_events()
    return made


def add(desk: Desk, name: str, values: np.ndarray | None = None, shape: tuple[int, int, int] = SHAPE) -> Any:
    """A volume of 4 x 4 x 5 mm that the views show; a bright block in noise unless values are given."""
    import slicer

    if values is None:
        values = np.random.default_rng(0).normal(100, 5, shape).astype(np.float32)
        values[shape[0] // 3 : 2 * shape[0] // 3 + 1, 12:24, 14:28] += 200
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, values)
    node.SetSpacing(4.0, 4.0, 5.0)
    node.CreateDefaultDisplayNodes()
    desk.host.show(node)
    desk.volumes["ct"] = node  # on which Desk has its masks
    return node


def hounsfield() -> np.ndarray:
    values = np.full(SHAPE, -1000, np.int16)
    values[2:10, 8:34, 8:36] = 40
    return values


def say_modality(node: Any, modality: str) -> None:
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(node), name, modality)


def role(desk: Desk, number: int = 1) -> str:
    return str(desk.ui.__dict__[f"role{number}Selector"].currentText)


def inputs(desk: Desk) -> dict[str, str]:
    found = desk.widget.logic.inputs(desk.node, desk.segment)
    return {name: each.node.GetName() for name, each in found.items()}


# Any one volume is enough


@pytest.mark.parametrize(
    ("name", "modality", "values", "label", "of_library"),
    [
        ("2: Thorax", "CT", hounsfield(), "CT", "ct"),
        ("001", "", hounsfield(), "CT", "ct"),  # by its values alone
        ("5: t2_flair_tra", "MR", None, "FLAIR MR", "mr_flair"),
        ("case_t1ce", "", None, "T1 MR with contrast", "mr_t1ce"),
        ("1: B-mode", "US", None, "other image", "image"),
        ("001", "", None, "other image", "image"),
        ("2: CBCT", "CT", hounsfield() / 1e4, "other image", "image"),  # which is not in HU
    ],
)
def test_a_click_on_a_volume_just_loaded_makes_a_segment(
    desk: Desk, name: str, modality: str, values: np.ndarray | None, label: str, of_library: str
) -> None:
    say_modality(add(desk, name, values), modality)
    desk.ui.pointButton.click()
    desk.place("Red", (20, 18, 6))
    assert desk.mask()[6, 18, 20] == 1
    assert len(segment_ids(desk.node)) == 1
    assert desk.status.startswith("Added. Segment now:")
    assert (role(desk), inputs(desk)) == (label, {of_library: name})
    assert {kind for kind, *_ in desk.engines.asked} == {"clicks"}
    assert desk.host.dialogs.shown == []


def test_background_and_foreground_of_the_views_are_taken(desk: Desk) -> None:
    import slicer

    below, over = add(desk, "CT", hounsfield()), add(desk, "case_t2")
    slicer.util.setSliceViewerLayers(background=below, foreground=over, foregroundOpacity=0.4)
    desk.volumes["ct"] = below
    desk.ui.pointButton.click()
    desk.place("Red", (20, 18, 6))
    assert inputs(desk) == {"ct": "CT", "mr_t2": "case_t2"}
    assert (desk.ui.image1Selector.currentNode(), desk.ui.image2Selector.currentNode()) == (below, over)


def test_opening_the_module_takes_what_the_views_show(desk: Desk) -> None:
    import slicer

    slicer.util.selectModule("Markups")
    node = add(desk, "case_adc")
    assert desk.ui.image1Selector.currentNode() is None
    slicer.util.selectModule("TumorSeg")
    assert (desk.ui.image1Selector.currentNode(), role(desk)) == (node, "ADC map")
    slicer.util.selectModule("Markups")
    other = add(desk, "case_t2")
    slicer.util.selectModule("TumorSeg")
    assert desk.ui.image1Selector.currentNode() is other  # nothing was begun on the former one
    desk.ui.pointButton.click()
    slicer.util.selectModule("Markups")
    desk.host.show(node)
    slicer.util.selectModule("TumorSeg")
    assert desk.ui.image1Selector.currentNode() is other  # which a segment was made from
    desk.ui.pointButton.click()
    assert desk.status == "The views show 'case_adc', but 'case_t2' is segmented: choose the image under Images."
    choose_first(desk, node)
    desk.ui.lineButton.click()
    assert desk.status.startswith("Click on both ends")


@pytest.mark.parametrize("prompt", ["point", "lasso", "line", "box"])
def test_each_prompt_says_where_the_views_show_another_image(desk: Desk, prompt: str) -> None:
    def draw() -> None:
        if prompt == "box":
            desk.ui.boxAgainButton.click()
        else:
            points = [desk.ras(20, 18, 6), desk.ras(24, 18, 6), desk.ras(24, 22, 6)]
            desk.hand_over(prompt, points[: {"point": 1, "line": 2, "lasso": 3}[prompt]])
        desk.wait()

    first = add(desk, "case_adc")
    desk.ui.pointButton.click()
    if prompt == "box":
        desk.give_box((20, 18, 6))
        desk.wait()
    add(desk, "case_t2")
    desk.volumes["ct"] = first
    draw()
    words = "The views show 'case_t2', but 'case_adc' is segmented: choose the image under Images."
    assert desk.status.startswith(words)
    assert "Segment now:" in desk.status
    assert desk.status.count("The views show") == 1
    desk.host.show(first)
    draw()
    assert "Segment now:" in desk.status
    assert "The views show" not in desk.status


def test_an_image_of_one_slice_takes_clicks_and_a_box(desk: Desk) -> None:
    add(desk, "photo", shape=(1, 40, 44))
    desk.ui.pointButton.click()
    desk.place("Red", (20, 18, 0))
    assert desk.mask()[0, 18, 20] == 1
    before = desk.mask()
    desk.ui.boxButton.click()
    for ijk in ((22, 22, 0), (38, 38, 0)):
        desk.host.click("Red", desk.ras(*ijk))
    desk.wait()
    assert desk.status.startswith("The image has one slice: the box counts on it alone. Segment now:")
    assert desk.mask().sum() > before.sum()
    assert desk.host.dialogs.shown == []


def test_what_is_shown_in_place_of_an_image_is_refused_in_the_status_line(desk: Desk) -> None:
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colours over time")
    image = vtk.vtkImageData()
    image.SetDimensions(20, 20, 5)
    image.AllocateScalars(vtk.VTK_FLOAT, 3)
    node.SetAndObserveImageData(image)
    node.CreateDefaultDisplayNodes()
    desk.host.show(node)
    for name in ("pointButton", "lineButton", "newSegmentButton", "segmentButton"):
        desk.press(name)
        assert desk.status == (
            "'colours over time' (vtkMRMLVectorVolumeNode) has 3 values per voxel; a scalar volume with one is needed"
        )
        assert (desk.node, desk.ui.image1Selector.currentNode()) == (None, None)
    assert not desk.ui.pointButton.checked
    assert desk.host.dialogs.shown == []


def test_an_image_with_one_value_all_over_is_refused_in_the_status_line(desk: Desk) -> None:
    add(desk, "empty", np.full(SHAPE, 7, np.int16))
    desk.ui.lineButton.click()
    desk.hand_over("line", [desk.ras(10, 10, 5), desk.ras(20, 10, 5)])
    desk.wait()
    assert desk.status == "there is nothing to outline: every voxel of the image (image) has the same value, 7"
    assert not desk.mask().any()
    assert not desk.ui.undoButton.enabled
    assert desk.host.dialogs.shown == []


# Roles


def test_dicom_tells_the_role(desk: Desk, tmp_path: Path) -> None:
    paths = write(tmp_path / "mr", SeriesDescription="AX T1 POST GAD")
    node = load(desk.host, paths)
    node.SetName("4")
    say_modality(node, "MR")
    choose_first(desk, node)
    assert role(desk) == "T1 MR with contrast"
    for path in paths.values():
        Path(path).unlink()
    desk.host.dicom.clear()
    choose_first(desk, None)
    choose_first(desk, node)
    assert role(desk) == "MR"  # the scene still knows as much


def choose_first(desk: Desk, node: Any) -> None:
    desk.ui.image1Selector.setCurrentNode(node)


def test_a_corrected_role_is_used_and_the_clicks_stay(desk: Desk) -> None:
    add(desk, "001")
    desk.ui.pointButton.click()
    desk.place("Red", (20, 18, 6))
    desk.place("Red", (30, 18, 6))
    before = desk.mask()
    desk.choose_role(1, "mr_t2")
    desk.place("Red", (10, 18, 6))
    assert inputs(desk) == {"mr_t2": "001"}
    session = desk.widget.logic.bench.open(desk.node, desk.segment)
    assert [click.ijk for click in session.prompts.of(Click)] == [(20, 18, 6), (30, 18, 6), (10, 18, 6)]
    desk.press("undoButton")
    np.testing.assert_array_equal(desk.mask(), before)
    desk.press("undoButton")
    assert len(session.prompts.items) == 1
    assert desk.host.dialogs.shown == []


def test_a_corrected_role_in_a_scene_opened_again_keeps_the_clicks(desk: Desk, tmp_path: Path) -> None:
    import slicer

    add(desk, "CT", hounsfield())
    desk.ui.pointButton.click()
    desk.place("Red", (20, 18, 6))
    desk.wait_saved()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    assert role(desk) == "other image"  # of no image
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    desk.host.process_events()
    assert role(desk) == "CT"
    desk.volumes["ct"] = desk.chosen("ct")
    desk.choose_role(1, "image")
    desk.host.show(desk.volumes["ct"])
    desk.ui.pointButton.click()
    desk.place("Red", (30, 18, 6))
    assert inputs(desk) == {"image": "CT"}
    assert len(desk.widget.logic.clickPoints(desk.node, desk.segment)) == 2


def test_a_selector_more_than_there_are_images_is_shown(desk: Desk) -> None:
    def shown() -> list[tuple[bool, bool]]:
        ui = desk.ui
        return [
            (not ui.__dict__[f"image{n}Selector"].isHidden(), not ui.__dict__[f"role{n}Selector"].isHidden())
            for n in range(1, 5)
        ]

    nothing = (False, False)
    assert shown() == [(True, False), nothing, nothing, nothing]
    nodes = [add(desk, name) for name in ("case_t1", "case_t2", "case_flair")]
    choose_first(desk, nodes[0])
    assert shown() == [(True, True), (True, False), nothing, nothing]
    desk.ui.image2Selector.setCurrentNode(nodes[1])
    desk.ui.image3Selector.setCurrentNode(nodes[2])
    assert shown() == [(True, True), (True, True), (True, True), (True, False)]
    for collapsed in (True, False):
        desk.ui.inputsSection.collapsed = collapsed
    assert shown() == [(True, True), (True, True), (True, True), (True, False)]
    choose_first(desk, None)
    assert shown() == [(True, False), (True, True), (True, True), (True, False)]


def test_several_images_of_one_role_are_all_used(desk: Desk) -> None:
    first, second = add(desk, "mr early"), add(desk, "mr late")
    choose_first(desk, first)
    desk.ui.image2Selector.setCurrentNode(second)
    desk.ui.image3Selector.setCurrentNode(second)  # chosen twice, used once
    desk.press("newSegmentButton")
    assert inputs(desk) == {"mr": "mr early", "mr_2": "mr late"}
    desk.start_click((20, 18, 6))
    desk.wait()
    assert desk.mask()[6, 18, 20] == 1
    desk.ui.pointButton.click()
    desk.host.show(first)
    desk.place("Red", (24, 18, 6))
    assert inputs(desk) == {"mr": "mr early", "mr_2": "mr late"}


# PET


def test_a_pet_of_unknown_unit_is_used_without_suv_and_this_is_said(desk: Desk) -> None:
    add(desk, "PET AC", np.random.default_rng(0).uniform(0, 9, SHAPE).astype(np.float32))
    desk.ui.pointButton.click()
    words = "The unit of PET 'PET AC' is not known: it is used as it is. If it is SUV, choose the role PET (SUV)."
    desk.place("Red", (20, 18, 6))
    assert desk.status.startswith(f"{words} Added.")
    assert (role(desk), inputs(desk)) == ("PET (not SUV)", {PET_WITHOUT_SUV: "PET AC"})
    desk.place("Red", (24, 18, 6))
    assert words not in desk.status  # once is enough
    desk.press("measureButton")
    assert "SUVmax" not in [desk.ui.measurementsTable.item(n, 0).text() for n in range(5)]
    assert desk.host.dialogs.shown == []


def test_who_gives_a_pet_its_role_says_that_it_is_in_suv(desk: Desk) -> None:
    node = add(desk, "PET AC", np.random.default_rng(0).uniform(0, 9, SHAPE).astype(np.float32))
    choose_first(desk, node)
    desk.choose_role(1, "pet")
    desk.press("newSegmentButton")
    found = desk.widget.logic.inputs(desk.node, desk.segment)
    assert {name: each.assumeSuv for name, each in found.items()} == {"pet": True}
    desk.start_click((20, 18, 6))
    desk.wait()
    desk.press("measureButton")
    rows = desk.ui.measurementsTable
    assert "SUVmax" in [rows.item(n, 0).text() for n in range(rows.rowCount)]


def test_a_pet_whose_values_cannot_be_suv_is_used_without(desk: Desk) -> None:
    node = add(desk, "PET AC", np.random.default_rng(0).uniform(0, 9000, SHAPE).astype(np.float32))
    choose_first(desk, node)
    desk.choose_role(1, "pet")
    desk.ui.pointButton.click()
    desk.place("Red", (20, 18, 6))
    words = "PET 'PET AC' is used as it is, without SUV: volume 'PET AC': PET must be in SUV (g/ml), but"
    assert desk.status.startswith(words)
    assert (role(desk), inputs(desk)) == ("PET (not SUV)", {PET_WITHOUT_SUV: "PET AC"})
    assert desk.host.dialogs.shown == []


def test_a_pet_whose_dicom_does_not_tell_enough_is_used_without_suv(desk: Desk, tmp_path: Path) -> None:
    node = load(desk.host, write(tmp_path / "pet", PatientWeight=None))
    desk.volumes["ct"] = node
    desk.host.show(node)
    desk.ui.pointButton.click()
    desk.place("Red", (20, 18, 6))
    assert "'4: PET AC' is used as it is, without SUV: PET '4: PET AC' cannot be converted to SUV: " in desk.status
    assert inputs(desk) == {PET_WITHOUT_SUV: "4: PET AC"}
    assert desk.host.dialogs.shown == []


def test_a_pet_from_dicom_is_converted_for_clicks_too(desk: Desk, tmp_path: Path) -> None:
    node = load(desk.host, write(tmp_path / "pet"))
    desk.volumes["ct"] = node
    desk.host.show(node)
    desk.ui.pointButton.click()
    desk.place("Red", (20, 18, 6))
    assert "was converted from its DICOM files to SUV" in desk.status
    assert (role(desk), inputs(desk)) == ("PET (SUV)", {"pet": "4: PET AC (SUV)"})


# The automatic model takes what it knows


def test_images_that_the_automatic_model_does_not_take_are_left_out_and_named(host: Host) -> None:
    desk = Desk(host)
    desk.volumes["mr_t1"].SetName("flair")
    choose(desk.ui, "mr_flair", desk.volumes["mr_t1"])
    desk.find()
    assert "sts-auto takes CT, PET, T1 MR: 'flair' was left out." in desk.status
    assert "Marked" in desk.status
    assert list(inputs(desk)) == ["ct", "pet"]


def test_an_automatic_model_that_takes_none_of_the_images_says_so(desk: Desk) -> None:
    add(desk, "case_flair")
    desk.press("segmentButton")
    assert desk.status == (
        "sts-auto takes CT, PET, T1 MR, and no image has such a role: change the roles, or click on the tumour instead."
    )
    assert desk.node is None
    assert desk.host.dialogs.shown == []
