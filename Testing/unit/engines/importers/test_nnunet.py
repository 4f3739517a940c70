"""Trainings of nnU-Net v2 become models: what they say is kept, what is incomplete or unsupported is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from Testing.unit.engines.importers.nnunet_cases import (
    REGIONS,
    RESIDUAL_SHAPE,
    SHAPE,
    architecture,
    configuration,
    old_architecture,
    plans,
    state_dict,
    write_checkpoint,
    write_training,
)
from TumorSegLib.cli.entry import main
from TumorSegLib.engines.imported.engine import ImportedEngine
from TumorSegLib.engines.importers.nnunet import import_nnunet
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.networks.nnunet import RESIDUAL
from TumorSegLib.errors import ArgumentError, ModelError, WriteError
from TumorSegLib.models.folder import CARD_FILE, read_model_folder, sha256_of
from TumorSegLib.models.registry import list_models


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


# What is kept


def test_a_training_becomes_a_model_with_its_weights(tmp_path: Path) -> None:
    training = write_training(tmp_path, dataset={"licence": "CC-BY 4.0", "reference": "somebody"}, folds=(0, 1))
    model = import_nnunet(training, "liver")
    model.verify()
    spec = model.spec
    assert read_model_folder(model.path).spec == spec
    assert (spec.kind, spec.roles, spec.optional) == ("auto", ("ct", "mr_t1"), ())
    assert spec.labels == {"liver": 1, "tumour": 2}
    assert spec.licence == "not stated (data: CC-BY 4.0)"
    assert spec.training_data[0] == {"name": "Dataset003_Liver", "licence": "CC-BY 4.0", "attribution": "somebody"}
    file = "fold_1/checkpoint_final.pth"
    assert spec.source["sha256"][file] == sha256_of(training / file)
    assert spec.source["sha256"][file] in (model.path / CARD_FILE).read_text(encoding="utf-8")
    taken = spec.nnunet_input
    assert (taken.folds, taken.mirror_axes, taken.patch, taken.regions) == (2, (0, 1, 2), (8, 16, 16), False)
    assert (taken.channels["ct"].scheme, taken.channels["ct"].low, taken.channels["ct"].mean) == ("ct", -100, 60)
    assert (taken.channels["mr_t1"].name, taken.channels["mr_t1"].masked) == ("T1", True)
    saved = load_file(model.weights)
    for number in (0, 1):
        given = state_dict(seed=number)
        for name in ("encoder.stages.1.0.convs.0.conv.weight", "decoder.seg_layers.1.bias"):
            assert torch.equal(saved[f"folds.{number}.{name}"], given[name])
    assert not [name for name in saved if "all_modules" in name or "seg_layers.0" in name]


def test_what_a_folder_does_not_say_is_not_stated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = write_training(tmp_path)
    assert main(["models", "add", "liver", "--nnunet", str(training)]) == 0
    printed = capsys.readouterr().out
    assert "liver: PlainConvUNet, ready in" in printed
    assert (
        "images: ct (its channel 'CT'), mr_t1 (its channel 'T1'); labels: liver, tumour; licence: not stated" in printed
    )
    assert main(["models", "list"]) == 0
    assert "liver            auto    1.0.0    not stated" in capsys.readouterr().out


@pytest.mark.parametrize("folds", [("1",), ("2", "0"), ("all",)])
def test_folds_are_chosen(tmp_path: Path, folds: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    training = write_training(tmp_path, folds=(0, 1, 2, "all"))
    assert main(["models", "add", "m", "--nnunet", str(training), "--folds", ",".join(folds)]) == 0
    (model,) = [each for each in list_models() if each.spec.name == "m"]
    assert model.spec.nnunet_input.folds == len(folds)
    assert list(model.spec.source["sha256"]) == [f"fold_{fold}/checkpoint_final.pth" for fold in folds]


def test_numbered_folds_are_taken_by_default_and_else_the_one_of_all_cases(tmp_path: Path) -> None:
    both, only = write_training(tmp_path / "a", folds=(0, 1, "all")), write_training(tmp_path / "b", folds=("all",))
    assert list(import_nnunet(both, "both").spec.source["sha256"]) == [f"fold_{n}/checkpoint_final.pth" for n in (0, 1)]
    assert list(import_nnunet(only, "only").spec.source["sha256"]) == ["fold_all/checkpoint_final.pth"]


def test_the_best_checkpoint_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = write_training(tmp_path, checkpoint="best")
    assert main(["models", "add", "m", "--nnunet", str(training)]) == 2
    assert "there are checkpoints best, choose one with --checkpoint" in capsys.readouterr().err
    assert main(["models", "add", "m", "--nnunet", str(training), "--checkpoint", "best"]) == 0


def test_old_and_new_plans_of_the_same_network_give_the_same_model(tmp_path: Path) -> None:
    shape = RESIDUAL_SHAPE
    old = configuration(architecture=None, **old_architecture(shape, RESIDUAL))
    new = configuration(architecture=architecture(shape, RESIDUAL))
    weights = state_dict(shape, RESIDUAL)
    intensities = plans()["foreground_intensity_properties_per_channel"]
    described = plans({"3d_fullres": old}, foreground_intensity_properties_by_modality=intensities)
    del described["foreground_intensity_properties_per_channel"]
    first = import_nnunet(write_training(tmp_path / "old", described=described, weights=weights), "old").spec
    second = import_nnunet(
        write_training(tmp_path / "new", described=plans({"3d_fullres": new}), weights=weights), "new"
    ).spec
    assert first.network == second.network == RESIDUAL
    assert (first.arguments, first.input, first.weights_sha256) == (
        second.arguments,
        second.input,
        second.weights_sha256,
    )


def test_configurations_inherit(tmp_path: Path) -> None:
    low = {"inherits_from": "3d_fullres", "spacing": [3.0, 2.0, 2.0]}
    described = plans({"3d_fullres": configuration(), "3d_lowres": low, "own": {"inherits_from": "3d_lowres"}})
    training = write_training(tmp_path, described=described, init_args={"configuration": "own"})
    assert import_nnunet(training, "m").spec.nnunet_input.spacing_mm == (3, 2, 2)


def test_a_2d_network_has_kernels_of_one_slice(tmp_path: Path) -> None:
    flat = configuration(patch_size=[16, 24], spacing=[1.0, 1.5], architecture=architecture(axes=2))
    shape = import_shape(SHAPE)
    training = write_training(
        tmp_path,
        described=plans({"2d": flat}),
        weights=state_dict(shape, axes=2),
        init_args={"configuration": "2d"},
        inference_allowed_mirroring_axes=(0, 1),
    )
    model = import_nnunet(training, "flat")
    assert (model.spec.patch, model.spec.nnunet_input.mirror_axes) == ((1, 16, 24), (1, 2))
    weights = load_file(model.weights)
    assert weights["folds.0.encoder.stages.1.0.convs.0.conv.weight"].shape == (6, 4, 1, 3, 3)
    engine = load_engine("flat", "cpu", "float32", "torch")
    assert isinstance(engine, ImportedEngine)


def import_shape(shape: Any) -> Any:
    """A shape without its first axis."""
    flat = {name: tuple((1, *each[1:]) for each in getattr(shape, name)) for name in ("kernel_sizes", "strides")}
    return type(shape)(**{**vars(shape), **flat})


def test_regions_keep_their_names_and_the_values_of_the_label_map(tmp_path: Path) -> None:
    dataset = {"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4, "enhancing": 3}}
    training = write_training(
        tmp_path, dataset={**dataset, "regions_class_order": [1, 3, 2]}, weights=state_dict(heads=3)
    )
    spec = import_nnunet(training, "m").spec
    assert (spec.labels, spec.nnunet_input.regions) == ({"whole": 1, "core": 3, "enhancing": 2}, True)


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["CT"], ("ct",)),
        (["T1", "T1ce", "T2", "FLAIR"], ("mr_t1", "mr_t1ce", "mr_t2", "mr_flair")),
        (["CT", "PET"], ("ct", "pet")),
        (["zscore"], ("image",)),
        (["CT", "Dose map"], ("ct", "image")),
        (["rescale_to_0_1", "noNorm"], ("image_rescale_to_0_1", "image_nonorm")),
        (["MRI", "MRI"], ("mr", "mr_2")),
    ],
)
def test_channels_have_roles_by_their_names(tmp_path: Path, names: list[str], roles: tuple[str, ...]) -> None:
    count = len(names)
    planned = configuration(normalization_schemes=["ZScoreNormalization"] * count, use_mask_for_norm=[False] * count)
    training = write_training(
        tmp_path,
        dataset={"channel_names": {str(n): name for n, name in enumerate(names)}},
        described=plans({"3d_fullres": planned}),
        weights=state_dict(channels=count),
    )
    assert import_nnunet(training, "m").spec.roles == roles


def test_weights_of_a_network_trained_in_parallel_or_compiled_are_taken(tmp_path: Path) -> None:
    weights = {f"module._orig_mod.{name}": tensor for name, tensor in state_dict().items()}
    assert import_nnunet(write_training(tmp_path, weights=weights), "m").spec.nnunet_input.folds == 1


# What is refused


def remove(name: str) -> Any:
    return lambda training: (training / name).unlink()


def edit(name: str, **changes: Any) -> Any:
    def apply(training: Path) -> None:
        file = training / name
        values = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))

    return apply


def planned(**changes: Any) -> Any:
    return edit("plans.json", configurations={"3d_fullres": configuration(**changes)})


def cut(name: str) -> Any:
    def apply(training: Path) -> None:
        content = (training / name).read_bytes()
        (training / name).write_bytes(content[: len(content) // 2])

    return apply


def wrong_architecture(**changes: Any) -> dict[str, Any]:
    values = architecture()
    return {**values, "arch_kwargs": {**values["arch_kwargs"], **changes}}


REFUSED = {
    "no description of the data": (remove("dataset.json"), "dataset.json is missing; not a complete folder"),
    "no plans": (remove("plans.json"), "plans.json is missing"),
    "plans cut short": (cut("plans.json"), r"plans\.json: cannot be read"),
    "a checkpoint cut short": (cut("fold_0/checkpoint_final.pth"), "was not copied completely"),
    "no checkpoint": (remove("fold_0/checkpoint_final.pth"), "folds with checkpoint_final.pth are none; the folder is"),
    "plans of version 1": (edit("plans.json", configurations=None, plans_per_stage={}), "plans of nnU-Net v1"),
    "labels of version 1": (edit("dataset.json", labels={"0": "background", "1": "liver"}), "as for nnU-Net v1"),
    "a cascade": (planned(previous_stage="3d_lowres"), "second stage of a cascade, .* import 3d_fullres or"),
    "another configuration": (
        edit("plans.json", configurations={"2d": configuration()}),
        "no configuration '3d_fullres'",
    ),
    "configurations in a circle": (planned(inherits_from="3d_fullres"), "inherit from each other"),
    "no spacing": (planned(spacing=None), "'spacing' is missing"),
    "text for a spacing": (planned(spacing=["a", 1, 1]), "spacing = .* are not all numbers"),
    "an impossible spacing": (planned(spacing=[1.0, 0.0, 1.0]), "not two or three positive numbers"),
    "another reader": (
        edit("plans.json", image_reader_writer="Tiff3DIO"),
        "read by 'Tiff3DIO', which is not supported",
    ),
    "another normalisation": (
        planned(normalization_schemes=["CTNormalization", "MyNorm"]),
        "normalisation 'MyNorm' of channel 'T1' is not supported",
    ),
    "too few normalisations": (planned(normalization_schemes=["CTNormalization"]), "not one per channel"),
    "another resampling": (planned(resampling_fn_data="mine"), "resampling_fn_data is 'mine', which is not supported"),
    "another preprocessor": (planned(preprocessor_name="Mine"), "preprocessor_name is 'Mine'"),
    "another network": (
        planned(architecture={**architecture(), "network_class_name": "a.PrimusM"}),
        "the network is 'PrimusM', which is not supported; PlainConvUNet and ResidualEncoderUNet are",
    ),
    "another rectifier": (
        planned(architecture=wrong_architecture(nonlin="torch.nn.Mish")),
        "nonlin is 'torch.nn.Mish'",
    ),
    "a network of thousands of features": (
        planned(architecture=wrong_architecture(features_per_stage=[4, 6, 10**9])),
        "features_per_stage .* are not all from 1 to 4096",
    ),
    "another network than planned": (
        planned(architecture=wrong_architecture(features_per_stage=[4, 6, 10])),
        "nnUNetTrainer trained another network than the plans describe, .* tensors: decoder.transpconvs.0",
    ),
    "more channels than the network has": (
        lambda training: (
            edit("dataset.json", channel_names={"0": "CT", "1": "T1", "2": "T2"})(training),
            planned(normalization_schemes=["ZScoreNormalization"] * 3, use_mask_for_norm=[False] * 3)(training),
        ),
        r"trained another network than the plans describe",
    ),
    "labels with a gap": (edit("dataset.json", labels={"background": 0, "a": 1, "b": 3}), "do not count up from 1"),
    "labels without a background": (edit("dataset.json", labels={"a": 1}), "need 'background'"),
    "regions without an order": (edit("dataset.json", labels=REGIONS["labels"]), "'regions_class_order' is missing"),
    "another checkpoint": (
        lambda training: torch.save({"weights": torch.zeros(3)}, training / "fold_0" / "checkpoint_final.pth"),
        "is not a checkpoint of nnU-Net v2",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_incomplete_or_unsupported_is_refused(tmp_path: Path, models: Path, case: str) -> None:
    spoil, words = REFUSED[case]
    training = write_training(tmp_path)
    spoil(training)
    with pytest.raises(ModelError, match=words) as caught:
        import_nnunet(training, "m")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not models.exists()


def test_folds_that_are_missing_are_named(tmp_path: Path) -> None:
    training = write_training(tmp_path, folds=(0, 1, 3))
    with pytest.raises(ModelError, match=r"are 0, 1, 3, of 2 it is missing; copy .* with --folds 0,1,3"):
        import_nnunet(training, "m")
    with pytest.raises(ArgumentError, match="are 0, 1, 3; fold 2 was asked for"):
        import_nnunet(training, "m", ["0", "2"])
    with pytest.raises(ArgumentError, match="fold 0, 0 was asked for"):
        import_nnunet(training, "m", ["0", "0"])


def test_the_folder_beside_the_right_one_is_told(tmp_path: Path) -> None:
    training = write_training(tmp_path / "Dataset003_Liver")
    assert import_nnunet(training.parent, "only").spec.source["training"] == training.name
    other = training.with_name("nnUNetTrainer__nnUNetPlans__2d")
    shutil.copytree(training, other)
    with pytest.raises(ModelError, match=f"holds 2 trainings, give one of them: {other.name}, {training.name}"):
        import_nnunet(training.parent, "m")
    with pytest.raises(ModelError, match="one fold of a training; give the folder above"):
        import_nnunet(training / "fold_0", "m")
    with pytest.raises(ModelError, match="there is no such folder"):
        import_nnunet(tmp_path / "absent", "m")
    (training / "plans.pkl").write_bytes(b"")
    with pytest.raises(ModelError, match="a training of nnU-Net v1"):
        import_nnunet(training, "m")


def test_folds_of_other_configurations_are_refused(tmp_path: Path) -> None:
    training = write_training(tmp_path, folds=(0, 1))
    write_checkpoint(training / "fold_1" / "checkpoint_final.pth", init_args={"configuration": "2d"})
    with pytest.raises(ModelError, match="configuration 2d, that of fold_0 is of 3d_fullres"):
        import_nnunet(training, "m")


def test_options_that_do_not_belong_together_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = write_training(tmp_path)
    for arguments, words in (
        (["--nnunet", str(training), "--pixels", "unit"], "--pixels is for --weights"),
        (["--weights", "x.pth", "--folds", "0"], "--folds is for --nnunet"),
        (["--nnunet", str(training), "--checkpoint", "first"], "checkpoint 'first' is not one of final, best, latest"),
        (["--nnunet", str(training), "--folds", ""], "fold none was asked for"),
    ):
        assert main(["models", "add", "m", *arguments]) == 2
        assert re.search(words, capsys.readouterr().err)


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    training = write_training(tmp_path)
    with pytest.raises(ArgumentError, match="there is a model 'sts-auto' already"):
        import_nnunet(training, "sts-auto")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, models: Path) -> None:
    resource = pytest.importorskip("resource")
    training = write_training(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(WriteError, match="the weights cannot be written"):
            import_nnunet(training, "m")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(models.iterdir()) == []
