"""Evaluation by simulated clicks: reports, and the command that makes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.fakes import PaintingEngine, tiny_spec
from Testing.training.click_methods import ROLES, bright, finding, plan_of, refiner_of, row_of
from training.__main__ import main
from training.evaluation.clicks import evaluate_clicks, format_clicks, summarise_clicks
from training.export import record_clicks
from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.models.folder import read_model_folder

# --- reports ---------------------------------------------------------------------------------------------------------


def test_report_of_a_perfect_refiner(data: Path) -> None:
    auto = finding(False)
    report = evaluate_clicks(plan_of(refiner_of(bright), auto), data, None, [ROLES, ("pet",)])
    subsets = report.pop("subsets")
    models = {"model": "refiner", "version": "1.2.3", "first_stage": "first", "weights_sha256": "cd" * 32}
    run = {"fold": None, "clicks": 2, "device": "cpu", "precision": "float32"}
    assert report.items() >= {**models, **run}.items()
    assert list(subsets) == ["ct+pet", "pet"]
    for starts in subsets.values():
        assert list(starts) == ["automatic", "nothing"]
        for methods in starts.values():
            assert list(methods) == ["refiner"]
            rows, summary = methods["refiner"]["cases"], methods["refiner"]["summary"]
            assert [row["case"] for row in rows] == ["a", "b", "c"]  # d has no PET
            assert all(row["dice"] == [0, 1, 1] and len(row["clicks"]) == 1 for row in rows)
            assert summary["clicks_to_0.90"] == {"median": 1.0, "cases": 3}
    # The hidden window of case c, and no role but those asked for.
    assert {image.array.shape for given in auto.images for image in given.values()} == {(20, 24, 22), (18, 18, 18)}
    assert {tuple(given) for given in auto.images} == {ROLES, ("pet",)}
    json.dumps(subsets, allow_nan=False)


def test_perfect_automatic_mask_needs_no_click(data: Path) -> None:
    report = evaluate_clicks(plan_of(refiner_of(bright), finding(True)), data, 0, [("ct",)])
    (row,) = report["subsets"]["ct"]["automatic"]["refiner"]["cases"]
    assert (row["dice"], row["clicks"]) == ([1, 1, 1], [])
    (row,) = report["subsets"]["ct"]["nothing"]["refiner"]["cases"]
    assert len(row["clicks"]) == 1


def test_clicks_and_roles_that_cannot_be_evaluated(data: Path) -> None:
    with pytest.raises(ArgumentError, match="--clicks 0 must be at least 1"):
        evaluate_clicks(plan_of(refiner_of(bright), clicks=0), data, None, [("pet",)])
    auto = PaintingEngine(tiny_spec("first", ("ct",)), lambda _: np.zeros(1))
    with pytest.raises(RoleError, match="model 'first' cannot work from 'pet'"):
        evaluate_clicks(plan_of(refiner_of(bright), auto), data, None, [("pet",)])
    with pytest.raises(RoleError, match=r"model 'refiner' cannot work from 'ct\+mr_t1'"):
        evaluate_clicks(plan_of(refiner_of(bright)), data, None, [("ct", "mr_t1")])


def made_up_report(methods: tuple[str, ...] = ("refiner", "without previous map")) -> dict[str, Any]:
    rows = [row_of([0.0, 0.84512, 0.9], [0.25, 0.5], None), row_of([0.2, 0.7, 0.8], [0.5, 0.75])]
    entry = {"summary": summarise_clicks(rows), "cases": rows}
    return {"clicks": 2, "subsets": {"ct+pet+mr_t1": {"automatic": dict.fromkeys(methods, entry)}}}


def test_table_is_aligned_and_shows_the_clicks_there_were() -> None:
    lines = format_clicks(made_up_report()).splitlines()
    assert len({len(line) for line in lines}) == 1
    head = "Median Dice after clicks 0 1 2 worst AUC to .85 to .90 s/click"
    figures = "0.100 0.773 0.850 0.800 0.624 2.5 2.5 0.50"
    assert [" ".join(line.split()) for line in lines] == [
        head,
        f"ct+pet+mr_t1, from automatic: refiner {figures}",
        f"ct+pet+mr_t1, from automatic: without previous map {figures}",
    ]


def test_figures_are_recorded_in_the_model_rounded(refiner_folder: Path) -> None:
    model = read_model_folder(refiner_folder)
    record_clicks(model, "the command", made_up_report(("refiner",)))
    after = read_model_folder(refiner_folder)
    figures = after.spec.results["the command"]["ct+pet+mr_t1"]["automatic"]["refiner"]
    assert figures["cases"] == 2
    assert figures["median"] == [0.1, 0.7726, 0.85]
    assert figures["clicks_to_0.90"] == {"median": 2.5, "cases": 1}
    assert figures["last_hd95_mm"] is None
    assert replace(after.spec, results=model.spec.results) == model.spec
    after.verify()


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(data: Path, model: Path, refiner_folder: Path) -> list[str]:
    options = ["evaluate-clicks", "--model", str(refiner_folder), "--first-stage", str(model), "--data", str(data)]
    return [*options, "--device", "cpu", "--precision", "float32"]


def test_command_writes_table_report_and_picture(
    command: list[str], refiner_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, picture = tmp_path / "report.json", tmp_path / "curve.png"
    options = ["--fold", "2", "--roles", "ct", "--clicks", "2", "--json", str(report), "--plot", str(picture)]
    assert main([*command, *options, "--record"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    values = json.loads(report.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert captured.out == format_clicks(values) + "\n"
    assert [line.split(":")[0] for line in captured.out.splitlines()[1:]] == ["ct, from automatic", "ct, from nothing"]
    assert (values["model"], values["first_stage"], values["clicks"], values["fold"]) == ("tiny-clicks", "tiny", 2, 2)
    for start in ("automatic", "nothing"):
        (name,) = values["subsets"]["ct"][start]
        rows = values["subsets"]["ct"][start][name]["cases"]
        assert (name, [row["case"] for row in rows]) == ("refiner", ["c", "d"])
        assert all(len(row["dice"]) == 3 and len(row["clicks"]) == 2 for row in rows)
    assert picture.read_bytes().startswith(b"\x89PNG")
    key = "python -m training evaluate-clicks --model tiny-clicks --first-stage tiny --clicks 2 --fold 2 --roles ct"
    recorded = read_model_folder(refiner_folder).spec.results[key]["ct"]["nothing"]["refiner"]
    assert recorded["cases"] == 2
    assert recorded["mean"] == pytest.approx(values["subsets"]["ct"]["nothing"]["refiner"]["summary"]["mean"], abs=1e-4)


def test_command_with_baselines(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("slicer", reason="needs slicer-core")
    report = tmp_path / "report.json"
    assert main([*command, "--fold", "0", "--roles", "pet", "--clicks", "1", "--baselines", "--json", str(report)]) == 0
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    baselines = ["without previous map", "grow from seeds", "PET 41 %"]
    assert lines == [
        *(f"pet, from automatic: {name}" for name in ("refiner", baselines[0])),
        *(f"pet, from nothing: {name}" for name in ("refiner", *baselines)),
    ]
    entry = json.loads(report.read_text(encoding="utf-8"))["subsets"]["pet"]["nothing"]
    # The ball is 4.5 times as hot as all else, so 41 % of its maximum finds it.
    assert entry["PET 41 %"]["cases"][0]["dice"][1] > 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot", "curve.pdf"], "--plot curve.pdf: the name must end in .png"),
        (["--first-stage", "REFINER"], "model 'tiny-clicks' is of kind 'clicks', one of kind 'auto' is needed here"),
    ],
)
def test_wrong_options_are_refused(
    command: list[str], refiner_folder: Path, options: list[str], words: str, capsys: Any
) -> None:
    assert main([*command, *(option.replace("REFINER", str(refiner_folder)) for option in options)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
