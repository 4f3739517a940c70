"""What the command line says of files that state two places, and files of any name the system allows."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from Testing.fakes import tiny_spec, write_model
from TumorSegLib.cli.entry import main
from TumorSegLib.geometry.grid import Grid, NiftiForms
from TumorSegLib.images.resample import resample, resample_mask
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume, write_mask, write_volume

PLACE = Grid.from_spacing((8, 16, 16), (3, 3, 3), (40, 15, -7))
TWOFOLD = Grid(PLACE.shape, PLACE.affine, NiftiForms(2, 1, Grid.from_spacing(PLACE.shape, (3, 3, 3)).affine))
SAID = "its sform (code 2) and qform (code 1) differ, first voxels 43.3 mm apart, corners up to 43.3 mm apart"


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ct.nii.gz and mask.nii.gz, which state two places, and the model ``tiny``."""
    hu = np.random.default_rng(0).normal(40, 20, PLACE.shape).astype(np.int16)
    write_volume(Volume(TWOFOLD, hu, "ct"), tmp_path / "ct.nii.gz")
    block = np.zeros(PLACE.shape, np.uint8)
    block[2:5, 4:9, 4:9] = 1
    write_mask(Mask(TWOFOLD, block), tmp_path / "mask.nii.gz")
    write_model(tmp_path / "models", tiny_spec(name="tiny", roles=("ct", "pet"), optional=("pet",)))
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segment(*more: str, output: str = "out.nii.gz") -> int:
    return main(["segment", "--input", "ct=ct.nii.gz", "--model", "tiny", "--output", output, *more])


def test_segment_notes_which_nifti_form_is_used_and_writes_both(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--info", "info.json") == 0
    assert f"note: ct.nii.gz: {SAID}; the sform is used" in capsys.readouterr().err.splitlines()
    assert f"ct: {SAID}; the sform is used" in json.loads(Path("info.json").read_text())["notes"]
    forms = read_mask("out.nii.gz").grid.forms
    assert forms is not None
    assert forms.qform is not None
    assert (forms.sform_code, forms.qform_code) == (2, 1)
    assert forms.qform[:3, 3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "run",
    [
        lambda: main(["measure", "--segmentation", "mask.nii.gz", "--json", "out.json"]),
        lambda: main(["evaluate", "mask.nii.gz", "mask.nii.gz"]),
    ],
)
def test_measure_and_evaluate_note_differing_nifti_forms_of_masks(
    case: Path, capsys: pytest.CaptureFixture[str], run: Callable[[], int]
) -> None:
    assert run() == 0
    assert f"note: mask.nii.gz: {SAID}; the sform is used" in capsys.readouterr().err.splitlines()
    if Path("out.json").exists():
        assert json.loads(Path("out.json").read_text())["notes"] == [f"{SAID}; the sform is used"]


def test_notes_stay_with_an_image_that_is_resampled(case: Path) -> None:
    volume, other = read_volume("ct.nii.gz"), PLACE.with_spacing((7, 7, 7))
    assert resample(volume, other).notes == volume.notes != ()
    assert resample_mask(read_mask("mask.nii.gz"), other).notes == volume.notes


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow UTF-8 names only")
def test_names_that_are_not_utf_8(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsdecode(b"\xfc")
    Path("ct.nii.gz").rename(f"{odd}.nii.gz")
    files = {"--surface": "s.stl", "--preview": "p.png", "--info": "i.json", "--probability": "q.mha"}
    more = [text for option, name in files.items() for text in (option, odd + name)]
    arguments = ["segment", "--input", f"ct={odd}.nii.gz", "--model", "tiny", "--output", f"{odd}.seg.nrrd", *more]
    assert main(arguments) == 0, capsys.readouterr().err
    assert read_mask(f"{odd}.seg.nrrd").grid == PLACE
    written = os.listdir(os.fsencode(case))
    assert {b"\xfcp.png", b"\xfci.json", b"\xfcq.mha"} <= set(written)
    assert main(["measure", "--segmentation", f"{odd}.seg.nrrd", "--csv", f"{odd}.csv"]) == 0
    assert r"\xfc.seg.nrrd" in Path(f"{odd}.csv").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["measure", "--segmentation", f"{odd}{odd}.nrrd"]) == 2
    assert r"\xfc\xfc.nrrd: no such file" in capsys.readouterr().err
