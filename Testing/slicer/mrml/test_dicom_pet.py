"""PET loaded from DICOM, of which Slicer says no unit: converted to SUV by the tags of its files, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from Testing.slicer.desk import Desk
from Testing.slicer.module import segment_ids
from Testing.unit.cases.pet_slices import UNDECAYED, pet
from TumorSegLib import SuvError

SLICES, PLANE, SPACING, ORIGIN = 12, (40, 48), (4.0, 4.0, 5.0), (-30.0, 20.0, -100.0)
#: SUV of the hottest voxel, and the slope of each slice.
HOTTEST = 8.0
#: SUV per Bq/ml where the scan began one half-life after the injection.
FACTOR = 2 * UNDECAYED


def becquerels() -> np.ndarray:
    """Bq/ml ``[k, j, i]`` of a body with a hot spot, as whole numbers times the slope of their slice."""
    values = np.full((SLICES, *PLANE), 1.0 / FACTOR)
    values[4:8, 10:20, 12:24] = HOTTEST / FACTOR
    return values


def slope(k: int) -> float:
    return 0.5 + k / 8


def write(folder: Path, **tags: Any) -> dict[str, str]:
    """A PET series from feet to head; gives instance to path, in the order of the names, which is another one."""
    folder.mkdir()
    paths = {}
    for k in range(SLICES):
        dataset = pet(**{name: value(k) if callable(value) else value for name, value in tags.items()})
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.3.{k + 1}"
        dataset.Modality, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "PT", "1.2.3", "1.2"
        dataset.Rows, dataset.Columns = PLANE
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.PixelSpacing, dataset.SliceThickness = list(SPACING[:2]), SPACING[2]
        dataset.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + k * SPACING[2]]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.RescaleSlope, dataset.RescaleIntercept = slope(k), 0
        dataset.PixelData = np.rint(becquerels()[k] / slope(k)).astype(np.uint16).tobytes()
        path = folder / f"{(k * 5) % SLICES:02d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths[dataset.SOPInstanceUID] = str(path)
    return dict(sorted(paths.items(), key=lambda item: item[1]))


def load(host: Any, paths: dict[str, str], head_first: bool = False) -> Any:
    """The series as Slicer's DICOM module loads it: values, geometry and the attribute with the instances, no unit."""
    import slicer
    import vtk

    host.dicom.paths.update(paths)
    places = sorted(paths.values(), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    values = np.concatenate([sitk.GetArrayFromImage(sitk.ReadImage(path)) for path in places])
    matrix = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    matrix[:3, 3] = -ORIGIN[0], -ORIGIN[1], ORIGIN[2]
    if head_first:
        values, matrix[2, 3], matrix[2, 2] = values[::-1].copy(), ORIGIN[2] + (SLICES - 1) * SPACING[2], -SPACING[2]
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "4: PET AC")
    slicer.util.updateVolumeFromArray(node, values)
    toRas = vtk.vtkMatrix4x4()
    toRas.DeepCopy(matrix.ravel().tolist())
    node.SetIJKToRASMatrix(toRas)
    node.CreateDefaultDisplayNodes()
    node.SetAttribute("DICOM.instanceUIDs", " ".join(paths) + " ")
    return node


@pytest.fixture
def desk(host: Any) -> Desk:
    made = Desk(host)
    made.choose("ct", None)
    made.choose("pet", None)
    return made


@pytest.mark.parametrize("head_first", [False, True])
def test_pet_is_converted_to_suv_by_its_dicom_tags(desk: Desk, tmp_path: Path, head_first: bool) -> None:
    import slicer

    node = load(desk.host, write(tmp_path / "pet"), head_first)
    before, values = node.GetImageData().GetMTime(), slicer.util.arrayFromVolume(node).copy()
    desk.choose("pet", node)
    desk.press("segmentButton")
    copy = desk.chosen("pet")
    assert copy is not node
    assert copy.GetName() == "4: PET AC (SUV)"
    expected = becquerels()[:: -1 if head_first else 1] * FACTOR
    np.testing.assert_allclose(slicer.util.arrayFromVolume(copy), expected, atol=0.002)
    factor = f"factor {FACTOR:.4g}, from body weight, dose and decay"
    words = "'4: PET AC' was converted from its DICOM files to SUV (body weight), as '4: PET AC (SUV)'"
    assert f"{words} ({factor})." in desk.status
    assert copy.GetAttribute("TumorSeg.SuvFactor") == factor
    assert "Marked" in desk.status
    assert desk.host.dialogs.shown == []
    # The volume itself stays as it is.
    assert node.GetImageData().GetMTime() == before
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), values)
    assert node.GetVoxelValueUnits() is None
    desk.press("measureButton")
    rows = dict(zip(*(column(desk, n) for n in (0, 1))))
    assert rows["SUVmax"] == f"{HOTTEST:.2f}"


def test_suv_factor_of_every_slice(desk: Desk, tmp_path: Path) -> None:
    """As where nobody has corrected for decay: a slice that was scanned a half-life later counts twice."""
    import slicer

    tags = {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"], "ActualFrameDuration": "1000"}
    late = {"AcquisitionTime": lambda k: "114948" if k < SLICES // 2 else "133936"}  # 6588 s later
    copy, note = desk.widget.logic.suvVolume(load(desk.host, write(tmp_path / "pet", **tags, **late), head_first=True))
    suv = slicer.util.arrayFromVolume(copy)[::-1]
    np.testing.assert_allclose(suv[: SLICES // 2], becquerels()[: SLICES // 2] * FACTOR, rtol=2e-3)
    np.testing.assert_allclose(suv[SLICES // 2 :], becquerels()[SLICES // 2 :] * FACTOR * 2, rtol=2e-3)
    assert "decay" in note


def column(desk: Desk, number: int) -> list[str]:
    table = desk.ui.measurementsTable
    return [table.item(row, number).text() for row in range(table.rowCount)]


def test_suv_copy_has_a_unit_and_is_made_once(desk: Desk, tmp_path: Path) -> None:
    import slicer

    node = load(desk.host, write(tmp_path / "pet"))
    logic = desk.widget.logic
    copy, note = logic.suvVolume(node)
    assert (copy.GetVoxelValueUnits().GetCodeValue(), note) == ("{SUVbw}g/ml", "")
    assert logic.suvProblem(copy) == ""
    assert logic.suvVolume(node)[0] is copy
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == len(desk.volumes) + 2


def test_suv_conversion_reports_special_cases(desk: Desk, tmp_path: Path) -> None:
    paths = write(
        tmp_path / "pet",
        Units="GML",
        RadiopharmaceuticalInformationSequence=None,
        SUVType="LBM",
        PatientSex="M",
        PatientSize="1.8",
        RescaleSlope=None,
    )
    _copy, note = desk.widget.logic.suvVolume(load_suv(desk.host, paths))
    assert "lean" in note.lower() or "LBM" in note


def load_suv(host: Any, paths: dict[str, str]) -> Any:
    """The same series whose values are SUV of lean body mass: the slopes are made so."""
    for path in paths.values():
        dataset = pydicom.dcmread(path)
        dataset.RescaleSlope = float(dataset.RescaleSlope) * FACTOR
        dataset.save_as(path)
    return load(host, paths)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PatientWeight": None}, r"'4: PET AC' cannot be converted to SUV: .*PatientWeight"),
        ({"Units": "CNTS"}, r"'4: PET AC' cannot be converted to SUV: .*Philips"),
    ],
)
def test_pet_that_cannot_be_converted_to_suv_is_refused(
    desk: Desk, tmp_path: Path, tags: dict[str, Any], words: str
) -> None:
    import re

    node = load(desk.host, write(tmp_path / "pet", **tags))
    desk.choose("pet", node)
    desk.press("segmentButton")
    assert desk.host.dialogs.shown == []  # it is not asked whether to take Bq/ml for SUV
    assert re.search(words, desk.error)
    assert desk.node is None
    assert desk.chosen("pet") is node


def change_values(node: Any, paths: dict[str, str]) -> None:
    import slicer

    slicer.util.arrayFromVolume(node)[:] *= FACTOR
    slicer.util.arrayFromVolumeModified(node)


def move(node: Any, paths: dict[str, str]) -> None:
    node.SetOrigin(30.0, -20.0, -110.0)


def crop(node: Any, paths: dict[str, str]) -> None:
    import slicer

    slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node)[2:].copy())


def damage(node: Any, paths: dict[str, str]) -> None:
    Path(next(iter(paths.values()))).write_bytes(b"no DICOM")


def damage_pixels(node: Any, paths: dict[str, str]) -> None:
    for path in paths.values():
        dataset = pydicom.dcmread(path)
        del dataset.PixelData, dataset.Rows
        dataset.save_as(path)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage_pixels, "truncated DICOM file, without Rows"),
        (change_values, "does not hold the values of its DICOM files"),
        (move, "does not lie where its DICOM files say"),
        (crop, "has 10 slices and was loaded from 12 DICOM files"),
        (damage, "cannot be converted to SUV: .*not a DICOM file, or truncated"),
    ],
)
def test_changed_pet_is_not_converted_to_suv(desk: Desk, tmp_path: Path, harm: Any, words: str) -> None:
    import slicer

    paths = write(tmp_path / "pet")
    node = load(desk.host, paths)
    harm(node, paths)
    count = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(SuvError, match=words):
        desk.widget.logic.suvVolume(node)
    assert slicer.mrmlScene.GetNumberOfNodes() == count


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, r"that Slicer's reader inverts \(MONOCHROME1\)"),
        ({"RescaleSlope": None}, "RescaleSlope .* is missing, but PET needs it"),
        ({"PixelData": b"\0" * 40}, "PixelData .* has 40 of the 3840 bytes"),
        ({"RescaleSlope": -1}, "RescaleSlope .* is -1; a number above 0 is needed"),
    ],
)
def test_pet_with_other_pixels_than_its_files_is_not_converted_to_suv(
    desk: Desk, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    paths = write(tmp_path / "pet")
    for path in paths.values():
        dataset = pydicom.dcmread(path)
        for name, value in change.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        dataset.save_as(path)
    node = load(desk.host, paths)  # by GDCM, as Slicer does
    with pytest.raises(SuvError, match=words):
        desk.widget.logic.suvVolume(node)


def test_pet_without_dicom_files_needs_confirmation_of_suv(desk: Desk, tmp_path: Path, qt: Any) -> None:
    paths = write(tmp_path / "pet")
    node = load_suv(desk.host, paths)
    desk.host.dicom.clear()
    with pytest.raises(SuvError, match="are not in Slicer's DICOM database"):
        desk.widget.logic.suvVolume(node)
    desk.choose("image_pet", node)
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("segmentButton")
    assert "Treat its values as SUV" in desk.host.dialogs.texts[0]
    assert len(segment_ids(desk.node)) == 1
