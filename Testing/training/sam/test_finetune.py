"""Fine-tuning the mask decoder of a box model: a tiny random SAM learns to find bright balls in loose boxes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import training
import training.sam.finetune
from training.__main__ import main
from training.config.finetune import FinetuneConfiguration, read_finetune_configuration
from training.data.cases import read_case
from training.evaluation.boxes import ELLIPSOID, loose_box
from training.sam.finetune import AFTER, BEFORE, decoder_loss, finetune, format_report
from TumorSegLib.engines.box.slice_model import SliceModel
from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import ArgumentError, ModelError, ReadError, RoleError, TumorSegError
from TumorSegLib.evaluation.metrics import evaluate as compare
from TumorSegLib.models.catalogue import CATALOGUE
from TumorSegLib.models.folder import CARD_FILE, WEIGHTS_FILE, read_model_folder
from TumorSegLib.session.session import Session


def test_finetuning_learns_and_changes_the_decoder_alone(
    base: Path, balls: Path, tuning: Callable[..., FinetuneConfiguration], tmp_path: Path
) -> None:
    changes = "steps = 3", "steps = 80", "warm_up = 5", "warm_up = 10", "margin_mm = 3", "margin_mm = 5"
    run, output = tmp_path / "run", tmp_path / "out" / "tuned"
    report = finetune(tuning(*changes), balls, run, output, "cpu")
    old, new = load_file(base / WEIGHTS_FILE), load_file(output / WEIGHTS_FILE)
    assert old.keys() == new.keys()
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"mask_decoder"}
    assert all(new[name].dtype == old[name].dtype for name in old)

    assert report["loss"]["last"] < 0.5 * report["loss"]["first"]
    assert list(report["roles"]) == ["ct", "pet"]
    for rows in report["roles"].values():  # of cases c and d, on which it was not trained
        assert list(rows) == [ELLIPSOID, BEFORE, AFTER]
        assert list(rows[AFTER]["cases"]) == ["c", "d"]
        assert rows[AFTER]["median"] > rows[BEFORE]["median"] + 0.15
        assert rows[AFTER]["median"] > rows[ELLIPSOID]["median"]

    # The figures are those of the model as users run it.
    case = read_case(balls, "c", ["ct"])
    session = Session(case.images, box=load_engine(output, "cpu"))
    session.add_box(loose_box(case))
    dice = compare(session.mask, case.reference).dice
    assert dice == pytest.approx(report["roles"]["ct"][AFTER]["cases"]["c"], abs=1e-9)


def test_model_card_and_description_name_base_data_and_results(
    base: Path, data: Path, tuning: Callable[..., FinetuneConfiguration], tmp_path: Path
) -> None:
    report = finetune(tuning(), data, tmp_path / "run", tmp_path / "tuned", "cpu")
    model, old = read_model_folder(tmp_path / "tuned"), read_model_folder(base).spec
    model.verify()
    spec = model.spec
    assert (spec.name, spec.kind, spec.version, spec.licence) == ("tiny-tuned", "box", "0.1.0", old.licence)
    assert [source["name"].split(",")[0] for source in spec.training_data] == [
        "noise",
        "initial weights: tiny-sam 1.2.3",
        "balls",
    ]
    assert old.weights_sha256 in spec.training_data[1]["name"]
    figures = spec.results["python -m training finetune-sam tiny.toml"]
    assert (figures["fold"], figures["cases"]) == (2, {"ct": 2, "pet": 1})
    for method in (BEFORE, AFTER):
        assert figures["roles"]["ct"][method]["median"] == pytest.approx(
            report["roles"]["ct"][method]["median"], abs=1e-4
        )
    card = (model.path / CARD_FILE).read_text(encoding="utf-8")
    assert card.startswith("# tiny-tuned\n")
    assert "not a medical device" in card
    assert f"| ct | 2 | {report['roles']['ct'][ELLIPSOID]['median']:.3f}" in card
    assert "balls (CC0-1.0). nobody" in card
    assert "### tiny-sam\n" in card  # the card of the base model, below


def test_an_interrupted_run_encodes_only_what_is_missing(
    base: Path, data: Path, tuning: Callable[..., FinetuneConfiguration], tmp_path: Path, monkeypatch: Any
) -> None:
    encode, calls = SliceModel.encode, []

    def stops(self: SliceModel, *arguments: Any) -> torch.Tensor:
        calls.append(len(arguments[2]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, *arguments)

    run, configuration = tmp_path / "run", tuning()
    monkeypatch.setattr(SliceModel, "encode", stops)
    with pytest.raises(KeyboardInterrupt):
        finetune(configuration, data, run, tmp_path / "tuned", "cpu")
    assert not (tmp_path / "tuned").exists()
    kept = sorted(path.name for path in (run / "embeddings").iterdir())
    assert len(kept) == sum(calls[:2]) == 8

    monkeypatch.setattr(SliceModel, "encode", encode)
    first = finetune(configuration, data, run, tmp_path / "tuned", "cpu")
    assert (first["slices"], first["encoded"]) == (16, 8)  # cases a and b, two roles, four slices
    second = finetune(configuration, data, run, tmp_path / "tuned", "cpu")
    assert (second["slices"], second["encoded"]) == (16, 0)
    assert second["loss"] == first["loss"]
    assert second["roles"] == first["roles"]


def test_decoder_loss_by_hand() -> None:
    target = torch.zeros(2, 8, 8, dtype=torch.bool)
    target[0, 2:6, 2:6] = True
    right = torch.where(target, 20.0, -20.0)
    assert decoder_loss(right, torch.ones(2), target).item() == pytest.approx(0, abs=1e-4)  # nothing, rightly, scores 1
    assert decoder_loss(right, torch.tensor([0.5, 1.0]), target).item() == pytest.approx(0.125, abs=1e-4)
    # By hand: 16 of 24 voxels shared on the first slice (Dice 33 / 41, one voxel smoothing); 8 found on the empty one
    # (Dice 1 / 9), both scores 0 against an overlap of 16 / 24 and 0; 16 of 128 voxels wrong by a logit of 20.
    wide = target.clone()
    wide[0, 2:4, 0:2] = wide[0, 4:6, 6:8] = True
    wide[1, 0] = True
    loss = decoder_loss(torch.where(wide, 20.0, -20.0), torch.zeros(2), target).item()
    assert loss == pytest.approx(1 - (33 / 41 + 1 / 9) / 2 + 16 / 128 * 20 + (16 / 24) ** 2 / 2, abs=1e-3)


@pytest.mark.parametrize("name", ["lite_medsam_sts", "lite_medsam_sts_ct", "lite_medsam_sts_mr"])
def test_the_shipped_configurations_are_complete(name: str) -> None:
    path = Path(training.__file__).parent / "configs" / f"{name}.toml"
    configuration = read_finetune_configuration(path)
    assert configuration.model.name.replace("-", "_") == path.stem
    assert configuration.model.base in CATALOGUE
    assert configuration.data.test_fold == 0


def test_without_a_fold_for_testing_every_fifth_case_is_held_out(
    data: Path, tuning: Callable[..., FinetuneConfiguration], tmp_path: Path
) -> None:
    configuration = tuning("test_fold = 2\n", "")
    report = finetune(replace(configuration, roles=("ct",)), data, tmp_path / "run", tmp_path / "tuned", "cpu")
    held_out = report["roles"]["ct"][AFTER]["cases"]
    assert len(held_out) == 1
    assert sorted([*held_out, *report["cases"]]) == ["a", "b", "c", "d"]


def test_command(data: Path, written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    path = written("test_fold = 2", "test_fold = 2\nevaluation_cases = 1")
    command = ["finetune-sam", str(path), "--data", str(data), "--run-folder", str(run), "--device", "cpu"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"wrote {run / 'model'}"
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert lines[-4:-1] == format_report(report).splitlines()
    assert list(report["roles"]["ct"][AFTER]["cases"]) == ["c"]
    assert len({len(line) for line in lines[-4:-1]}) == 1
    assert load_engine(run / "model", "cpu").spec.name == "tiny-tuned"
    assert (run / "log.csv").read_text(encoding="utf-8").splitlines()[-1].startswith("3,")
    assert main(command) == 0  # again, in the same place


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (("steps = 3", "steps = 0"), ArgumentError, "steps = 0 must be at least 1"),
        (("learning_rate = 3e-3", "learning_rate = -1"), ArgumentError, "learning_rate = -1"),
        (("margin_mm = 3.0", "margin_mm = inf"), ArgumentError, "margin_mm = inf"),
        (("margin_mm", 'ct_window = "knee"\nmargin_mm'), ArgumentError, "ct_window = 'knee' is not one of soft"),
        (('"ct", "pet"', '"ct", "ct"'), ArgumentError, r"roles = \['ct', 'ct'\] must be a list of roles, each once"),
        (('roles = ["ct", "pet"]', ""), ArgumentError, "'roles' is missing"),
        (('licence = "CC0-1.0"', ""), ArgumentError, "must have name, licence, attribution"),
        (('licence = "CC0-1.0"', 'licence = ""'), ArgumentError, "must have text for each"),
        (("[[training_data]]", "[training_data]"), ArgumentError, r"must be sections \[\[training_data\]\]"),
        (('name = "tiny-tuned"', 'name = "a/b"'), ArgumentError, "name = 'a/b' is not a valid folder name"),
        (('name = "tiny-tuned"', 'name = "tiny-sam"'), ArgumentError, "is that of the base model"),
        (('"ct", "pet"', '"ct", "mr_t2"'), RoleError, "none of the 2 cases to be trained on has an image 'mr_t2'"),
    ],
)
def test_bad_configurations(
    changes: tuple[str, ...],
    error: type[TumorSegError],
    words: str,
    data: Path,
    tuning: Callable[..., FinetuneConfiguration],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=words):
        finetune(tuning(*changes), data, tmp_path / "run", tmp_path / "tuned", "cpu")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "tuned").exists()


def test_bad_base_model_loss_embeddings_and_output_are_refused(
    new_data: Path,
    base: Path,
    model: Path,
    tuning: Callable[..., FinetuneConfiguration],
    tmp_path: Path,
) -> None:
    configuration, run, output = tuning(), tmp_path / "run", tmp_path / "tuned"

    def tuned(**model_changes: str) -> dict[str, Any]:
        changed = replace(configuration, model=replace(configuration.model, **model_changes))
        return finetune(changed, new_data, run, output, "cpu")

    with pytest.raises(ModelError, match="model 'tiny' is of kind 'auto'; one of kind 'box' is needed"):
        tuned(base=str(model))
    wild = replace(configuration.optimisation, learning_rate=1e20, warm_up=0, steps=4)
    with pytest.raises(ModelError, match=r"the loss is .* at step .; a lower learning_rate may help"):
        finetune(replace(configuration, optimisation=wild), new_data, run, output, "cpu")
    for path in (run / "embeddings").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReadError, match=r"\.npy: damaged embedding; delete it"):
        tuned()
    output.mkdir()
    with pytest.raises(ArgumentError, match="tuned is there already and no model folder"):
        tuned()
    shutil.rmtree(output)
    shutil.copytree(base, output)
    with pytest.raises(ArgumentError, match="holds the model 'tiny-sam', which 'tiny-tuned' would replace"):
        tuned()
    assert load_file(output / WEIGHTS_FILE).keys() == load_file(base / WEIGHTS_FILE).keys()
