"""One stack of one acquisition: woven ones are refused, ones after the other are well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.unit.cases.dicom_series import pet_tags, voxels, write_slice
from TumorSegLib.errors import ReadError
from TumorSegLib.io.dicom.series import read_series_and_notes


def write(folder: Path, name: str, values: Any, modality: str = "CT") -> tuple[str, ...]:
    """Writes slices with one tag each, and returns the notes of reading them."""
    folder.mkdir(exist_ok=True)
    for n, value in enumerate(values):
        write_slice(folder / f"{n:02d}.dcm", voxels(1)[0], (0, 0, 3 * n), modality, **{name: value})
    return read_series_and_notes(folder, role="image")[1]


WOVEN = [
    ("AcquisitionNumber", [1, 2, 1, 2, 1, 2]),
    ("AcquisitionNumber", [1, 1, 2, 1, 2, 2, 1, 1]),
    ("AcquisitionTime", ["100000", "101500"] * 3),
    ("ConvolutionKernel", ["B30f", "B60f"] * 3),
    ("KVP", ["80", "140"] * 3),
    ("ImageType", [["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"]] * 3),
    ("AcquisitionNumber", [1, None] * 3),
    ("ContrastBolusAgent", [None, "iohexol"] * 3),
    ("PatientID", ["a", "b"] * 3),
    ("StudyInstanceUID", ["1.1", "1.2"] * 3),
    ("FrameOfReferenceUID", ["1.1", "1.2"] * 3),
    ("SeriesDescription", ["thin", "bone"] * 3),
]


@pytest.mark.parametrize("modality", ["CT", "PT"])
@pytest.mark.parametrize(("name", "values"), WOVEN)
def test_two_acquisitions_woven_into_one_stack_are_refused(
    tmp_path: Path, name: str, values: Any, modality: str
) -> None:
    with pytest.raises(ReadError, match=rf"slices of 2 acquisitions alternate \({name} .*into a folder of its own"):
        write(tmp_path, name, values, modality)


def test_two_acquisitions_with_a_time_for_each_slice_are_refused(tmp_path: Path) -> None:
    times = [f"10{(0 if n % 2 else 5):02d}{n:02d}.5" for n in range(10)]
    with pytest.raises(ReadError, match=r"slices of two acquisitions alternate \(by AcquisitionTime\)"):
        write(tmp_path, "AcquisitionTime", times)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("AcquisitionNumber", [1, 1, 1, 2, 2, 3, 3, 4]),  # step and shoot
        ("AcquisitionNumber", [4, 3, 2, 1]),
        ("AcquisitionNumber", [1, None, 1, 2, None, 1, 2]),  # not stated by all
        ("AcquisitionTime", ["100000", "100000", "100300", "100300", "100600"]),  # beds
        ("AcquisitionTime", [f"10{n:02d}00" for n in range(10)]),
        ("AcquisitionTime", [f"10{30 - n:02d}{n:02d}" for n in range(10)]),
        ("KVP", ["120"] * 6),
    ],
)
@pytest.mark.parametrize("modality", ["CT", "PT"])
def test_consecutive_acquisitions_are_accepted(tmp_path: Path, name: str, values: Any, modality: str) -> None:
    assert write(tmp_path, name, values, modality) == ()


def test_slices_of_different_modality_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"slices of different modality, MR .* and CT"):
        write(tmp_path, "Modality", ["MR"] + ["CT"] * 5, "MR")


def test_mr_may_excite_its_slices_in_turns(tmp_path: Path) -> None:
    assert write(tmp_path / "time", "AcquisitionTime", ["100000", "100300"] * 3, "MR") == ()
    (note,) = write(tmp_path / "number", "AcquisitionNumber", [1, 2] * 3, "MR")
    assert note == "slices of 2 acquisitions alternate (AcquisitionNumber 1, 2); they were read as one image"


def test_one_slice_of_another_acquisition_is_noted(tmp_path: Path) -> None:
    (note,) = write(tmp_path, "AcquisitionNumber", [1, 1, 7, 1, 1])
    assert "AcquisitionNumber 1, 7" in note


def test_a_pet_with_fewer_slices_than_stated_is_noted(tmp_path: Path) -> None:
    for n in range(4):
        write_slice(tmp_path / f"{n}.dcm", voxels(1)[0], (0, 0, 3 * n), **pet_tags(RescaleSlope=0.1, NumberOfSlices=9))
    notes = read_series_and_notes(tmp_path, role="pet")[1]
    assert notes == ("the series has 9 slices by its NumberOfSlices (0054,0081), of which 4 were found",)


def positions(folder: Path, heights: Any, **tags: Any) -> tuple[str, ...]:
    """Writes slices at some heights (mm), and returns the notes of reading them."""
    folder.mkdir(exist_ok=True)
    for n, height in enumerate(heights):
        write_slice(folder / f"{n:02d}.dcm", voxels(1)[0], (0, 0, float(height)), "CT", **tags)
    return read_series_and_notes(folder, role="image")[1]


EVEN = 0.123457 + 3.0 * np.arange(9)


def test_unevenly_spaced_slices_are_refused_from_5_percent_and_noted_from_1_percent(tmp_path: Path) -> None:
    for share, folder in ((0.005, "quiet"), (0.03, "told"), (0.06, "refused")):
        heights = EVEN.copy()
        heights[4] += share * 3.0
        if folder == "refused":
            with pytest.raises(ReadError, match=r"unevenly spaced, up to 0\.18 mm from where .* 3 mm apart .* 5% of"):
                positions(tmp_path / folder, heights)
        else:
            told = [note.partition(" from")[0] for note in positions(tmp_path / folder, heights)]
            assert told == (["slices are unevenly spaced, up to 0.09 mm"] if folder == "told" else [])


def test_gaps_that_drift_are_refused_though_each_is_near_the_usual_one(tmp_path: Path) -> None:
    heights = 0.123457 + np.cumsum([2.8] * 10 + [3.2] * 10)
    with pytest.raises(ReadError, match=r"unevenly spaced, up to 1\.9 mm from where"):
        positions(tmp_path, heights)


def test_rounded_positions_count_as_evenly_spaced(tmp_path: Path) -> None:
    thin = 0.625 * np.arange(20)
    assert positions(tmp_path / "rounded", np.round(thin, 1)) == ()
    noisy = thin + 0.05 * (np.arange(20) % 2) + 0.00037
    with pytest.raises(ReadError, match="unevenly spaced"):
        positions(tmp_path / "noisy", noisy)


def test_missing_slice_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"missing or unevenly spaced, 6\.00 mm instead of 3\.00 mm between 03.dcm and"):
        positions(tmp_path, np.delete(EVEN, 4))
