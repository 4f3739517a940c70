"""Fine-tuning the mask decoder of a box model: a tiny random SAM learns to find bright balls in loose boxes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import training.finetune_sam
from Testing.fakes import tiny_spec, write_model_folder
from training.__main__ import main
from training.data import read_case
from training.evaluate_boxes import ELLIPSOID, loose_box
from training.finetune_configuration import FinetuneConfiguration, read_finetune_configuration
from training.finetune_examples import (
    AXIS,
    Encoder,
    Example,
    choose_slices,
    draw_box,
    draw_prompt,
    encode_examples,
    make_batch,
    read_tumour,
)
from training.finetune_sam import AFTER, BEFORE, decoder_loss, finetune, format_report
from TumorSegLib.catalogue import CATALOGUE
from TumorSegLib.engines.box import BoxEngine
from TumorSegLib.engines.device import choose_runtime
from TumorSegLib.engines.load import load_engine, load_network
from TumorSegLib.engines.rectangles import SCALES, looked_at
from TumorSegLib.engines.sam import Sam, build_sam
from TumorSegLib.engines.slice_model import SliceModel
from TumorSegLib.errors import ArgumentError, ModelError, ReadError, RoleError, TumorSegError, WriteError
from TumorSegLib.geometry import Grid
from TumorSegLib.metrics import evaluate as compare
from TumorSegLib.prompts import BoxPrompt
from TumorSegLib.protocols import BoxOptions
from TumorSegLib.registry import CARD_FILE, WEIGHTS_FILE, read_model_folder
from TumorSegLib.session import Session
from TumorSegLib.volume import Mask, Volume
from TumorSegLib.volume_io import read_mask, write_mask, write_volume

TINY = {"image_size": 64, "depth": 1, "width": 32, "heads": 2, "global_attention": [0], "channels": 64}
CONFIGURATION = """
roles = ["ct", "pet"]

[model]
base = "tiny-sam"
name = "tiny-tuned"
version = "0.1.0"
description = "for tests"

[data]
test_fold = 2
slices_per_case = 4
margin_mm = 3.0
jitter_mm = 4.0

[optimisation]
steps = 3
batch = 4
learning_rate = 3e-3
warm_up = 5
seed = 1

[[training_data]]
name = "balls"
licence = "CC0-1.0"
attribution = "nobody"
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with a SAM of random weights in it."""
    root = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_sam("SamViT", TINY, "tiny")
    spec = tiny_spec("tiny-sam", kind="box", network="SamViT", arguments={**TINY, "pixels": "unit"}, patch=(1, 64, 64))
    return write_model_folder(root, spec, network)


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases a to d in three folds, each a bright ball of about 32 mm, wide enough for masks of 16 pixels."""
    folder = tmp_path_factory.mktemp("balls")
    grid = Grid.from_spacing((32, 32, 32), (2, 2, 2))
    place = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    for seed, name in enumerate("abcd"):
        rng = np.random.default_rng(seed)
        inside = np.linalg.norm(place - rng.uniform(14, 17, 3), axis=-1) < rng.uniform(7, 9)
        for role, bright, low, high in (("ct", 200, 20, 80), ("pet", 9, 0.3, 1.5)):
            array = np.where(inside, bright, rng.uniform(low, high, grid.shape)).astype(np.float32)
            write_volume(Volume(grid, array, role), folder / f"{name}_{role}.nii.gz")
        write_mask(Mask(grid, inside.astype(np.uint8)), folder / f"{name}_gtv.nii.gz")
    (folder / "splits.json").write_text(json.dumps({"folds": [["a"], ["b"], ["c", "d"]]}), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _known(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORSEG_MODELS", str(base.parent))


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes the configuration; ``written("old text", "new text", ...)`` replaces parts of it first."""

    def write(*changes: str) -> Path:
        text = CONFIGURATION
        for old, new in zip(changes[::2], changes[1::2]):
            assert text.count(old) == 1, f"{old!r} is not one part of the configuration"
            text = text.replace(old, new)
        path = tmp_path / "tiny.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def tuning(written: Callable[..., Path]) -> Callable[..., FinetuneConfiguration]:
    return lambda *changes: read_finetune_configuration(written(*changes))


@pytest.fixture
def examples(base: Path, data: Path, tuning: Callable[..., FinetuneConfiguration], tmp_path: Path) -> list[Example]:
    """Slices of case a, CT then PET."""
    (tmp_path / "embeddings").mkdir()
    network = load_network(base)
    assert isinstance(network, Sam)
    engine = BoxEngine(read_model_folder(base).spec, network, choose_runtime("cpu"))
    encoder = Encoder(engine, network, tmp_path / "embeddings")
    return encode_examples(encoder, tuning(), data, ["a"])[0]


def test_it_learns_and_changes_the_decoder_alone(
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
    session.add_box(loose_box(case.reference, sum(b"c")))
    dice = compare(session.mask, case.reference).dice
    assert dice == pytest.approx(report["roles"]["ct"][AFTER]["cases"]["c"], abs=1e-9)


def test_the_model_says_what_it_was_made_of(
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
    encode, calls = SliceModel.embedded, []

    def stops(self: SliceModel, *arguments: Any) -> torch.Tensor:
        calls.append(len(arguments[3]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, *arguments)

    run, configuration = tmp_path / "run", tuning()
    monkeypatch.setattr(SliceModel, "embedded", stops)
    with pytest.raises(KeyboardInterrupt):
        finetune(configuration, data, run, tmp_path / "tuned", "cpu")
    assert not (tmp_path / "tuned").exists()
    kept = sorted(path.name for path in (run / "embeddings").iterdir())
    assert len(kept) == sum(calls[:2]) == 8

    monkeypatch.setattr(SliceModel, "embedded", encode)
    first = finetune(configuration, data, run, tmp_path / "tuned", "cpu")
    assert (first["slices"], first["encoded"]) == (16, 8)  # cases a and b, two roles, four slices
    second = finetune(configuration, data, run, tmp_path / "tuned", "cpu")
    assert (second["slices"], second["encoded"]) == (16, 0)
    assert second["loss"] == first["loss"]
    assert second["roles"] == first["roles"]


def test_what_has_changed_is_encoded_anew(
    new_data: Path, tuning: Callable[..., FinetuneConfiguration], tmp_path: Path
) -> None:
    run, output = tmp_path / "run", tmp_path / "tuned"
    finetune(tuning(), new_data, run, output, "cpu")
    shutil.copy(new_data / "b_ct.nii.gz", new_data / "a_ct.nii.gz")
    assert finetune(tuning(), new_data, run, output, "cpu")["encoded"] == 4  # the CT of case a
    narrow = tuning("margin_mm", 'ct_window = "liver"\nmargin_mm')
    assert finetune(narrow, new_data, run, output, "cpu")["encoded"] == 8  # both CTs


def test_prompts_are_those_of_the_engine(
    base: Path,
    data: Path,
    examples: list[Example],
    tuning: Callable[..., FinetuneConfiguration],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case, tumour = read_tumour(data, "a", ["ct"])
    settings, grid, decode, asked = tuning().data, case.reference.grid, Sam.decode, []

    def noted(self: Sam, embeddings: torch.Tensor, boxes: torch.Tensor, *others: Any, **more: Any) -> Any:
        asked.append(boxes)
        return decode(self, embeddings, boxes, *others, **more)

    monkeypatch.setattr(Sam, "decode", noted)
    engine, shares = load_engine(base, "cpu", kind="box"), []
    prepared = engine.prepare(case.images, BoxOptions("ct"))
    for seed, example in enumerate(examples[:4] * 5):
        box = draw_box(tumour, grid, settings, np.random.default_rng(seed))
        numbers = looked_at(box[AXIS], grid.spacing[AXIS])
        if example.number in numbers:
            asked.clear()
            monkeypatch.setattr(engine, "view", lambda *_, view=example.view: view)
            engine.segment(prepared, BoxPrompt(box))
            left, top, right, bottom = torch.cat(asked)[numbers.index(example.number)].tolist()
            prompt = draw_prompt(example, settings, np.random.default_rng(seed))[0].tolist()
            share = (prompt[2] - prompt[0]) / (right - left)
            assert (prompt[3] - prompt[1]) / (bottom - top) == pytest.approx(share, abs=1e-3)
            assert prompt[0] + prompt[2] == pytest.approx(left + right, abs=1e-3)
            assert prompt[1] + prompt[3] == pytest.approx(top + bottom, abs=1e-3)
            shares.append(share)
    # The engine's are at one or the other end of the range.
    assert len(shares) > 10
    assert min(SCALES) / max(SCALES) <= min(shares) < 0.95
    assert 1.05 < max(shares) <= max(SCALES) / min(SCALES)


def test_targets_lie_where_the_tumour_is(data: Path, examples: list[Example]) -> None:
    case, tumour = read_tumour(data, "a", ["ct"])
    empty = 0
    for example in examples:
        (r0, r1), (c0, c1) = example.view.region[1], example.view.region[0]
        shown = case.reference.array[example.number, r0:r1, c0:c1] > 0
        assert example.target.shape == (16, 16)
        area = example.target.sum() / (example.view.pixels[0] * example.view.pixels[1] / 16)
        assert area == pytest.approx(shown.mean(), abs=0.04)
        if shown.any():
            rows, columns = np.argwhere(example.target).mean(axis=0) + 0.5
            middle = np.argwhere(shown).mean(axis=0) + 0.5
            wanted = middle / shown.shape * example.view.pixels / 4
            assert (rows, columns) == pytest.approx(tuple(wanted), abs=0.7)
        empty += not shown.any()
        assert (example.number in range(*tumour[AXIS])) == shown.any()
    assert 0 < empty < len(examples)


def test_slices_reach_beyond_the_tumour(tuning: Callable[..., FinetuneConfiguration]) -> None:
    grid = Grid.from_spacing((40, 10, 10), (1.0, 1.0, 2.0))
    settings = replace(tuning().data, slices_per_case=6)  # boxes reach 7 mm, 4 slices of 2 mm
    drawn = [choose_slices((12, 24), grid, settings, np.random.default_rng(seed)) for seed in range(200)]
    for numbers in drawn:
        assert len(set(numbers)) == 6
        assert sum(15 <= number < 21 for number in numbers) >= 3
    assert {number for numbers in drawn for number in numbers} == set(range(8, 28))
    thin = choose_slices((12, 13), grid, settings, np.random.default_rng(0))
    assert len(set(thin)) == 6
    assert choose_slices((0, 40), grid, replace(settings, slices_per_case=99), np.random.default_rng(0)) == list(
        range(40)
    )


def test_boxes_leave_the_margins_asked_for(data: Path, tuning: Callable[..., FinetuneConfiguration]) -> None:
    grid, tumour = Grid.from_spacing((60, 60, 60), (1.0, 1.0, 1.0)), ((20, 30), (20, 40), (25, 30))
    rng = np.random.default_rng(0)
    margins = []
    for _ in range(100):
        for (low, high), (a, b) in zip(tumour, draw_box(tumour, grid, tuning().data, rng)):
            margins += [low - a, b - high]
    assert (min(margins), max(margins)) == (3, 7)
    assert draw_box(((0, 60),) * 3, grid, tuning().data, rng) == ((0, 60),) * 3


def test_every_visit_has_a_box_of_its_own(
    examples: list[Example], tuning: Callable[..., FinetuneConfiguration]
) -> None:
    rng = np.random.default_rng(0)
    embeddings, boxes, targets = make_batch([examples[1]] * 5, tuning().data, rng, torch.device("cpu"))
    assert (embeddings.dtype, embeddings.shape, targets.shape) == (torch.float32, (5, 64, 4, 4), (5, 16, 16))
    assert len({tuple(box.tolist()) for box in boxes}) == 5


def test_loss() -> None:
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


def test_the_shipped_configuration_is_complete() -> None:
    path = Path(training.finetune_sam.__file__).parent / "configs" / "lite_medsam_sts.toml"
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
    assert main([*command, "--threads", "0"]) == 2
    assert "--threads 0" in capsys.readouterr().err


def test_a_failure_leaves_no_model_and_the_old_one_as_it_was(
    data: Path, tuning: Callable[..., FinetuneConfiguration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "models" / "tuned"
    finetune(tuning(), data, tmp_path / "run", output, "cpu")
    before = {path.name: path.read_bytes() for path in output.iterdir()}

    def full(_: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise WriteError("no space left")

    monkeypatch.setattr("training.finetune_export.write_weights", full)
    with pytest.raises(WriteError, match="no space"):
        finetune(tuning("seed = 1", "seed = 2"), data, tmp_path / "run", output, "cpu")
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert [path.name for path in output.parent.iterdir()] == ["tuned"]

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.finetune_sam, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        finetune(tuning(), data, tmp_path / "run", tmp_path / "models" / "other", "cpu")
    assert [path.name for path in output.parent.iterdir()] == ["tuned"]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (("base = ", 'color = "red"\nbase = '), ArgumentError, r"tiny.toml \[model\]: 'color' is unknown"),
        (("steps = 3\n", ""), ArgumentError, r"tiny.toml \[optimisation\]: 'steps' is missing"),
        (("steps = 3", "steps = 0"), ArgumentError, "steps = 0 must be at least 1"),
        (("steps = 3", "steps = true"), ArgumentError, "steps = True does not fit, a whole number is needed"),
        (("learning_rate = 3e-3", "learning_rate = -1"), ArgumentError, "learning_rate = -1"),
        (("margin_mm = 3.0", "margin_mm = inf"), ArgumentError, "margin_mm = inf"),
        (("margin_mm", 'ct_window = "knee"\nmargin_mm'), ArgumentError, "ct_window = 'knee' is not one of soft"),
        (('"ct", "pet"', '"ct", "ct"'), ArgumentError, r"roles = \['ct', 'ct'\] must be a list of roles, each once"),
        (('roles = ["ct", "pet"]', 'roles = "ct"'), ArgumentError, "roles = 'ct' must be a list"),
        (('roles = ["ct", "pet"]', "data_folder = 3"), ArgumentError, "'data_folder' is unknown; there are roles"),
        (('roles = ["ct", "pet"]', ""), ArgumentError, "'roles' is missing"),
        (('licence = "CC0-1.0"', ""), ArgumentError, "must have name, licence, attribution"),
        (('licence = "CC0-1.0"', 'licence = ""'), ArgumentError, "must have text for each"),
        (("[[training_data]]", "[training_data]"), ArgumentError, r"must be sections \[\[training_data\]\]"),
        (('name = "tiny-tuned"', 'name = "a/b"'), ArgumentError, "name = 'a/b' is none for a folder"),
        (('name = "tiny-tuned"', 'name = "tiny-sam"'), ArgumentError, "is that of the base model"),
        (('name = "tiny-tuned"', "name = tuned"), ReadError, "tiny.toml: not valid TOML"),
        (("test_fold = 2", "test_fold = 7"), ArgumentError, "fold 7 does not exist; there are folds 0 to 2"),
        (("test_fold = 2", "test_fold = -1"), ArgumentError, "fold -1 does not exist"),
        (('"ct", "pet"', '"ct", "mr_t2"'), RoleError, "none of the 2 cases to be trained on has an image 'mr_t2'"),
        (('base = "tiny-sam"', 'base = "big-sam"'), ModelError, "no model 'big-sam'"),
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


def test_what_else_is_refused(
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

    with pytest.raises(ModelError, match="'tiny' is of kind 'auto'; one of kind 'box' is needed"):
        tuned(base=str(model))
    with pytest.raises(ReadError, match=r"nowhere.toml: cannot be read: No such file"):
        read_finetune_configuration(tmp_path / "nowhere.toml")
    with pytest.raises(ReadError, match=r"splits\.json: cannot be read"):
        finetune(configuration, tmp_path, run, output, "cpu")
    wild = replace(configuration.optimisation, learning_rate=1e20, warm_up=0, steps=4)
    with pytest.raises(ModelError, match=r"the loss is .* at step .; a lower learning_rate may help"):
        finetune(replace(configuration, optimisation=wild), new_data, run, output, "cpu")
    for path in (run / "embeddings").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReadError, match=r"\.npy: damaged embedding; delete it"):
        tuned()
    (new_data / "a_gtv.nii.gz").unlink()
    with pytest.raises(ReadError, match="a_gtv"):
        tuned()
    output.mkdir()
    with pytest.raises(ArgumentError, match="tuned is there already and no model folder"):
        tuned()
    shutil.rmtree(output)
    shutil.copytree(base, output)
    with pytest.raises(ArgumentError, match="holds the model 'tiny-sam', which 'tiny-tuned' would replace"):
        tuned()
    assert load_file(output / WEIGHTS_FILE).keys() == load_file(base / WEIGHTS_FILE).keys()


def test_a_case_without_tumour_is_named(
    new_data: Path, tuning: Callable[..., FinetuneConfiguration], tmp_path: Path
) -> None:
    mask = read_mask(new_data / "b_gtv.nii.gz")
    write_mask(Mask(mask.grid, np.zeros(mask.grid.shape, np.uint8)), new_data / "b_gtv.nii.gz")
    with pytest.raises(ReadError, match="case 'b' has no tumour, so no box; take it out of splits"):
        finetune(tuning(), new_data, tmp_path / "run", tmp_path / "tuned", "cpu")
