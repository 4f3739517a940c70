"""The general suite on a made-up one: tasks, prompts, figures over kinds, and the command that measures it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from Testing.fakes import any_image_spec, tiny_network, tiny_spec, write_model
from Testing.training.click_methods import CPU, Answering
from Testing.training.objects.object_cases import GRID, task, write_suite
from Testing.unit.engines.box_cases import bright_engine
from training.__main__ import main
from training.evaluation.suite import (
    BASELINES,
    evaluate_shapes,
    evaluate_suite,
    format_suite,
    image_for,
    read_tasks,
    summarise_suite,
)
from TumorSegLib.engines.clicks.any_image import AnyImageEngine
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.images.volume import Volume
from TumorSegLib.models.folder import read_model_folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite"))


def bright(channels: torch.Tensor) -> torch.Tensor:
    """CT above 113 HU, midway between the objects and their surroundings; batched."""
    return (channels[:, 0] > 1.3).float()


def any_engine() -> AnyImageEngine:
    return AnyImageEngine(any_image_spec(patch=(16, 16, 16)), Answering(bright), CPU)


def click_engine() -> ClickEngine:
    return ClickEngine(tiny_spec("points", kind="clicks", patch=(24, 24, 24)), Answering(bright), CPU)


# Tasks


def test_a_task_is_the_largest_piece_of_its_labels(root: Path) -> None:
    (validation,) = read_tasks(root, "validate")
    assert (validation.name, validation.kind, validation.case, validation.role) == (
        "larynx CT",
        "structure",
        "n2",
        "ct",
    )
    tests = read_tasks(root, "test")
    assert [(one.name, one.case, one.values) for one in tests] == [
        ("larynx CT", "n3", (1,)),
        ("parotid left", "n3", (2,)),
        ("cord", "n3", (4,)),
    ]
    image, truth = validation.read()
    assert (image.role, image.grid, truth.grid) == ("ct", GRID, GRID)
    expected = np.zeros(GRID.shape, np.uint8)
    expected[3:11, 4:12, 5:13] = 1  # without the crumb
    assert np.array_equal(truth.array, expected)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (task("n9", "larynx", 1, "test"), "'n9' of 'neck' has no image 'ct'"),
        (task("n3", "larynx", 1, "test", image="pet"), "'n3' of 'neck' has no image 'pet'"),
    ],
)
def test_a_task_without_a_file_is_named(tmp_path: Path, entry: dict[str, Any], words: str) -> None:
    write_suite(tmp_path, tasks=[entry])
    with pytest.raises(ReadError, match=words):
        read_tasks(tmp_path, "test")


def test_uses_labels_and_folders_that_are_missing_are_named(tmp_path: Path, root: Path) -> None:
    with pytest.raises(ArgumentError, match="use 'train' is not one of validate, test"):
        read_tasks(root, "train")
    with pytest.raises(ReadError, match="no suite of tasks"):
        read_tasks(tmp_path, "test")
    write_suite(tmp_path, tasks=[task("n3", "larynx", 9, "test")])
    with pytest.raises(ReadError, match=r"n3_label\.nii\.gz: has none of the labels \[9\]"):
        read_tasks(tmp_path, "test")[0].read()


def test_an_image_has_the_role_by_which_a_model_takes_its_family() -> None:
    image = Volume(GRID, np.zeros(GRID.shape, np.float32), "mr_flair")
    assert list(image_for(any_image_spec(), image)) == ["mr_flair"]
    shown = image_for(tiny_spec(roles=("ct", "mr_t1"), kind="clicks"), image)
    assert [(role, volume.role) for role, volume in shown.items()] == [("mr_t1", "mr_t1")]
    with pytest.raises(ArgumentError, match="model 'tiny' takes no mr_flair"):
        image_for(tiny_spec(kind="clicks"), image)


# Measuring


def test_engines_are_measured_side_by_side_on_the_same_tasks(root: Path) -> None:
    report = evaluate_suite({"any": any_engine(), "points": click_engine()}, root, "test", 2)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["use"], report["clicks"]) == ("test", 2)
    for name, takes_shapes in (("any", True), ("points", False)):
        method = report["methods"][name]
        assert [row["name"] for row in method["cases"]] == ["larynx CT", "parotid left", "cord"]
        summary = method["summary"]
        assert len(summary["mean"]) == 3
        assert summary["mean"][0] == 0
        assert summary["mean"][1] > 0.8
        assert list(summary["kinds"]) == ["larynx CT", "parotid left", "cord"]
        assert summary["lesions"] == summary["kinds"]["cord"]
        assert sorted(summary["shapes"]) == (["box", "line", "scribble"] if takes_shapes else ["scribble"])
        assert all(figures["mean"] > 0.8 for figures in summary["shapes"].values())
    first, second = (report["methods"][name]["cases"][0]["clicks"][0] for name in ("any", "points"))
    assert first == second
    # Of 8 voxels of 1 mm the fourth is 4 mm deep; along k, of 1.5 mm, the third is already. The first is taken.
    assert first == [8, 7, 5, True]
    text = format_suite(report)
    assert "mean over kinds" in text
    assert text.count("one scribble: mean ") == 2
    assert text.count("one line: mean ") == 1


def test_established_tools_stand_beside_the_engines(root: Path) -> None:
    pytest.importorskip("slicer")
    report = evaluate_suite({"any": any_engine()}, root, "test", 2, bright_engine())
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert list(report["methods"]) == ["any", *BASELINES]
    first = {name: method["cases"][0] for name, method in report["methods"].items()}
    assert [row["clicks"][0] for row in first.values()] == [first["any"]["clicks"][0]] * 3
    assert all(row["dice"][1] > 0.3 for row in first.values()), "each finds some of a bright object"
    exact = report["exact boxes"]
    assert (exact["model"], len(exact["cases"])) == ("bright", 3)
    assert exact["mean"] > 0.8
    lines = format_suite(report).splitlines()
    assert any(line.startswith("random walker") for line in lines)
    assert lines[-1].startswith("bright, the exact box of every slice: mean ")


def test_each_shape_is_one_prompt_from_nothing(root: Path) -> None:
    image, truth = read_tasks(root, "validate")[0].read()
    shapes = evaluate_shapes(any_engine(), image, truth)
    assert all(value is not None and value > 0.8 for value in shapes.values())
    nothing = AnyImageEngine(any_image_spec(), Answering(lambda c: torch.zeros_like(c[:, 0])), CPU)
    shapes = evaluate_shapes(nothing, image, truth)
    assert shapes["line"] == shapes["box"] == 0
    assert 0 < shapes["scribble"] < 0.3  # type: ignore[operator]  # what was drawn stays
    assert evaluate_shapes(click_engine(), image, truth)["line"] is None


def row(name: str, kind: str, dice: list[float], **shapes: float | None) -> dict[str, Any]:
    given = {"scribble": 0.5, "line": 0.6, "box": None} | shapes
    return {"name": name, "kind": kind, "dice": dice, "seconds": [1.0, 3.0], "shapes": given}


def test_figures_over_kinds_by_hand() -> None:
    summary = summarise_suite(
        [
            row("nodule", "lesion", [0, 0.5, 0.7]),
            row("nodule", "lesion", [0, 0.9, 0.87], line=0.8),
            row("liver", "structure", [0, 0.3, 0.4], line=0.1),
            row("PET focus", "lesion", [0, 1, 1], line=1.0),
        ]
    )
    assert summary["kinds"]["nodule"] == pytest.approx([0, 0.7, 0.785])
    assert summary["lesions"] == pytest.approx([0, 0.7, 0.785])  # PET foci count apart
    assert summary["structures"] == pytest.approx([0, 0.3, 0.4])
    assert summary["mean"] == pytest.approx([0, 0.5, 0.5925])
    assert summary["kinds"]["PET focus"] == pytest.approx([0, 1, 1])
    assert summary["area_under_curve"] == pytest.approx((0.25 + 0.54625) / 2)
    assert summary["shapes"]["line"] == pytest.approx({"mean": 0.4, "lesions": 0.7, "structures": 0.1})
    assert "box" not in summary["shapes"]
    assert summary["harmful_share"] == pytest.approx(1 / 8)  # 0.9 to 0.87 alone
    assert summary["seconds_per_click"] == pytest.approx(2)
    assert summary["seconds_95"] == pytest.approx(3)
    assert summarise_suite([row("liver", "structure", [0, 1, 1])])["lesions"] is None


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = any_image_spec()
    return write_model(tmp_path_factory.mktemp("models"), spec, tiny_network(spec))


def test_the_command_measures_models_and_notes_the_figures(
    root: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tiny_spec("points", kind="clicks")
    points = write_model(tmp_path, spec, tiny_network(spec))
    report, plot = tmp_path / "report.json", tmp_path / "curve.png"
    options = ["--suite", "general", "--use", "validate", "--data", str(root), "--clicks", "1", "--device", "cpu"]
    models = ["--model", str(folder), "--model", str(points)]
    outputs = ["--json", str(report), "--plot", str(plot), "--record"]
    assert main(["evaluate-clicks", *options, *models, *outputs]) == 0
    assert "mean over kinds" in capsys.readouterr().out
    assert list(json.loads(report.read_text(encoding="utf-8"))["methods"]) == ["any", "points"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    command = "python -m training evaluate-clicks --model any --suite general --use validate --clicks 1"
    recorded = read_model_folder(folder).spec.results[command]
    assert recorded["cases"] == 1
    assert list(recorded["kinds"]) == ["larynx CT"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--suite", "general", "--fold", "0"], "--fold is for the sarcomas, not for --suite general"),
        (["--suite", "general", "--roles", "ct"], "--roles is for the sarcomas, not for --suite general"),
        (["--suite", "general", "--first-stage", "sts-auto"], "--first-stage is for the sarcomas"),
        (["--suite", "general", "--clicks", "0"], "--clicks 0 must be at least 1"),
        (["--suite", "general", "--data", "nowhere"], "nowhere: no suite of tasks"),
        (["--suite", "general", "--plot", "curve.txt"], "--plot curve.txt: the name must end in .png"),
        (["--suite", "general", "--model", "sts-auto"], "sts-auto is of kind 'auto', evaluate-clicks needs 'clicks'"),
        (["--suite", "general", "--model", "x/../any"], "two models are called 'any'; rename the folder of one"),
        (["--use", "test"], "several --model and --use are for --suite general"),
        (["--model", "sts-clicks"], "several --model and --use are for --suite general"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    root: Path, folder: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["evaluate-clicks", "--model", str(folder), "--data", str(root), "--device", "cpu"]
    assert main([*fixed, *options]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert words in line
    assert captured.out == ""


def test_a_suite_of_another_name_is_no_choice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate-clicks", "--model", str(folder), "--suite", "special"])
    assert "invalid choice: 'special'" in capsys.readouterr().err


def test_an_unreadable_suite_is_refused(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_suite(tmp_path / "root")
    (root / "suite.json").write_text("{", encoding="utf-8")
    arguments = [
        "evaluate-clicks",
        "--suite",
        "general",
        "--model",
        str(folder),
        "--data",
        str(root),
        "--device",
        "cpu",
    ]
    assert main(arguments) == 2
    assert "no suite of tasks" in capsys.readouterr().err
