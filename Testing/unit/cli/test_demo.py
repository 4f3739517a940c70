"""The demonstration and the report it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from Testing.fakes import PaintingEngine, tiny_spec, write_model
from TumorSegLib import __version__
from TumorSegLib.cli import demo
from TumorSegLib.cli.demo import run_demo
from TumorSegLib.engines import load
from TumorSegLib.engines.importers.sam import import_checkpoint
from TumorSegLib.engines.networks.sam import build_sam
from TumorSegLib.errors import TumorSegError, WriteError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume
from TumorSegLib.measurements.report import make_report, marked, to_json, volume_warning
from TumorSegLib.protocols import Result, RunInfo

FILES = {
    "phantom_ct.nii.gz",
    "phantom_pet.nii.gz",
    "phantom_tumour.nii.gz",
    "segmentation.seg.nrrd",
    "segmentation.nii.gz",
    "probability.nii.gz",
    "uncertainty.nii.gz",
    "preview.png",
    "report.json",
}
BOX_FILES = {"box.nii.gz", "box_preview.png"}


TINY = {"image_size": 64, "depth": 1, "width": 16, "heads": 2, "global_attention": [0], "channels": 16}


@pytest.fixture(autouse=True)
def no_box_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this computer has: a published model takes long, and need not be there."""
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))


@pytest.mark.parametrize("with_box_model", [False, True])
def test_demo_writes_every_file_and_they_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_box_model: bool
) -> None:
    if with_box_model:
        torch.save(build_sam("SamViT", TINY, "tiny").state_dict(), tmp_path / "tiny.pth")
        import_checkpoint(tmp_path / "tiny.pth", "tiny-sam", "unit")
        monkeypatch.setattr(demo, "BOX_MODEL", "tiny-sam")
    spec, folder = tiny_spec("tiny", ("ct", "pet"), spacing_mm=(8.0, 8.0, 8.0)), tmp_path / "demo"
    seen: list[tuple[int, int]] = []
    report = run_demo(folder, 0, str(write_model(tmp_path, spec)), progress=lambda *at: seen.append(at))
    files = FILES | BOX_FILES if with_box_model else FILES
    assert {path.name for path in folder.iterdir()} - {"tumour.stl"} == files
    mask = read_mask(folder / "segmentation.nii.gz")
    assert (folder / "report.json").read_text() == to_json(report)
    assert report["volume_ml"] == pytest.approx(mask.volume_ml)
    assert report["tumorseg_version"] == __version__
    reference_ml = read_mask(folder / "phantom_tumour.nii.gz").volume_ml
    assert report["metrics"]["reference_volume_ml"] == pytest.approx(reference_ml)
    probability = read_volume(folder / "probability.nii.gz", "probability").array
    assert np.array_equal(mask.array > 0, probability > 0.5)
    assert seen[-1][0] == seen[-1][1]
    if with_box_model:
        assert (report["box"]["model"], report["box"]["role"]) == ("tiny-sam", "pet")
        assert report["box"]["metrics"]["volume_ml"] == pytest.approx(read_mask(folder / "box.nii.gz").volume_ml)
    else:
        assert report["box"] is None


def test_demo_removes_optional_files_of_an_earlier_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(images: Images) -> np.ndarray:
        return np.zeros(images["ct"].grid.shape)

    monkeypatch.setattr(
        load, "load_engine", lambda model, kind: PaintingEngine(tiny_spec("tiny", ("ct", "pet")), nothing)
    )
    for name in ("tumour.stl", "uncertainty.nii.gz", *BOX_FILES, "notes.txt"):
        (tmp_path / name).write_text("of an earlier demonstration")
    assert run_demo(tmp_path)["volume_ml"] == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"uncertainty.nii.gz"} | {"notes.txt"}


def test_demo_refuses_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="file"):
        run_demo(tmp_path / "file" / "demo")


@pytest.mark.parametrize(("seed", "model"), [(-1, "sts-auto"), (0, "nobody"), (0, "sts-clicks")])
def test_demo_with_a_wrong_seed_or_model_makes_no_folder(tmp_path: Path, seed: int, model: str) -> None:
    with pytest.raises(TumorSegError, match=f"{seed}|{model}"):
        run_demo(tmp_path / "demo", seed, model)
    assert not (tmp_path / "demo").exists()


def result_of(array: np.ndarray) -> Result:
    grid = Grid.from_spacing(array.shape, (1.0, 2.0, 5.0), (10, 20, 30))
    return Result(Mask(grid, array), Volume(grid, array.astype(np.float32), "probability"), info=RunInfo("tiny"))


def test_report_counts_components_and_volume() -> None:
    array = np.zeros((12, 12, 12), np.uint8)
    array[1:5, 1:5, 1:5] = 1
    array[8:10, 8:10, 8:10] = 1
    report = json.loads(to_json(make_report(result_of(array))))
    assert report["volume_ml"] == pytest.approx((64 + 8) * 10 / 1000)
    assert [part["volume_ml"] for part in report["components"]] == pytest.approx([0.64, 0.08])
    assert report["components"][0]["centroid_ras"] == pytest.approx([12.5, 25.0, 42.5])
    assert report["grid"]["spacing_mm"] == pytest.approx([1, 2, 5])
    assert report["shape"]["volume_ml"] == pytest.approx(0.72)
    assert report["model"] == "tiny"
    empty = make_report(result_of(np.zeros((4, 4, 4), np.uint8)))
    assert (empty["shape"], empty["components"], empty["volume_ml"]) == (None, [], 0)


SARCOMA = tiny_spec("m", made_for="sarcoma of the limbs", plausible_volume_ml=(27.8, 2330.8))


def test_marked_volume_is_reported_with_the_purpose_of_the_model() -> None:
    assert marked(SARCOMA, 342.04) == "marked 342.0 ml; it was made for sarcoma of the limbs: check it"
    assert marked(SARCOMA, 0.0) == "marked nothing; it was made for sarcoma of the limbs: check it"
    assert marked(tiny_spec("m"), 0.02) == "marked 0.02 ml; its purpose is not stated: check it"


def test_volumes_outside_those_of_training_give_a_warning() -> None:
    for volume in (27.8, 342, 2330.8, 0):
        assert volume_warning(SARCOMA, volume) == ""
    for volume in (0.01, 27.7, 4698.2):  # "0.0 ml" would be nothing at all
        assert (
            volume_warning(SARCOMA, volume)
            == f"{volume} ml is outside the volumes that m was trained on, 27.8 to 2330.8 ml"
        )
        assert volume_warning(tiny_spec("m"), volume) == ""
