"""What an automatic model marks in images without a sarcoma: the figures, and the command that prints them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from Testing.fakes import PaintingEngine, noise_volume, tiny_network, tiny_spec, write_model
from Testing.training.objects.object_cases import GRID, files, save, write_suite
from training.__main__ import main
from training.evaluation.negatives import evaluate_negatives, format_negatives
from TumorSegLib.errors import RoleError
from TumorSegLib.io.images import write_volume
from TumorSegLib.models.folder import read_model_folder
from TumorSegLib.parsing import load_json

ROLES = ("ct", "pet")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``n2``, of CT and PET, validates; ``n3``, of CT, tests."""
    lists = {"train": [], "validate": ["general/neck/n2"], "test": ["general/neck/n3"]}
    root = write_suite(tmp_path_factory.mktemp("suite") / "data", negatives=lists)
    write_volume(noise_volume(GRID, "pet", 5), root / "general" / "neck" / "n2_pet.nii.gz")
    index = load_json(root / "general" / "index.json")["cases"]
    both = [{**one, "files": files("n2", "ct", "pet", "label")} if one["case"] == "n2" else one for one in index]
    save(root / "general" / "index.json", {"cases": both})
    return root


def test_marked_volumes_of_every_subset_by_hand(root: Path) -> None:
    counts = {("ct", "pet"): 2000, ("ct",): 400, ("pet",): 0}

    def paint(images: dict[str, object]) -> np.ndarray:
        marked = np.zeros(GRID.shape, bool)
        marked.ravel()[: counts[tuple(images)]] = True
        return marked

    engine = PaintingEngine(tiny_spec(roles=ROLES, optional=ROLES), paint)
    report = evaluate_negatives(engine, root, "validate")
    rows = {row["roles"]: row["marked_ml"] for row in report["cases"]}
    assert rows == pytest.approx({"ct+pet": 3.0, "ct": 0.6, "pet": 0.0})  # voxels of 1.5 mm^3
    assert report["summary"] == pytest.approx({"median_ml": 0.6, "largest_ml": 3.0})
    assert {row["case"] for row in report["cases"]} == {"n2"}
    lines = format_negatives(report).splitlines()
    assert lines[1].split() == ["n2", "ct+pet", "3.0"]
    assert lines[-1] == "median 0.6 ml, largest 3.0 ml"


def test_a_model_for_none_of_the_images_is_refused(root: Path) -> None:
    engine = PaintingEngine(tiny_spec(roles=("mr_t1",)), lambda _: np.zeros(GRID.shape, bool))
    with pytest.raises(RoleError, match="can work from none of the 0 negatives"):
        evaluate_negatives(engine, root, "test")


def test_the_command_prints_and_notes_the_figures(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tiny_spec(roles=ROLES, optional=ROLES)
    folder, output = write_model(tmp_path, spec, tiny_network(spec)), tmp_path / "out.json"
    options = ["--use", "validate", "--data", str(root), "--device", "cpu", "--json", str(output), "--record"]
    assert main(["evaluate-negatives", "--model", str(folder), *options]) == 0
    printed = capsys.readouterr().out
    report = json.loads(output.read_text(encoding="utf-8"))
    assert [row["roles"] for row in report["cases"]] == ["ct+pet", "ct", "pet"]
    assert f"largest {report['summary']['largest_ml']:.1f} ml" in printed
    command = f"python -m training evaluate-negatives --model {folder.name} --use validate"
    recorded = read_model_folder(folder).spec.results[command]
    assert recorded == {"cases": 3, **{name: round(value, 4) for name, value in report["summary"].items()}}


def test_a_model_of_another_kind_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate-negatives", "--model", "sts-clicks", "--data", str(root)]) == 2
    assert "is of kind 'clicks', evaluate-negatives needs 'auto'; use evaluate-clicks" in capsys.readouterr().err
