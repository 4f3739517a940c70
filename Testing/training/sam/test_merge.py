"""Merging box models: two tiny SAMs that learned a little of CT and of PET, and their base."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from Testing.fakes import write_model
from Testing.training.sam.conftest import CONFIGURATION, TINY
from Testing.training.training_runs import replaced
from training.__main__ import main
from training.config.finetune import FinetuneData, read_finetune_configuration
from training.data.cases import read_case
from training.evaluation.boxes import ELLIPSOID, loose_box
from training.sam.finetune import finetune
from training.sam.merge import merge as merging
from training.sam.merge.calibration import Calibration
from training.sam.merge.merge import MEAN, MERGED, TRIALS, MergePlan, format_merge, merge
from training.sam.merge.mixture import Mixture, group_of
from training.sam.merge.search import SearchSettings, TrialFile, best_of, search
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.networks.sam import Sam, build_sam
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ArgumentError, ModelError, ReadError, RoleError, TumorSegError
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.models.folder import CARD_FILE, read_model_folder
from TumorSegLib.session.session import Session

PLAN = MergePlan(
    "tiny-merged", (), "mean", 2, 2, FinetuneData(3, margin_mm=3.0, jitter_mm=4.0), SearchSettings(6, 1e9, 1)
)


def sam_of(folder: Path) -> Sam:
    network = load_network(read_model_folder(folder))
    assert isinstance(network, Sam)
    return network


@pytest.fixture(scope="module")
def tuned(base: Path, balls: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The base and models that were fine-tuned from it on CT and on PET."""
    root, folders = tmp_path_factory.mktemp("tuned"), [str(base)]
    for role in ("ct", "pet"):
        path = root / f"{role}.toml"
        text = CONFIGURATION.replace('base = "tiny-sam"', f'base = "{base}"')
        text = text.replace('["ct", "pet"]', f'["{role}"]').replace("tiny-tuned", f"tiny-{role}")
        text = replaced(
            text, "steps = 3", "steps = 80", "warm_up = 5", "warm_up = 10", "margin_mm = 3", "margin_mm = 5"
        )
        path.write_text(text, encoding="utf-8")
        finetune(read_finetune_configuration(path), balls, root / f"run-{role}", root / f"tiny-{role}", "cpu")
        folders.append(str(root / f"tiny-{role}"))
    return folders


@pytest.fixture
def with_encoders(base: Path, tmp_path: Path) -> list[str]:
    """The base and two models with other weights everywhere."""
    folders, spec = [str(base)], read_model_folder(base).spec
    for seed in (1, 2):
        network = sam_of(base)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
        folders.append(str(write_model(tmp_path, replace(spec, name=f"other-{seed}"), network)))
    return folders


def test_the_merged_model_scores_best_on_the_calibration_slices(tuned: list[str], balls: Path, tmp_path: Path) -> None:
    run, output = tmp_path / "run", tmp_path / "out" / "merged"
    report = merge(tuned, PLAN, balls, run, output, "cpu")
    names = ["tiny-sam", "tiny-ct", "tiny-pet", MEAN, MERGED]
    assert list(report["calibration"]) == names
    means = {name: np.mean(list(scores.values())) for name, scores in report["calibration"].items()}
    assert max(means, key=lambda name: means[name]) in {MERGED, report["best"]}
    assert means["tiny-ct"] > means["tiny-sam"]
    assert report["trials"] == 10
    assert list(report["held_out"]) == ["ct", "pet"]
    assert report["tasks"]["ct"]["held_out"] == ("c", "d")
    assert set(report["tasks"]["ct"]["calibration"]) == {"a", "b"}

    # The weights are those that the coefficients make of the three models.
    base, first, second, merged = [sam_of(Path(folder)).state_dict() for folder in (*tuned, output)]
    assert all(group.startswith("mask_decoder.") for group in report["coefficients"])
    for name, weight in base.items():
        wanted = weight
        if not torch.equal(first[name], weight):
            row = report["coefficients"][group_of(name)]
            wanted = weight + row["tiny-ct"] * (first[name] - weight) + row["tiny-pet"] * (second[name] - weight)
        assert torch.allclose(merged[name], wanted, atol=1e-6), name

    # The figures are those of the model as users run it.
    case = read_case(balls, "c", ["pet"])
    session = Session(case.images, box=load_engine(output, "cpu"))
    session.add_box(loose_box(case))
    found = dice(session.mask.array, case.tumour.array)
    assert found == pytest.approx(report["held_out"]["pet"][MERGED]["cases"]["c_pet"], abs=1e-9)
    alone = load_engine(tuned[1], "cpu")
    session = Session(case.images, box=alone)
    session.add_box(loose_box(case))
    found = dice(session.mask.array, case.tumour.array)
    assert found == pytest.approx(report["held_out"]["pet"]["tiny-ct"]["cases"]["c_pet"], abs=1e-9)
    assert ELLIPSOID in report["held_out"]["pet"]


def test_model_card_and_description_name_every_source(tuned: list[str], balls: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny-other"
    shutil.copytree(tuned[2], other)
    text = (other / "model.json").read_text(encoding="utf-8")
    text = text.replace('"CC-BY-4.0"', '"MIT"').replace('"tiny-pet"', '"tiny-other"')
    (other / "model.json").write_text(text, encoding="utf-8")
    report = merge([*tuned[:2], str(other)], PLAN, balls, tmp_path / "run", tmp_path / "merged", "cpu")
    model = read_model_folder(tmp_path / "merged")
    model.verify()
    spec = model.spec
    assert (spec.name, spec.kind, spec.licence) == ("tiny-merged", "box", "CC-BY-4.0 AND MIT")
    titles = [source["name"].split(",")[0] for source in spec.training_data]
    assert titles.count("noise") == titles.count("balls") == 1
    merged = [title for title in titles if title.startswith("merged weights")]
    assert merged == [f"merged weights: {name} {v}" for name, v in zip(report["models"], ("1.2.3", "0.1.0", "0.1.0"))]
    ((command, results),) = spec.results.items()
    assert command.startswith("python -m training merge-sam tiny-sam tiny-ct tiny-other --task ct --task pet ")
    assert results["coefficients"] == report["coefficients"]
    assert results["held_out"]["ct"][MERGED]["mean"] == pytest.approx(
        report["held_out"]["ct"][MERGED]["mean"], abs=1e-4
    )
    card = (model.path / CARD_FILE).read_text(encoding="utf-8")
    assert card.startswith("# tiny-merged\n")
    assert "not a medical device" in card
    for name in report["models"]:
        assert f"\n## {name}\n" in card


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(
    tuned: list[str], balls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = merge(tuned, PLAN, balls, tmp_path / "whole", tmp_path / "first", "cpu")
    scores, calls = Calibration.scores, []

    def stops(self: Calibration, network: Sam) -> dict[str, float]:
        calls.append(network)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return scores(self, network)

    monkeypatch.setattr(Calibration, "scores", stops)
    run, output = tmp_path / "run", tmp_path / "merged"
    with pytest.raises(KeyboardInterrupt):
        merge(tuned, PLAN, balls, run, output, "cpu")
    assert not output.exists()
    assert len(json.loads((run / TRIALS).read_text(encoding="utf-8"))["trials"]) == 6
    resumed = merge(tuned, PLAN, balls, run, output, "cpu")
    assert len(calls) == 7 + 4
    assert resumed == whole
    assert (run / TRIALS).read_bytes() == (tmp_path / "whole" / TRIALS).read_bytes()
    # No minute for another trial: the best of those on file.
    stopped = replace(PLAN, search=replace(PLAN.search, trials=50, minutes=0.0))
    assert merge(tuned, stopped, balls, run, output, "cpu")["coefficients"] == whole["coefficients"]
    assert len(calls) == 7 + 4
    for changes in ({"search": replace(PLAN.search, seed=2)}, {"objective": "worst"}, {"tasks": ("ct",)}):
        with pytest.raises(
            ArgumentError, match=r"trials\.json: has the trials of another search: (seed|tasks|objective) was"
        ):
            merge(tuned, replace(PLAN, **changes), balls, run, output, "cpu")
    (run / TRIALS).write_text("{", encoding="utf-8")
    with pytest.raises(ReadError, match=r"trials\.json: is not a file of trials"):
        merge(tuned, PLAN, balls, run, output, "cpu")


def test_one_task_and_the_worst_task(tuned: list[str], balls: Path, tmp_path: Path) -> None:
    one = merge(tuned, replace(PLAN, tasks=("pet",)), balls, tmp_path / "one", tmp_path / "a", "cpu")
    assert list(one["calibration"][MERGED]) == list(one["held_out"]) == ["pet"]
    worst = merge(tuned, replace(PLAN, objective="worst"), balls, tmp_path / "worst", tmp_path / "b", "cpu")
    trials = json.loads((tmp_path / "worst" / TRIALS).read_text(encoding="utf-8"))["trials"]
    assert all(trial["objective"] == min(trial["scores"].values()) for trial in trials)
    assert min(worst["calibration"][MERGED].values()) == max(trial["objective"] for trial in trials)


def test_merged_encoders_embed_slices_anew(with_encoders: list[str], balls: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, tasks=("ct",), search=SearchSettings(1, 1e9, 0))
    report = merge(with_encoders, plan, balls, tmp_path / "run", tmp_path / "merged", "cpu")
    groups = list(report["coefficients"])
    assert {"image_encoder.patch_embed", "image_encoder.blocks.0", "prompt_encoder", "mask_decoder.heads"} <= set(
        groups
    )
    assert not list((tmp_path / "run" / "embeddings").iterdir())
    # Each scores what it does where all models have its encoder, and embeddings are shared.
    for number, name in enumerate(("tiny-sam", "other-1")):
        network, folders = sam_of(Path(with_encoders[number])), []
        for each in (1, 2, 3):
            spec = replace(read_model_folder(Path(with_encoders[number])).spec, name=f"same-{each}")
            folders.append(str(write_model(tmp_path / name, spec, network)))
            with torch.no_grad():
                network.mask_decoder.iou_token.weight += 0.1
        shared = merge(folders, plan, balls, tmp_path / f"run-{name}", tmp_path / f"merged-{name}", "cpu")
        assert shared["calibration"]["same-1"] == report["calibration"][name]
        assert shared["held_out"]["ct"]["same-1"]["cases"] == report["held_out"]["ct"][name]["cases"]
        assert list(shared["coefficients"]) == ["mask_decoder.heads"]


def test_weights_fall_into_groups_of_layers() -> None:
    names = build_sam("LiteMedSAM", {}, "lite").state_dict()
    groups = list(dict.fromkeys(map(group_of, names)))
    encoder = ["patch_embed", "layers.0", "layers.1", "layers.2", "layers.3", "neck"]
    decoder = ["transformer.layers.0", "transformer.layers.1", "transformer.final", "heads", "output_upscaling"]
    assert set(groups) == {
        *(f"image_encoder.{group}" for group in encoder),
        "prompt_encoder",
        *(f"mask_decoder.{group}" for group in decoder),
    }


def test_a_mixture_is_each_model_at_its_corner() -> None:
    networks = []
    for seed in range(3):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks.append(build_sam("LiteMedSAM", {}, "lite").requires_grad_(False))
    for network in networks:
        network.mask_decoder.load_state_dict(networks[0].mask_decoder.state_dict())  # the same in all
    variances = [network.state_dict()["image_encoder.patch_embed.seq.0.bn.running_var"] for network in networks]
    for variance, value in zip(variances, (1.0, 0.1, 0.1)):
        variance.fill_(value)
    mixture, working = Mixture.of(networks), build_sam("LiteMedSAM", {}, "lite").requires_grad_(False)
    assert mixture.changes_encoder
    assert not any(group.startswith("mask_decoder") for group in mixture.groups)
    shape = len(mixture.groups), 2
    working.load_state_dict(networks[0].state_dict())
    for number, point in enumerate(([0.0, 0.0], [1.0, 0.0], [0.0, 1.0])):
        found = mixture.fill(working, np.broadcast_to(point, shape).copy()).state_dict()
        for name, weight in networks[number].state_dict().items():
            assert torch.allclose(found[name].float(), weight.float(), atol=1e-5), name
    both = mixture.fill(working, np.ones(shape)).state_dict()
    assert (both["image_encoder.patch_embed.seq.0.bn.running_var"] == 0).all()  # not 1 - 0.9 - 0.9


def test_the_search_finds_a_maximum_and_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    wanted = np.array([[0.2, 0.7], [0.9, 0.4]])

    def score(point: Any) -> dict[str, float]:
        return {"a": 1 - float(((point - wanted) ** 2).sum()), "b": 0.0}

    known = {"base": np.zeros((2, 2)), "mean": np.full((2, 2), 0.5)}
    runs = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        file = TrialFile(tmp_path / f"{name}.json", {})
        runs.append(search(known, score, lambda scores: sum(scores.values()), file, SearchSettings(120, 1e9, seed)))
    assert runs[0] == runs[1] != runs[2]
    assert [trial.name for trial in runs[0][:3]] == ["base", "mean", "trial 1"]
    best = best_of(runs[0])
    assert best.objective > 0.99 > runs[0][1].objective + 0.1
    points = np.array([trial.coefficients for trial in runs[0]])
    assert points.min() >= 0
    assert points.max() <= 1
    with pytest.raises(ArgumentError, match="has the trials of another search: trial 3 is at another point"):
        search(known, score, lambda scores: 0.0, TrialFile(tmp_path / "a.json", {}), SearchSettings(120, 1e9, 5))


def test_command(
    tuned: list[str], balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    command = ["merge-sam", *tuned, "--data", str(balls), "--run-folder", str(run), "--device", "cpu"]
    command += ["--fold", "2", "--trials", "1", "--cases", "1", "--slices", "2"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert lines[-1] == f"wrote {run / 'model'}: {report['best']}, the best of 5 trials"
    assert lines[-7:-1] == format_merge(report).splitlines()
    assert [line.split("  ")[0] for line in lines[-7:-1]][1:] == [
        "tiny-sam (before)",
        "tiny-ct",
        "tiny-pet",
        MEAN,
        MERGED,
    ]
    assert len({len(line) for line in lines[-7:-1]}) == 1
    assert load_engine(run / "model", "cpu").spec.name == "tiny-sam-merged"
    assert main(command) == 0  # again, in the same place

    monkeypatch.setitem(sys.modules, "cmaes", None)
    assert main(command) == 2
    assert "cmaes is needed to merge models: pip install 'tumorseg[merge]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"name": "a/b"}, ArgumentError, "name = 'a/b' is not a valid folder name"),
        ({"name": "tiny-ct"}, ArgumentError, "name = 'tiny-ct' is that of a model to merge"),
        ({"objective": "best"}, ArgumentError, "objective = 'best' is not one of mean, worst"),
        ({"cases": 0}, ArgumentError, "cases = 0 must be from 1"),
        ({"fold": 3}, ArgumentError, "fold 3 does not exist; .* has folds 0 to 2"),
        ({"tasks": ("mr",)}, RoleError, "task 'mr' has no case to calibrate on; there are images ct, pet"),
        ({"tasks": ("ct", "ct")}, ArgumentError, "tasks ct, ct: each once"),
        ({"trials": 0}, ArgumentError, "trials = 0 must be at least 1"),
        ({"minutes": -1.0}, ArgumentError, r"minutes = -1.0 must be at least 0"),
    ],
)
def test_bad_plans(
    changes: dict[str, Any], error: type[TumorSegError], words: str, tuned: list[str], balls: Path, tmp_path: Path
) -> None:
    of_search = {name: value for name, value in changes.items() if name in ("trials", "minutes")}
    plan = {name: value for name, value in changes.items() if name not in of_search}

    def merged() -> None:
        changed = replace(PLAN, **plan, search=replace(PLAN.search, **of_search))
        merge(tuned, changed, balls, tmp_path / "run", tmp_path / "merged", "cpu")

    with pytest.raises(error, match=words):
        merged()
    assert not list(tmp_path.iterdir())


def test_bad_models_and_folders_are_refused(
    tuned: list[str], with_encoders: list[str], base: Path, model: Path, balls: Path, tmp_path: Path
) -> None:
    def merged(models: list[str], error: type[TumorSegError], words: str, data: Path = balls) -> None:
        with pytest.raises(error, match=words):
            merge(models, PLAN, data, tmp_path / "run", tmp_path / "merged", "cpu")
        assert not (tmp_path / "run").exists()

    merged(tuned[:2], ArgumentError, "a base and at least 2 models fine-tuned from it are needed, not .*tiny-sam")
    merged([*tuned[:2], str(model)], ModelError, "model 'tiny' is of kind 'auto'; one of kind 'box' is needed")
    merged([tuned[0], tuned[1], tuned[1]], ArgumentError, "two have the same name")
    merged([tuned[0], *tuned[1:], str(tmp_path / "none")], ModelError, "none")
    merged(tuned, ReadError, "nowhere: is not a folder of data", tmp_path / "nowhere")
    spec = read_model_folder(base).spec
    same = [str(write_model(tmp_path / "same", replace(spec, name=name), sam_of(base))) for name in "ab"]
    merged([str(base), *same], ArgumentError, "have the same weights; there is nothing to merge")
    wide = {**TINY, "depth": 2}
    other = write_model(tmp_path, replace(spec, name="wide", arguments=wide), build_sam("SamViT", wide, "wide"))
    words = "'tiny-sam' and 'wide' cannot be merged: only 'wide' has the weight image_encoder.blocks.1.norm1.weight"
    merged([*tuned[:2], str(other)], ModelError, words)
    large = {**TINY, "channels": 128}
    other = write_model(tmp_path, replace(spec, name="large", arguments=large), build_sam("SamViT", large, "large"))
    words = r"cannot be merged: image_encoder.neck.0.weight has the shapes \(64, 32, 1, 1\) and \(128, 32, 1, 1\)"
    merged([*tuned[:2], str(other)], ModelError, words)
    (tmp_path / "merged").mkdir()
    merged(tuned, ArgumentError, "merged is there already and no model folder")
    assert merging.LEAST_TUNED == 2
