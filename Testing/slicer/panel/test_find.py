"""The panel on the test host: where the answer of the automatic model goes, what is said of it, what the views show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.lesion_list import LesionList
from Testing.slicer.module import load_phantom, segment_ids, voxels

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


def organs(desk: Desk) -> tuple[Any, np.ndarray]:
    """A segmentation from elsewhere with a liver, chosen in the panel, and what the liver holds."""
    import slicer

    from Testing.slicer.scene import paint, volumes

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.SetReferenceImageGeometryParameterFromVolumeNode(desk.volumes["ct"])
    liver = node.GetSegmentation().AddEmptySegment("liver", "liver")
    paint(node, liver, volumes.gridFromVolume(desk.volumes["ct"]), (10, 10, 5), (20, 20, 10))
    desk.ui.segmentationSelector.setCurrentNode(node)
    LesionList(desk).settled().click(liver)
    assert desk.context.selection.target() == (node, liver)
    return node, voxels(node, liver, desk.volumes["ct"])


def name(node: Any, segment: str) -> str:
    return str(node.GetSegmentation().GetSegment(segment).GetName())


# Nothing is overwritten unasked


def test_segment_again_replaces_an_unedited_segment(desk: Desk) -> None:
    desk.find()
    desk.find()
    assert segment_ids(desk.node) == [desk.segment]
    assert desk.host.dialogs.shown == []


def test_segment_fills_an_empty_segment(desk: Desk) -> None:
    desk.press("newSegmentButton")
    before = desk.segment
    assert desk.find().any()
    assert (desk.segment, segment_ids(desk.node)) == (before, [before])


@pytest.mark.parametrize("answer", ["Yes", "No", "Cancel"])
def test_segment_replaces_a_loaded_segment_only_after_confirmation(desk: Desk, qt: Any, answer: str) -> None:
    node, liver = organs(desk)
    desk.host.dialogs.answer(getattr(qt.QMessageBox, answer))
    desk.press("segmentButton")
    (dialog,) = desk.host.dialogs.shown
    assert f"'liver' ({liver.sum() * 0.08:.1f} ml) was drawn, corrected or loaded" in dialog.text
    kept = voxels(node, "liver", desk.volumes["ct"])
    if answer == "No":
        assert desk.context.selection.target() == (node, "liver")
        assert not np.array_equal(kept, liver)
        desk.press("undoButton")
        np.testing.assert_array_equal(voxels(node, "liver", desk.volumes["ct"]), liver)
        return
    np.testing.assert_array_equal(kept, liver)
    if answer == "Yes":
        assert [name(node, each) for each in segment_ids(node)] == ["liver", "Tumour"]
        assert desk.mask().any()
    else:
        assert segment_ids(node) == ["liver"]
        assert desk.status == "Nothing was done."


@pytest.mark.parametrize("press", ["segmentButton", "newSegmentButton", "pointButton"])
def test_none_of_several_loaded_segments_is_selected(desk: Desk, press: str) -> None:
    node, liver = organs(desk)
    node.GetSegmentation().AddEmptySegment("spleen", "spleen")
    desk.ui.segmentationSelector.setCurrentNode(None)
    desk.ui.segmentationSelector.setCurrentNode(node)
    assert desk.context.selection.target() is None
    desk.press(press)
    assert [name(node, each) for each in segment_ids(node)] == ["liver", "spleen", "Tumour"]
    assert name(node, desk.segment) == "Tumour"
    np.testing.assert_array_equal(voxels(node, "liver", desk.volumes["ct"]), liver)
    assert desk.host.dialogs.shown == []
    desk.ui.segmentationSelector.setCurrentNode(None)
    desk.ui.segmentationSelector.setCurrentNode(node)
    assert name(node, desk.segment) == "Tumour"  # the one that was worked on
    node.GetSegmentation().RemoveSegment(desk.segment)
    desk.host.process_events()
    assert desk.context.selection.target() is None


def test_segment_beside_a_completed_segment_adds_a_new_one(desk: Desk) -> None:
    import slicer

    node, liver = organs(desk)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(node.GetSegmentation().GetSegment("liver"), logic.Completed)
    assert desk.find().any()
    assert len(segment_ids(node)) == 2
    np.testing.assert_array_equal(voxels(node, "liver", desk.volumes["ct"]), liver)
    assert desk.host.dialogs.shown == []


def corrected_by(desk: Desk, tool: str) -> None:
    from Testing.slicer.scene import paint, volumes

    if tool == "click":
        desk.widget.logic.addClick(desk.node, desk.segment, desk.ras(5, 5, 5))
        desk.context.edits.add(desk.context.selection.target())
    else:
        paint(desk.node, desk.segment, volumes.gridFromVolume(desk.volumes["ct"]), (2, 2, 2), (6, 6, 4))


@pytest.mark.parametrize("tool", ["click", "brush"])
def test_segment_again_keeps_corrections(desk: Desk, tool: str) -> None:
    found = desk.find()
    corrected_by(desk, tool)
    desk.wait()
    corrected = desk.mask()
    assert corrected.sum() > found.sum()
    desk.press("segmentButton")  # the question is declined
    assert len(desk.host.dialogs.shown) == 1
    np.testing.assert_array_equal(desk.mask(), corrected)
    desk.press("undoButton")  # of the correction: now it is as it was found
    np.testing.assert_array_equal(desk.mask(), found)
    desk.press("segmentButton")
    assert len(desk.host.dialogs.shown) == 1


def test_saved_segment_is_known_as_automatic_or_corrected(desk: Desk, tmp_path: Path) -> None:
    import slicer

    desk.find()
    desk.wait_saved()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    desk.host.process_events()
    desk.volumes = {"ct": desk.chosen("ct")}
    desk.press("segmentButton")
    assert segment_ids(desk.node) == [desk.segment]
    assert desk.host.dialogs.shown == []
    corrected_by(desk, "brush")
    desk.press("segmentButton")
    assert len(desk.host.dialogs.shown) == 1


def test_follow_up_leaves_the_segments_of_the_baseline(desk: Desk) -> None:
    baseline = desk.find()
    desk.widget.logic.addClick(desk.node, desk.segment, desk.ras(5, 5, 5))
    baseline, former, clicks = desk.mask(), (desk.node, desk.segment), 1
    later = load_phantom()
    desk.choose("ct", later["ct"])
    desk.choose("pet", later["pet"])
    desk.press("segmentButton")
    assert desk.node is not former[0]
    assert voxels(desk.node, desk.segment, later["ct"]).any()
    np.testing.assert_array_equal(voxels(*former, desk.volumes["ct"]), baseline)
    assert len(desk.widget.logic.clickPoints(*former)) == clicks
    assert desk.host.dialogs.shown == []


# Nothing more is said than is known


def test_purpose_of_the_model_is_shown_with_button_and_result(desk: Desk) -> None:
    made_for = "soft-tissue sarcoma of the limbs and trunk wall"
    assert desk.ui.madeForLabel.text.startswith(f"Made for {made_for}. Elsewhere it may mark healthy tissue")
    assert desk.ui.madeForLabel.text.endswith("click on the lesion there.")
    assert desk.ui.madeForLabel.parent() is desk.ui.segmentButton.parent() is desk.ui.findSection
    mask = desk.find()
    volume = f"{mask.sum() * 0.08:.1f} ml"
    assert "mm long" not in desk.status  # no longer than those of the training
    assert desk.status.endswith(f"Marked {volume} by sts-auto, which was made for {made_for}; check it.")


def test_a_result_is_of_the_model_that_was_chosen_at_the_press(desk: Desk) -> None:
    slow = desk.begin_slowly()
    desk.context.parameters.autoModel = "another"
    slow.go.set()
    desk.wait()
    assert "by sts-auto, which was made for soft-tissue sarcoma" in desk.status
    assert "another" not in desk.status


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (8, ""),  # 1311 ml
        (0, ""),  # what the PET shows, 27.4 ml
        (32, "Every tumour that sts-auto was trained on was smaller (28 to 2331 ml): probably organs are marked."),
    ],
)
def test_volume_outside_the_training_range_gives_a_warning(desk: Desk, columns: int, words: str) -> None:
    if columns:
        desk.engines.engines["auto"].rule = lambda images: np.arange(64) < np.full((32, 64, 1), columns)
    else:
        words = "Every tumour that sts-auto was trained on was larger (28 to 2331 ml): add what is missing by clicks."
    desk.find()
    assert ("Every tumour" in desk.status) is bool(words)
    assert words in desk.status
    if words:  # before what was marked, with what to do
        assert desk.status.startswith(words)
        assert desk.status.index(". Marked ") > 0
        assert ("Undo, and click on the lesion instead. Marked " in desk.status) is bool(columns)


def test_images_longer_than_those_of_training_give_a_warning(desk: Desk) -> None:
    for volume in (desk.volumes["ct"], desk.volumes["pet"]):
        volume.SetSpacing(4.0, 4.0, 15.0)
    slow = desk.begin_slowly()
    said = "480 mm long from head to foot"
    assert said in desk.status  # at once, so that it can be cancelled
    slow.go.set()
    desk.wait()
    assert desk.status.index(said) < desk.status.index("or click on the lesion instead.") < desk.status.index("Marked ")
    assert "480 mm long from head to foot, those that sts-auto was trained on at most 373 mm" in desk.status


@pytest.mark.parametrize(
    ("part", "doubted"), [("HEAD", True), ("UPPER-ARM", False), ("Thigh", False), ("LIVER", True), ("", False)]
)
def test_images_of_another_part_of_the_body_give_a_warning(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, part: str, doubted: bool
) -> None:
    values = {("1.2.3", "0018,0015"): part}
    monkeypatch.setattr(desk.host.dicom, "instanceValue", lambda uid, tag: values.get((uid, tag), ""))
    desk.volumes["ct"].SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    said = f"The images show '{part}' by DICOM, sts-auto was made for soft-tissue sarcoma of the limbs and trunk wall"
    slow = desk.begin_slowly()
    assert (said in desk.status) is doubted  # at once, so that it can be cancelled
    slow.go.set()
    desk.wait()
    assert desk.status.startswith(said) is doubted
    assert "Marked " in desk.status


def test_empty_result_does_not_exclude_a_tumour(desk: Desk) -> None:
    desk.engines.engines["auto"].rule = lambda images: images["pet"].array > 1e6
    assert not desk.find().any()
    assert "sts-auto marked nothing, which does not mean that there is no tumour. Press P and click" in desk.status
    assert desk.host.dialogs.shown == []


@pytest.mark.parametrize("kind", ["auto", "clicks"])
def test_notes_of_an_engine_are_shown_with_its_result(desk: Desk, kind: str) -> None:
    note = "There was not enough memory on cuda:0 for it: it ran on the CPU, slower."
    engine, method = desk.engines.engines[kind], {"auto": "segment", "clicks": "refine"}[kind]
    plain = getattr(engine, method)

    def noted(*given: Any, **named: Any) -> Any:
        answer = plain(*given, **named)
        return replace(answer, info=replace(answer.info, notes=(note,)))

    setattr(engine, method, noted)
    desk.find()
    assert (note in desk.status) is (kind == "auto")
    assert "Marked" in desk.status
    desk.hand_over("point", [desk.ras(5, 5, 5)])
    desk.wait()
    assert (note in desk.status) is (kind == "clicks")


# What is chosen is shown


def shown(desk: Desk) -> set[tuple[str | None, str | None]]:
    import slicer

    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    ids = [(each.GetBackgroundVolumeID(), each.GetForegroundVolumeID()) for each in composites]
    nodes = {None: None, **{volume.GetID(): volume.GetName() for volume in desk.volumes.values()}}
    return {(nodes[below], nodes[over]) for below, over in ids}


def test_images_that_are_chosen_are_shown(desk: Desk) -> None:
    assert shown(desk) == {("Phantom CT", "Phantom PET")}
    desk.choose("ct", None)
    desk.choose("mr_t1", desk.volumes["mr_t1"])
    assert shown(desk) == {("Phantom T1 MR", "Phantom PET")}


def test_an_image_alone_is_shown_once(host: Host) -> None:
    desk = Desk(host)
    desk.choose("ct", None)
    desk.choose("pet", None)
    desk.choose("pet", desk.volumes["pet"])
    assert shown(desk) == {("Phantom PET", None)}


def test_how_an_image_is_shown_stays_when_another_is_chosen(desk: Desk) -> None:
    import slicer

    red = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    red.GetSliceCompositeNode().SetForegroundOpacity(0.9)
    red.GetSliceNode().SetFieldOfView(33, 44, 1)
    desk.choose("mr_t1", desk.volumes["mr_t1"])
    assert red.GetSliceCompositeNode().GetForegroundOpacity() == 0.9
    assert red.GetSliceNode().GetFieldOfView()[:2] == (33, 44)


def test_selecting_a_segment_leaves_the_views_as_they_are(desk: Desk) -> None:
    import slicer

    desk.find()
    first = desk.segment
    desk.press("newSegmentButton")
    slicer.util.setSliceViewerLayers(background=desk.volumes["mr_t1"], foreground=None)
    LesionList(desk).settled().click(first)
    assert desk.segment == first
    assert shown(desk) == {("Phantom T1 MR", None)}


def test_sample_data_are_shown(host: Host) -> None:
    import SampleData
    import slicer

    from Testing.slicer.module import TUMORSEG

    host.load_module(TUMORSEG)
    host.window.show()
    for each in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        each.SetFieldOfView(10, 10, 1)
        each.SetSliceOffset(900)
    source = SampleData.SampleDataLogic.sources[0]
    source.customDownloader(source)  # as the button of Sample Data does, and no more
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    ids = [(each.GetBackgroundVolumeID(), each.GetForegroundVolumeID()) for each in composites]
    names = [tuple(slicer.mrmlScene.GetNodeByID(volume or "").GetName() for volume in pair) for pair in ids]
    assert names == [("Phantom CT", "Phantom PET")] * 3
    bounds = [0.0] * 6
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    volumes[0].GetRASBounds(bounds)
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    assert red.GetFieldOfView()[1] >= bounds[3] - bounds[2]  # fitted: all of it is in sight
    assert bounds[4] < red.GetSliceOffset() < bounds[5]


# Results belong to the patient


def test_results_lie_in_the_study_of_the_image(desk: Desk) -> None:
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    for volume in desk.volumes.values():
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    desk.ui.linesCheckBox.checked = True
    desk.find()
    desk.host.show(desk.volumes["ct"])
    desk.ui.boxButton.click()
    for ijk in ((20, 20, 16), (40, 44, 16)):
        desk.host.click("Red", desk.ras(*ijk))
    desk.wait()
    desk.press("measureButton")
    desk.ui.overlaySelector.setCurrentIndex(1)
    desk.wait()
    made = [desk.node, desk.ui.boxSelector.currentNode(), slicer.util.getNode("Tumour probability (%)")]
    made += slicer.util.getNodesByClass("vtkMRMLTableNode") + slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")
    assert len(made) == 6
    parents = {each.GetName(): hierarchy.GetItemParent(hierarchy.GetItemByDataNode(each)) for each in made}
    assert set(parents.values()) == {study}, parents


def test_a_segmentation_that_the_user_put_elsewhere_stays_there(desk: Desk) -> None:
    import slicer

    node, _liver = organs(desk)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Mine")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)
    desk.press("newSegmentButton")
    assert desk.node is node
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder


def test_voxels_of_a_pet_are_checked_once_at_a_press(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from TumorSegLib import Volume

    checked: list[str] = []
    check = Volume.__post_init__
    monkeypatch.setattr(Volume, "__post_init__", lambda self: (checked.append(self.role), check(self))[1])
    desk.find()
    assert checked.count("pet") == 1
