"""``tumorseg measure``: the table, the files, every label; refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.fakes import noise_volume
from Testing.unit.cases import cli_cases
from TumorSegLib import __version__
from TumorSegLib.cli.entry import main
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume, write_mask, write_volume
from TumorSegLib.measurements.tumour import Measurements, measure

GRID = Grid.from_spacing((12, 24, 28), (2.0, 2.0, 3.0), (-10, 5, 7), np.diag([-1.0, -1.0, 1.0]))
COARSE = GRID.with_spacing((4.0, 4.0, 6.0))


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a mask of the labels 2 and 5 and images of it."""
    array = np.zeros(GRID.shape, np.uint8)
    array[2:5, 4:9, 6:14] = 2
    array[7:9, 15:20, 15:20] = array[7, 2:4, 2:4] = 5
    monkeypatch.chdir(tmp_path)
    write_mask(Mask(GRID, array), "mask.seg.nrrd")
    write_mask(Mask(GRID, np.zeros(GRID.shape, np.uint8)), "empty.nii.gz")
    write_volume(noise_volume(GRID, "ct"), "ct.nii.gz")
    write_volume(noise_volume(COARSE, "pet", seed=1), "pet.nii.gz")
    return tmp_path


def run(*more: str, mask: str = "mask.seg.nrrd", inputs: tuple[str, ...] = ("pet=pet.nii.gz", "ct=ct.nii.gz")) -> int:
    return main(["measure", "--segmentation", mask, *cli_cases.inputs(*inputs), *more])


def expected(label: int) -> Measurements:
    mask = read_mask("mask.seg.nrrd")
    images = {"pet": read_volume("pet.nii.gz", "pet"), "ct": read_volume("ct.nii.gz")}
    return measure(Mask(mask.grid, mask.array == label), images)


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_line_for_each_label(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    note, *headings, two, five, notice = capsys.readouterr().out.splitlines()
    assert note == "measured on their own grid, to which the mask was resampled: pet"
    assert "not a medical device" in notice
    names = "label name volume lesions longest perpend. product 3Dmax SUVmax SUVmean SUVpeak MTV TLG CTmean CTSD slice"
    joined = headings[0].replace("3D max.", "3Dmax").replace("CT mean", "CTmean").replace("CT SD", "CTSD")
    assert joined.split() == names.split()
    assert headings[1].split()[-2:] == ["HU", "HU"]
    assert len({len(line) for line in (headings[0], two, five)}) == 1
    for label, line in ((2, two), (5, five)):
        found, cells = expected(label), line.split()
        assert cells.pop(1) == "Tumour"
        assert cells.pop(1) == str(label)  # of the name "Tumour 2"
        assert found.axial is not None
        assert found.pet is not None
        assert cells[:4] == [
            str(label),
            f"{found.volume_ml:.2f}",
            str(found.lesions),
            f"{found.axial.longest.length_mm:.1f}",
        ]
        assert cells[-1] == str(found.axial.slice)
        assert cells[7:10] == [f"{value:.2f}" for value in (found.pet.suv_max, found.pet.suv_mean, found.pet.suv_peak)]
        assert cells[12] == f"{found.intensities['ct'].mean:.1f}"
    assert sorted(path.name for path in case.iterdir()) == ["ct.nii.gz", "empty.nii.gz", "mask.seg.nrrd", "pet.nii.gz"]


def test_without_images_there_is_only_shape(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(inputs=()) == 0
    out = capsys.readouterr().out
    assert "SUV" not in out
    assert out.splitlines()[2].split()[:4] == ["2", "Tumour", "2", "1.44"]  # 3 x 5 x 8 voxels of 0.012 ml


def test_csv_has_a_row_for_each_label_and_every_number(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--csv", "out.csv") == 0
    assert capsys.readouterr().out.endswith("2 label(s) measured, written to out.csv\n")
    found = rows("out.csv")
    assert [row["label"] for row in found] == ["2", "5"]
    for row in found:
        measurements = expected(int(row["label"]))
        assert measurements.axial is not None
        assert measurements.pet is not None
        assert row["segmentation"] == "mask.seg.nrrd"
        assert float(row["volume_ml"]) == measurements.volume_ml
        assert float(row["perpendicular_axial_mm"]) == measurements.axial.perpendicular.length_mm
        assert float(row["product_mm2"]) == measurements.axial.product_mm2
        assert (row["slice_axis"], row["slice"]) == ("k", str(measurements.axial.slice))
        assert float(row["pet_suv_peak"]) == measurements.pet.suv_peak
        assert float(row["pet_tlg_g"]) == measurements.pet.tlg_g
        assert float(row["ct_standard_deviation"]) == measurements.intensities["ct"].standard_deviation
        assert [float(row[f"centroid_{axis}"]) for axis in "ras"] == list(measurements.centroid_ras or ())
    assert [found[0][f"box_{axis}{n}"] for axis in "ijk" for n in (0, 1)] == ["6", "14", "4", "9", "2", "5"]
    assert list(found[0])[-1] == "notice"
    assert "not a medical device" in found[0]["notice"]


def test_json_has_the_ends_of_the_diameters_and_the_inputs(case: Path) -> None:
    assert run("--json", "out.json", "--csv", "out.csv") == 0
    report = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert "not a medical device" in report["notice"]
    assert report["tumorseg_version"] == __version__
    assert report["segmentation"] == str(case / "mask.seg.nrrd")
    assert report["inputs"] == {"pet": str(case / "pet.nii.gz"), "ct": str(case / "ct.nii.gz")}
    assert report["labels"] == [
        {"label": label, "name": f"Tumour {label}", **expected(label).to_dict()} for label in (2, 5)
    ]
    assert len(rows("out.csv")) == 2


def test_an_empty_mask_is_a_csv_row_without_values(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--csv", "full.csv") == 0
    assert run("--csv", "empty.csv", "--json", "empty.json", mask="empty.nii.gz") == 0
    assert "the mask is empty" in capsys.readouterr().out
    (row,) = rows("empty.csv")
    assert list(row) == list(rows("full.csv")[0])
    assert (row["label"], row["volume_ml"], row["longest_axial_mm"], row["pet_suv_max"]) == ("", "0.0", "", "")
    (only,) = json.loads(Path("empty.json").read_text(encoding="utf-8"))["labels"]
    assert (only["label"], only["volume_ml"], only["axial"]) == (None, 0, None)
    assert run(mask="empty.nii.gz") == 0
    assert capsys.readouterr().out.splitlines()[-2].split()[:4] == ["-", "0.00", "0", "-"]


def test_a_mask_only_partly_covered_by_an_image_gives_a_note(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = GRID.crop(((0, 28), (0, 24), (0, 8)))
    write_volume(Volume(part, np.ones(part.shape, np.float32), "pet"), "part.nii.gz")
    assert run(inputs=("pet=part.nii.gz",)) == 0
    out = capsys.readouterr().out
    assert "Tumour 5: the pet image covers only 54% of it" in out  # 29 of 54 voxels
    assert "label 2: the" not in out


WRONG: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "mask missing": ([], {"mask": "no.nii.gz"}, "no.nii.gz: no such file"),
    "another place": ([], {"inputs": ("mr_t1=far.nii.gz",)}, "the mr_t1 image (5 x 5 x 5 voxels"),
    "suffix of table": (["--csv", "out.xls"], {}, "out.xls: cannot be written, the name must be NAME.csv"),
    "suffix of report": (["--json", "out.csv"], {}, "out.csv: cannot be written, the name must be NAME.json"),
}


@pytest.mark.parametrize(("arguments", "given", "named"), WRONG.values(), ids=list(WRONG))
def test_measure_refusals(
    case: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], given: dict[str, Any], named: str
) -> None:
    far = Grid.from_spacing((5, 5, 5), (1, 1, 1), (900, 0, 0))
    write_volume(Volume(far, np.zeros(far.shape, np.float32), "mr_t1"), "far.nii.gz")
    command = ["--csv", "out.csv", "--json", "out.json", *arguments]
    cli_cases.assert_refused(lambda: run(*command, **given), named, case, capsys)
