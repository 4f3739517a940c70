"""Reading configurations: every shipped one parses, every wrong one is refused with a message that names the error."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from training.config.clicks import ClickSettings
from training.config.negatives import NegativeSettings
from training.config.train import Configuration, differences, parse_configuration, read_configuration, with_test_fold
from TumorSegLib.engines.networks.unets import build_network, channel_count
from TumorSegLib.errors import ArgumentError, ModelError, ReadError, TumorSegError

# The input of the configuration, and one that cannot be trained.
VOLUME = """type = "volume"
roles = ["ct", "pet"]
optional = ["ct", "pet"]
spacing_mm = [2.0, 2.0, 2.0]
patch = [16, 16, 16]

[model.input.normalisation]
ct = { method = "linear", low = -160.0, high = 240.0, offset = -20.0, scale = 100.0, outside = -1000.0 }
pet = { method = "log1p", low = 0.0, high = 30.0 }
"""
SLICE = 'type = "slice"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n'
CONFIGS = sorted((Path(__file__).resolve().parents[3] / "training" / "configs").glob("sts_*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configuration_is_complete(path: Path) -> None:
    configuration = read_configuration(path)
    name = configuration.model.name.replace("-", "_")
    assert path.stem == name or path.stem.startswith(f"{name}_")
    assert configuration.text == path.read_text(encoding="utf-8")
    assert all({"name", "licence", "attribution"} <= set(source) for source in configuration.model.training_data)
    assert sum(p.numel() for p in build_network(configuration.model).parameters()) < 6_000_000  # 12 MB in float16


@pytest.mark.parametrize("path", [CONFIGS[0].with_name(f"{name}.toml") for name in ("sts_auto", "sts_clicks")], ids=str)
def test_the_configuration_of_a_run_in_the_old_format_describes_the_same_model(path: Path) -> None:
    old = path.parents[1] / "runs" / path.stem.replace("_", "-") / "config.toml"
    assert "[model.input]" not in old.read_text(encoding="utf-8")
    first, second = read_configuration(old).model, read_configuration(path).model
    assert (first.input, first.network, first.arguments) == (second.input, second.network, second.arguments)


def test_configurations_of_runs_with_shipped_models_stay_readable() -> None:
    runs = {path.parent.name: read_configuration(path) for path in CONFIGS[0].parents[1].glob("runs/*/config.toml")}
    assert {name: runs[name].optimisation.loss for name in ("sts-auto", "sts-clicks", "lesion-clicks")} == {
        "sts-auto": "dice_ce",
        "sts-clicks": "dice_ce",
        "lesion-clicks": "dice_each_ce",
    }


def test_values_arrive_with_defaults_for_the_rest(configured: Callable[..., Configuration]) -> None:
    configuration = configured(
        "[data]", "[augmentation]\nscale = [1, 2]\nrole_subsets = { ct = 1, 'ct+pet' = 3 }\n\n[data]"
    )
    assert configured("[data]\ntest_fold = 2", "").data.test_fold == 0
    assert configuration.augmentation.scale == (1, 2)
    assert configuration.augmentation.role_subsets == {"ct": 1, "ct+pet": 3}
    assert configuration.augmentation.tumour_share == 0.6
    assert (configuration.data.test_fold, configuration.data.phantoms) == (2, 0)
    assert (configuration.optimisation.steps, configuration.optimisation.gradient_clip) == (6, 5.0)
    assert configuration.model.volume_input.spacing_mm == (2.0, 2.0, 2.0)
    assert configuration.model.volume_input.normalisation["ct"].outside == -1000


def test_a_configuration_passes_between_processes(configured: Callable[..., Configuration]) -> None:
    configuration = configured()
    assert pickle.loads(pickle.dumps(configuration)) == configuration


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("[data]", "[dates]", ArgumentError, "unknown key 'dates' (did you mean 'data'?); there are model, opt"),
        ("[optimisation]", "[data.x]", ArgumentError, "section [optimisation] is missing"),
        (
            "test_fold = 2",
            "test_folds = 2",
            ArgumentError,
            "[data]: unknown key 'test_folds' (did you mean 'test_fold'?); there",
        ),
        ("test_fold = 2", "test_fold = '2'", ArgumentError, "[data]: test_fold = '2' does not fit, a whole number"),
        ("test_fold = 2", "phantom_share = 1.5", ArgumentError, "phantom_share = 1.5 must be from 0 to 1"),
        ("steps = 6", "", ArgumentError, "[optimisation]: missing 'steps'"),
        ("steps = 6", "steps = 0", ArgumentError, "[optimisation]: steps = 0 must be at least 1"),
        ("learning_rate = 1e-2", "learning_rate = nan", ArgumentError, "learning_rate = nan must be at least 0"),
        ("seed = 3", "seed = -3", ArgumentError, "seed = -3 must be at least 0"),
        ("every = 3", "every = 0", ArgumentError, "checkpoint_every = 0 must be at least 1"),
        ("every = 3", "every = 3\nloss = 'l2'", ArgumentError, "[optimisation]: loss = 'l2' is not one of dice_ce"),
        ("every = 3", "every = 3\nworkers = 0", ArgumentError, "workers = 0 must be at least 1"),
        ("every = 3", "every = 3\nvalidate_every = 4", ArgumentError, "validate_every = 4 must be a multiple of"),
        ("[data]", "[augmentation]\nscale = [2.0, 1.0]\n[data]", ArgumentError, "scale = [2.0, 1.0] must be two"),
        ("[data]", "[augmentation]\nblur_share = -1\n[data]", ArgumentError, "blur_share = -1 must be from 0 to 1"),
        ("[data]", "[augmentation]\nsuv_factor = 0\n[data]", ArgumentError, "suv_factor = 0 must be at least 1"),
        ("[data]", "[augmentation.role_subsets]\nct = -1\n[data]", ArgumentError, "{'ct': -1} holds a frequency"),
        ("[data]", "[augmentation.role_subsets]\n'ct+mr' = 1\n[data]", ArgumentError, "'ct+mr' holds 'mr'; roles are"),
        (VOLUME, SLICE, ArgumentError, "[model]: kind 'box' cannot be trained; use 'auto' or 'cl"),
        ('"volume"', '"prompted volume"', ArgumentError, "tiny.toml: kind 'clicks' needs a section [clicks]"),
        (
            "[data]",
            "[clicks]\n[data]",
            ArgumentError,
            "section [clicks] is for kind 'clicks' only; this model's kind is 'auto'",
        ),
        ('"volume"', '"automatic"', ModelError, "[model], input: type 'automatic' is not one of volume"),
        ('type = "volume"', "", ModelError, "tiny.toml [model], input: type 'None' is not one of volume"),
        ("labels =", 'colour = "red"\nlabels =', ModelError, "[model]: unknown key 'colour'; there are name"),
        ("\n[model]", "data = 3\n[model]", ReadError, "not valid TOML: Cannot"),
        ("[model]", "[model", ReadError, "tiny.toml: not valid TOML"),
    ],
)
def test_configuration_errors_name_section_and_setting(
    configured: Callable[..., Configuration], old: str, new: str, error: type[TumorSegError], words: str
) -> None:
    with pytest.raises(error) as caught:
        configured(old, new)
    assert words in str(caught.value)


CLICK_SETTINGS = [
    ("starts = { empty = 1, full = 1 }", "starts = {'empty': 1, 'full': 1} must give frequencies of first_stage, emp"),
    ("starts = { empty = 0, shifted = 0 }", "starts = {'empty': 0, 'shifted': 0} must give frequencies of first_sta"),
    ("starts = { empty = 2, shifted = -1 }", "starts = {'empty': 2, 'shifted': -1} must give frequencies"),
    ("starts = { empty = inf }", "starts = {'empty': inf} must give frequencies"),
    ('zooms = { "1" = 1, "fine" = 1 }', "zooms = {'1': 1, 'fine': 1} must give frequencies of positive numbers, in qu"),
    ('zooms = { "0" = 1 }', "zooms = {'0': 1} must give frequencies of positive numbers"),
    ('zooms = { "1" = 0 }', "zooms = {'1': 0} must give frequencies of positive numbers"),
    ("context = -1", "context = -1 must be at least 0"),
    ("most_rounds = 0", "most_rounds = 0 must be at least 1"),
    ("previous_dropout = 1.5", "previous_dropout = 1.5 must be from 0 to 1"),
    ("small_scale = [0.5, 0.2]", "small_scale = [0.5, 0.2] must be two positive numbers, smaller first"),
    ("small_scale = [0.0, 0.2]", "small_scale = [0.0, 0.2] must be two positive numbers"),
    ("small_scale = [0.5, inf]", "small_scale = [0.5, inf] must be two positive numbers"),
    ("zooms = { '1' = 1, '1.0' = 2 }", "zooms = {'1': 1, '1.0': 2} names one number twice"),
    ("rounds = 3", "unknown key 'rounds' (did you mean 'most_rounds'?); there are first_stage, starts"),
]


@pytest.mark.parametrize(("setting", "words"), CLICK_SETTINGS, ids=[setting for setting, _ in CLICK_SETTINGS])
def test_click_settings_are_refused_by_name(clicking: Callable[..., Configuration], setting: str, words: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        clicking(setting)
    assert f"tiny.toml [clicks]: {words}" in str(caught.value)


def test_refinement_networks_are_not_validated_while_they_learn(clicking: Callable[..., Configuration]) -> None:
    with pytest.raises(
        ArgumentError, match=r"\[optimisation\]: validate_every must be 0 for kind 'clicks'; see evaluate-clicks"
    ):
        clicking("", "every = 3", "every = 3\nvalidate_every = 3")


def test_click_settings_arrive_with_defaults_for_the_rest(
    configured: Callable[..., Configuration], clicking: Callable[..., Configuration]
) -> None:
    assert configured().clicks is None
    assert clicking().clicks == ClickSettings(context=0)
    text = "context = 8\nfirst_stage = 'sts-auto'\nstarts = { empty = 1 }\n"
    text += "zooms = { '0.5' = 1, '2' = 3 }\nsmall_scale = [0.5, 1]"
    expected = ClickSettings("sts-auto", {"empty": 1}, 8, zooms={"0.5": 1, "2": 3}, small_scale=(0.5, 1))
    assert clicking(text).clicks == expected
    assert channel_count(clicking().model) == channel_count(configured().model) + 3


def test_differences_of_click_settings(
    configured: Callable[..., Configuration], clicking: Callable[..., Configuration]
) -> None:
    assert differences(clicking("mean_rounds = 2"), clicking("mean_rounds = 2.0")) == []
    changed = clicking("mean_rounds = 2\nstarts = { empty = 1 }")
    assert differences(clicking(), changed) == ["[clicks] starts", "[clicks] mean_rounds"]
    for pair in ((clicking(), configured()), (configured(), clicking())):
        assert differences(*pair) == ["[model.input]", "[augmentation] tumour_share", "[clicks]"]


NEGATIVE_SETTINGS = [
    ("share = 1.5", "share = 1.5 must be from 0 to 1"),
    ("phantoms = -1", "phantoms = -1 must be at least 0"),
    ("", "sources = {} must give frequencies of sets, phantoms, sarcomas"),
    ("sources = { neck = -1 }", "sources = {'neck': -1} must give frequencies"),
    ("sources = { phantoms = 1 }", "sources has 'phantoms', so phantoms = 0 must be at least 1"),
    ("part = 3", "unknown key 'part' (did you mean 'share'?); there are start_from, share, lesion_share, phantoms"),
]


@pytest.mark.parametrize(("setting", "words"), NEGATIVE_SETTINGS, ids=[words for _, words in NEGATIVE_SETTINGS])
def test_settings_of_negatives_are_refused_by_name(
    configured: Callable[..., Configuration], setting: str, words: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        configured("[data]", f"[negatives]\n{setting}\n[data]")
    assert f"tiny.toml [negatives]: {words.split(' (', maxsplit=1)[0]}" in str(caught.value)


def test_negatives_are_for_automatic_models(
    configured: Callable[..., Configuration], clicking: Callable[..., Configuration]
) -> None:
    section = "[negatives]\nsources = { neck = 1 }\n"
    assert configured().negatives is None
    changed = configured("[data]", f"{section}[data]")
    assert changed.negatives == NegativeSettings(sources={"neck": 1})
    assert differences(configured(), changed) == ["[negatives]"]
    with pytest.raises(ArgumentError, match=r"section \[negatives\] is for kind 'auto' only; .* is 'clicks'"):
        clicking("", "test_fold = 2", f"test_fold = 2\n{section}")


def test_only_settings_fixed_for_a_run_count_as_differences(configured: Callable[..., Configuration]) -> None:
    first = configured()
    assert differences(first, configured("steps = 6", "steps = 8", "every = 3", "every = 2\nworkers = 4")) == []
    assert differences(first, configured('version = "1.0.0"', 'version = "1.0.0"\nresults = { dice = 0.5 }')) == []
    changed = configured(
        "outside = -1000.0", "outside = -900.0", "[data]", "[augmentation]\ngain = { linear = 1 }\n[data]"
    )
    assert differences(first, changed) == ["[model.input] normalisation", "[augmentation] gain"]


@pytest.mark.parametrize(
    "changes",
    [(), ("test_fold = 2", "test_fold= 2 # the last"), ("test_fold = 2", ""), ("[data]\ntest_fold = 2\n", "")],
    ids=["given", "with a comment", "default", "no section"],
)
def test_another_fold_changes_nothing_else(configured: Callable[..., Configuration], changes: tuple[str, ...]) -> None:
    before = configured(*changes)
    after = with_test_fold(before, 1)
    assert after.data.test_fold == parse_configuration(after.text, "x.toml").data.test_fold == 1
    assert differences(before, after) == ["[data] test_fold"]
    assert ("# the last" in after.text) == ("# the last" in before.text)


def test_losses_without_a_focus_are_for_automatic_models(
    configured: Callable[..., Configuration], clicking: Callable[..., Configuration]
) -> None:
    loss = "steps = 6", 'loss = "tversky"\nsteps = 6'
    assert configured(*loss).optimisation.loss == "tversky"
    with pytest.raises(
        ArgumentError, match="'tversky' weighs all voxels alike; kind 'clicks' needs dice_ce or dice_each"
    ):
        clicking("", *loss)


def test_top_level_value_is_refused() -> None:
    with pytest.raises(ArgumentError, match="unknown key 'seed'"):
        parse_configuration("seed = 3", "x.toml")
    with pytest.raises(ArgumentError, match=r"x\.toml: model = 3 must be a section \[model\]"):
        parse_configuration("model = 3", "x.toml")


def test_missing_folder_and_binary_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "image.toml").write_bytes(b"\x89PNG\xff\x00")
    for path, words in (("none.toml", "No such file"), (".", "Is a directory"), ("image.toml", "not a TOML file")):
        with pytest.raises(ReadError, match=words):
            read_configuration(tmp_path / path)
