"""The menu Export: Slicer's DICOM exporters with the segmentation chosen, files written completely or not at all."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Case, Desk
from Testing.slicer.module import segment_ids, voxels
from TumorSegLib import ArgumentError, read_mask

KINDS = ("SEG", "RTSTRUCT", "NIfTI", ".seg.nrrd", "Measurements")


def export(desk: Desk, kind: str) -> None:
    """Triggers an entry of the menu."""
    actions = desk.ui.exportButton.menu().actions()
    (action,) = [each for each in actions if kind in each.text]
    action.trigger()
    desk.wait()


def in_study(desk: Desk) -> None:
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    for volume in desk.volumes.values():
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)


def test_nothing_can_be_exported_without_a_segmentation(desk: Desk) -> None:
    assert not desk.ui.exportButton.enabled
    for kind in KINDS[:4]:
        export(desk, kind)
        assert desk.status == "Choose a segmentation first."
    desk.find()
    assert desk.ui.exportButton.enabled
    assert desk.host.dialogs.shown == []


def test_an_empty_segmentation_is_told_in_one_line(desk: Desk) -> None:
    desk.press("newSegmentButton")
    for kind in KINDS[:4]:
        export(desk, kind)
        assert desk.status == f"segmentation '{desk.node.GetName()}' has no voxels: there is nothing to export"
    assert desk.host.dialogs.shown == []


def test_nifti_has_a_number_per_segment_on_the_voxels_of_the_image(desk: Desk, tmp_path: Path) -> None:
    import slicer

    from Testing.slicer.scene import paint, volumes

    tumour = desk.find()
    desk.press("newSegmentButton")  # which stays empty
    second = desk.node.GetSegmentation().AddEmptySegment("second", "second")
    grid = volumes.gridFromVolume(desk.volumes["ct"])
    corner = np.argwhere(tumour)[0][::-1]
    paint(desk.node, second, grid, tuple(corner), (1, 1, 1))  # within the tumour
    paint(desk.node, second, grid, (2, 3, 4), (3, 2, 1))
    desk.host.dialogs.answer(str(tmp_path / "mine"))
    export(desk, "NIfTI")
    assert desk.status == (
        "Written: mine.nii.gz. Segments overlap in 1 voxels, which the file gives to the last of them; .seg.nrrd keeps "
        "all of them."
    )
    written = read_mask(tmp_path / "mine.nii.gz")
    assert written.grid == grid
    np.testing.assert_array_equal(written.array == 2, voxels(desk.node, second, desk.volumes["ct"]))
    np.testing.assert_array_equal((written.array == 1) | ((written.array == 2) & (tumour > 0)), tumour > 0)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.nii.gz"]
    assert desk.node.GetStorageNode() is None
    assert slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeNode") == []


def test_without_its_image_a_segment_is_exported_on_its_own_voxels(desk: Desk, tmp_path: Path) -> None:
    import slicer

    count = int(desk.find().sum())
    for volume in desk.volumes.values():
        slicer.mrmlScene.RemoveNode(volume)
    desk.host.dialogs.answer(str(tmp_path / "mine.nii.gz"))
    export(desk, "NIfTI")
    assert desk.status == "Written: mine.nii.gz."
    assert int((read_mask(tmp_path / "mine.nii.gz").array == 1).sum()) == count


def test_seg_nrrd_keeps_names_and_colours_and_the_transform(desk: Desk, tmp_path: Path) -> None:
    import slicer
    import vtk

    desk.find()
    segment = desk.node.GetSegmentation().GetSegment(desk.segment)
    segment.SetName("Sarcoma")
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 25.0)
    moved.SetMatrixTransformToParent(matrix)
    desk.node.SetAndObserveTransformNodeID(moved.GetID())
    before, after = [0.0] * 6, [0.0] * 6
    desk.node.GetRASBounds(before)
    desk.host.dialogs.answer(str(tmp_path / "case.seg.nrrd"))
    export(desk, ".seg.nrrd")
    assert desk.status == "Written: case.seg.nrrd."
    assert desk.node.GetStorageNode() is None  # where the scene saves it is another matter
    loaded = slicer.util.loadSegmentation(str(tmp_path / "case.seg.nrrd"))
    (only,) = segment_ids(loaded)
    assert loaded.GetSegmentation().GetSegment(only).GetName() == "Sarcoma"
    assert loaded.GetSegmentation().GetSegment(only).GetColor() == pytest.approx(segment.GetColor(), abs=0.01)
    loaded.GetRASBounds(after)
    assert after == pytest.approx(before, abs=0.1)
    assert desk.node.GetParentTransformNode() is moved


@pytest.mark.skipif(sys.platform == "win32", reason="folders are made read-only otherwise there")
@pytest.mark.parametrize("kind", ["NIfTI", ".seg.nrrd"])
def test_a_file_that_cannot_be_written_leaves_what_was_there(desk: Desk, tmp_path: Path, kind: str) -> None:
    desk.find()
    suffix = {"NIfTI": ".nii.gz"}.get(kind, kind)
    gone = tmp_path / "gone" / f"a{suffix}"
    desk.host.dialogs.answer(str(gone))
    export(desk, kind)
    assert "does not exist" in desk.status
    assert desk.status.count("\n") == 0
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / f"a{suffix}").write_text("former")
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        if _may_write(folder):
            pytest.skip("this user may write everywhere")
        desk.host.dialogs.answer(str(folder / f"a{suffix}"))
        export(desk, kind)
        assert "written" in desk.status
        assert (folder / f"a{suffix}").read_text() == "former"
    finally:
        folder.chmod(stat.S_IRWXU)


def _may_write(folder: Path) -> bool:
    try:
        (folder / "try").touch()
    except OSError:
        return False
    return True


def test_a_file_that_slicer_does_not_write_is_an_error(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    desk.find()
    (tmp_path / "a.seg.nrrd").write_text("former")

    def half(node: Any, path: str, *_rest: Any, **_named: Any) -> bool:
        Path(path).write_text("half")
        return False

    monkeypatch.setattr(slicer.util, "exportNode", half)
    desk.host.dialogs.answer(str(tmp_path / "a.seg.nrrd"))
    export(desk, ".seg.nrrd")
    assert "a.seg.nrrd cannot be written" in desk.status
    assert (tmp_path / "a.seg.nrrd").read_text() == "former"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("from_dicom", [False, True])
def test_the_folder_of_the_image_and_the_name_of_the_segmentation_are_proposed(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_dicom: bool
) -> None:
    import qt
    import slicer

    asked: list[str] = []
    monkeypatch.setattr(
        qt.QFileDialog, "getSaveFileName", lambda _parent, _title, path, _kind: asked.append(path) or ""
    )
    desk.find()
    slicer.util.saveNode(desk.volumes["ct"], str(tmp_path / "ct.nrrd"))
    slicer.mrmlScene.SetRootDirectory("")
    if from_dicom:
        desk.volumes["ct"].SetAttribute("DICOM.instanceUIDs", "1.2.3")
    desk.node.SetName("Left: thigh / tumour")
    export(desk, "NIfTI")
    export(desk, ".seg.nrrd")
    folder = Path.home() if from_dicom else tmp_path
    assert asked == [str(folder / f"Left_ thigh _ tumour{suffix}") for suffix in (".nii.gz", ".seg.nrrd")]


@pytest.mark.parametrize(
    ("kind", "plugin", "extension"),
    [
        ("SEG", "DICOMSegmentationPlugin", "QuantitativeReporting"),
        ("RTSTRUCT", "DicomRtImportExportPlugin", "SlicerRT"),
    ],
)
def test_dicom_is_exported_by_slicers_own_dialog(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kind: str, plugin: str, extension: str
) -> None:
    import slicer

    in_study(desk)
    desk.find()
    export(desk, kind)
    assert f"{kind} needs the extension {extension}: install it" in desk.status
    assert desk.host.dicom_exports.selected == []
    others = ("DICOMScalarVolumePlugin", "DicomRtImportExportPlugin", "DICOMSegmentationPlugin")
    monkeypatch.setattr(slicer.modules, "dicomPlugins", dict.fromkeys(others, object), raising=False)
    export(desk, kind)
    assert desk.host.dicom_exports.selected == [desk.node.GetName()]
    (chosen,) = desk.host.dicom_exports.chosen
    assert chosen.endswith(f"({plugin})")
    assert desk.status.endswith(f"{kind} is chosen in Slicer's DICOM export.")


def test_without_an_entry_for_it_the_user_chooses_what_dicom_writes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin of another version may offer nothing, or under another name."""
    import slicer

    class Plugins(dict):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return iter(["DICOMScalarVolumePlugin"])

    in_study(desk)
    desk.find()
    monkeypatch.setattr(slicer.modules, "dicomPlugins", Plugins(DICOMSegmentationPlugin=object), raising=False)
    export(desk, "SEG")
    assert [each[-25:] for each in desk.host.dicom_exports.chosen] == ["(DICOMScalarVolumePlugin)"]
    assert desk.status == "Choose DICOM SEG in the list of Slicer's DICOM export."


def test_dicom_needs_a_study(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    desk.find()
    monkeypatch.setattr(slicer.modules, "dicomPlugins", {"DICOMSegmentationPlugin": object}, raising=False)
    export(desk, "SEG")
    assert "belongs to no study: in the module Data create a patient and a study" in desk.status
    assert desk.host.dicom_exports.selected == []


def test_measurements_are_exported_once_they_are_there(desk: Desk, tmp_path: Path) -> None:
    desk.find()
    export(desk, "Measurements")
    assert desk.status.startswith("Press Measure first")
    desk.press("measureButton")
    desk.host.dialogs.answer(str(tmp_path / "m.csv"))
    export(desk, "Measurements")
    assert (tmp_path / "m.csv").is_file()


def test_scripts_export_and_are_told_what_is_wrong(case: Case, tmp_path: Path) -> None:
    case.node, case.segment = case.logic.addSegment(case.inputs)
    with pytest.raises(ArgumentError, match="has no voxels"):
        case.logic.export(case.node, str(tmp_path / "a.nii.gz"))
    case.node, case.segment = case.logic.segment(case.inputs)
    with pytest.raises(ArgumentError, match=r"a.mha does not end with .nii.gz or .seg.nrrd"):
        case.logic.export(case.node, str(tmp_path / "a.mha"))
    with pytest.raises(ArgumentError, match="segmentation"):
        case.logic.export(case.volumes["ct"], str(tmp_path / "a.nii.gz"))
    for name in ("a.nii.gz", "a.seg.nrrd"):
        assert case.logic.export(case.node, str(tmp_path / name)) == ""
        np.testing.assert_array_equal(read_mask(tmp_path / name).array, case.mask())
