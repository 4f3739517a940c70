"""Descriptions of models: the kinds of input, contradictions, and older formats."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from Testing.fakes import RULES, any_image_spec, tiny_spec
from TumorSegLib.errors import ModelError
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.models.formats import PIXELS
from TumorSegLib.models.registry import find_model
from TumorSegLib.models.spec import AnyImageInput, ModelSpec, PromptedVolumeInput, SliceInput, VolumeInput

SPEC = tiny_spec("three", ["ct", "pet", "mr_t1"], optional=["pet"], labels={"core": 2, "rim": 1})
KINDS = {"auto": VolumeInput, "clicks": PromptedVolumeInput, "box": SliceInput}


@pytest.mark.parametrize("kind", KINDS)
def test_a_description_of_each_kind_survives_json(kind):
    spec = tiny_spec(kind, ["ct", "pet"], kind=kind, plausible_volume_ml=(0.5, 900.0), made_for="lymphoma")
    again = ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False)))
    assert again == spec
    assert (again.kind, type(again.input)) == (kind, KINDS[kind])


def test_only_a_model_of_volumes_has_roles_spacing_and_patch():
    assert (SPEC.roles, SPEC.optional) == (("ct", "pet", "mr_t1"), ("pet",))
    assert SPEC.volume_input.normalisation == RULES
    box = tiny_spec("box", kind="box", pixels="imagenet")
    assert (box.roles, box.optional) == ((), ())
    assert box.slice_input.mean == pytest.approx((0.485, 0.456, 0.406))
    assert box.slice_input.std == pytest.approx((0.229, 0.224, 0.225))
    with pytest.raises(ModelError, match="'box' takes slices, one that takes volumes is needed"):
        _ = box.volume_input
    with pytest.raises(ModelError, match="'three' takes volumes, one that takes slices is needed"):
        _ = SPEC.slice_input


def test_optional_entries_may_be_left_out():
    optional = ("weights_sha256", "training_data", "results", "made_for", "plausible_volume_ml", "trained_length_mm")
    optional += ("body_parts",)
    spec = ModelSpec.from_dict({k: v for k, v in SPEC.to_dict().items() if k not in optional})
    assert (spec.weights_sha256, spec.training_data, spec.results) == ("", (), {})
    assert (spec.made_for, spec.plausible_volume_ml) == ("", None)


@pytest.mark.parametrize("name", ["sts-auto", "sts-clicks"])
def test_bundled_models_state_their_purpose_and_range_of_volumes(name):
    spec = find_model(name).spec
    assert spec.made_for == "soft-tissue sarcoma of the limbs and trunk wall"
    assert spec.plausible_volume_ml == (27.8, 2330.8)
    assert spec.trained_length_mm == 372.8


def changed(changes):
    """The JSON with values changed; keys ``input.KEY`` are those of the input, None removes a key."""
    data = SPEC.to_dict()
    for key, value in changes.items():
        part, _, name = key.rpartition(".")
        target = data[part] if part else data
        target[name] = value
        if value is None:
            del target[name]
    return data


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"colour": "red"}, "unknown key 'colour'; there are name, version"),
        ({"input.patch": None, "input.roles": None}, "input: missing 'roles', 'patch'"),
        ({"input": None}, "missing 'input'"),
        ({"licnce": "MIT"}, r"unknown key 'licnce' \(did you mean 'licence'\?\)"),
        ({"format": 3}, "format 3 is unknown, 1 and 2 can be read; a newer TumorSeg may read it"),
        ({"input.type": "magic"}, "input: type 'magic' is not one of volume, prompted volume, any image, slice"),
        ({"input.roles": []}, r"input: roles \[\] are empty or repeat"),
        ({"input.roles": ["ct", "pet", "mr_t1", "ct"]}, r"roles \['ct', 'pet', 'mr_t1', 'ct'\] are empty or repeat"),
        ({"input.optional": ["dose"]}, r"optional roles \['dose'\] are not all among \['ct', 'pet', 'mr_t1'\]"),
        ({"input.normalisation": {}}, r"normalisation is given for \[\], roles are \['ct', 'mr_t1', 'pet'\]"),
        ({"input.normalisation": {"ct": {"method": "magic"}}}, "normalisation of 'ct': .*'magic' is not one of"),
        ({"input.normalisation": {"ct": {"method": "linear", "hihg": 1}}}, "of 'ct': unknown key 'hihg' .*'high'"),
        ({"input.spacing_mm": [1, 0, 1]}, r"spacing_mm \(1, 0, 1\) is not three positive numbers"),
        ({"input.spacing_mm": [1, 1]}, r"spacing_mm = \[1, 1\] does not fit, a list of 3 is needed"),
        ({"input.spacing_mm": [1, 1, float("inf")]}, r"spacing_mm \(1, 1, inf\)"),
        ({"input.patch": [16, 0, 16]}, r"patch \(16, 0, 16\) is not three positive whole numbers"),
        ({"labels": {}}, r"labels \{\} do not count up from 1"),
        ({"labels": {"a": 1, "b": 3}}, r"labels \{'a': 1, 'b': 3\} do not count up from 1"),
        ({"training_data": [{"licence": "CC0-1.0"}]}, "training_data .* has an entry without a name"),
        ({"training_data": [{"name": "a", "licenses": "b"}]}, r"training_data: unknown key 'licenses' .*licence, attr"),
        ({"name": ["three"]}, r"name = \['three'\] does not fit, text is needed"),
        ({"plausible_volume_ml": [30, 20]}, r"plausible_volume_ml \(30, 20\) is not two volumes"),
        ({"plausible_volume_ml": [0, float("inf")]}, r"plausible_volume_ml \(0, inf\) is not two volumes"),
        ({"trained_length_mm": 0}, "trained_length_mm 0 is not a length above 0 mm"),
    ],
)
def test_every_contradiction_is_named_with_the_file(changes, named):
    with pytest.raises(ModelError, match=f"(?s)^here/model.json.*{named}"):
        ModelSpec.from_dict(changed(changes), "here/model.json")


def test_contradictions_of_an_input_are_named_together():
    assert replace(SPEC.with_input(patch=(8, 8, 8)), input=SPEC.input) == SPEC
    with pytest.raises(ModelError, match=r"spacing_mm .* is not three .*; patch \(0, 1, 1\) is not"):
        SPEC.with_input(spacing_mm=(1, 1, -1), patch=(0, 1, 1))
    with pytest.raises(ModelError, match=r"std .* is not three positive numbers"):
        SliceInput((0, 0, 0), (1, 0, 1))


# Models of any image

ANY = any_image_spec(patch=(8, 16, 24), scales_mm=(0.5, 6.0))


def test_a_model_of_any_image_survives_json():
    data = json.loads(json.dumps(ANY.to_dict(), allow_nan=False))
    assert data["input"]["type"] == "any image"
    assert list(data["input"]["normalisation"]) == ["ct", "ct_wide", "pet", "mr"]
    again = ModelSpec.from_dict(data)
    assert again == ANY
    assert list(again.any_image_input.normalisation) == ["ct", "ct_wide", "pet", "mr"]
    assert again.with_input(patch=(8, 8, 8)) != ANY


def test_a_model_of_any_image_takes_shapes_and_no_certain_roles():
    assert (ANY.kind, ANY.takes_shapes, ANY.patch) == ("clicks", True, (8, 16, 24))
    assert (ANY.roles, ANY.optional) == ((), ())
    clicks = tiny_spec("clicks", kind="clicks", patch=(8, 8, 16))
    assert (clicks.takes_shapes, clicks.patch) == (False, (8, 8, 16))
    with pytest.raises(ModelError, match="'any' takes images of any kind, one that takes volumes is needed"):
        _ = ANY.volume_input
    with pytest.raises(ModelError, match="'clicks' takes volumes, one that takes images of any kind is needed"):
        _ = clicks.any_image_input
    with pytest.raises(ModelError, match="'any' takes images of any kind, one that takes slices is needed"):
        _ = ANY.slice_input
    with pytest.raises(ModelError, match="takes slices, one that takes volumes is needed"):
        _ = tiny_spec("box", kind="box").patch


LINEAR = {"method": "linear"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"normalisation": {"ct": LINEAR, "mr": LINEAR}}, r"given for \['ct', 'mr'\], it must be for ct, pet, mr"),
        ({"normalisation": dict.fromkeys(("ct", "pet", "mr", "us"), LINEAR)}, r"\['ct', 'mr', 'pet', 'us'\], it must"),
        ({"patch": [8, 0, 8]}, r"patch \(8, 0, 8\) is not three positive whole numbers"),
        ({"scales_mm": [2, 1]}, r"scales_mm \(2, 1\) is not two positive numbers, smaller first"),
        ({"scales_mm": [0, 1]}, r"scales_mm \(0, 1\) is not"),
        ({"scales_mm": [1, float("inf")]}, r"scales_mm \(1, inf\) is not"),
        (
            {"scales_mm": [1, 2], "patch": [0, 1, 1], "normalisation": {}},
            r"given for \[\], it must .*; patch \(0, 1, 1",
        ),
        ({"scales_mm": [1]}, r"scales_mm = \[1\] does not fit, a list of 2 is needed"),
        ({"spacing_mm": [1, 1, 1]}, "input: unknown key 'spacing_mm'"),
    ],
)
def test_contradictions_in_a_model_of_any_image_are_named(values, named):
    data = ANY.to_dict()
    with pytest.raises(ModelError, match=f"(?s)^here.*{named}"):
        ModelSpec.from_dict({**data, "input": {**data["input"], **values}}, "here")


def test_an_any_image_input_alone_is_checked():
    with pytest.raises(ModelError, match=r"normalisation is given for \['ct'\]"):
        AnyImageInput({"ct": RULES["ct"]}, (8, 8, 8), (1, 2))


# model.json as written before it had a format; shortened.
FORMAT_1 = {
    "name": "old",
    "version": "1.0.0",
    "licence": "Apache-2.0",
    "description": "An old model",
    "labels": {"tumour": 1},
    "weights_sha256": "ab" * 32,
    "training_data": [{"name": "noise", "licence": "CC0-1.0", "attribution": "nobody"}],
    "results": {"dice": 0.5},
}
VOLUME_1 = {
    "roles": ["ct", "mr_t1"],
    "optional": ["ct"],
    "spacing_mm": [3.0, 3.0, 3.0],
    "patch": [48, 64, 64],
    "normalisation": {
        "ct": {"method": "linear", "low": -160.0, "high": 240.0, "offset": -20.0, "scale": 100.0, "outside": -1000.0},
        "mr_t1": {"method": "zscore", "offset": 0.0, "scale": 1.0, "outside": 0.0},
    },
    "network": "ResidualDynUNet",
    "arguments": {"filters": [16, 32]},
    "made_for": "sarcoma",
    "plausible_volume_ml": [27.8, 2330.8],
    "trained_length_mm": 372.8,
}
SLICE_1 = {
    "roles": ["image"],
    "optional": [],
    "spacing_mm": [1.0, 1.0, 1.0],
    "patch": [1, 256, 256],
    "normalisation": {"image": {"method": "linear", "low": 0.0, "high": 1.0}},
    "network": "SamViT",
}
HEAD = {**FORMAT_1, "training_data": tuple(FORMAT_1["training_data"])}


@pytest.mark.parametrize(("kind", "of"), [("auto", VolumeInput), ("clicks", PromptedVolumeInput)])
def test_format_1_of_a_model_of_volumes_is_read(kind, of):
    ct = Normalisation("linear", -160, 240, -20, 100, -1000)
    expected = ModelSpec(
        **HEAD,
        input=of(("ct", "mr_t1"), ("ct",), (3, 3, 3), (48, 64, 64), {"ct": ct, "mr_t1": Normalisation("zscore")}),
        network="ResidualDynUNet",
        arguments={"filters": [16, 32]},
        made_for="sarcoma",
        plausible_volume_ml=(27.8, 2330.8),
        trained_length_mm=372.8,
    )
    assert ModelSpec.from_dict({**FORMAT_1, **VOLUME_1, "kind": kind}) == expected


@pytest.mark.parametrize("pixels", PIXELS)
def test_format_1_of_a_box_model_is_read_with_its_pixel_statistics(pixels):
    spec = ModelSpec.from_dict({**FORMAT_1, **SLICE_1, "kind": "box", "arguments": {"depth": 12, "pixels": pixels}})
    assert spec == ModelSpec(**HEAD, input=SliceInput(**PIXELS[pixels]), network="SamViT", arguments={"depth": 12})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "magic"}, "kind 'magic' is not one of auto, clicks, box"),
        ({"kind": "box", "arguments": {"pixels": "raw"}}, "pixels 'raw' is not one of unit, imagenet"),
        ({"kind": "auto", "patch": [0, 1, 1]}, r"input: patch \(0, 1, 1\) is not"),
    ],
)
def test_errors_in_format_1_are_named(changes, message):
    with pytest.raises(ModelError, match=f"^here.*{message}"):
        ModelSpec.from_dict({**FORMAT_1, **VOLUME_1, **changes}, "here")


def test_role_subsets_are_all_a_model_accepts() -> None:
    roles = ("ct", "pet", "mr_t1")
    assert tiny_spec(roles=roles, optional=roles).role_subsets == [
        ("ct", "pet", "mr_t1"), ("ct", "pet"), ("ct", "mr_t1"), ("pet", "mr_t1"), ("ct",), ("pet",), ("mr_t1",),
    ]  # fmt: skip
    assert tiny_spec(roles=roles, optional=("pet",)).role_subsets == [("ct", "pet", "mr_t1"), ("ct", "mr_t1")]
    assert tiny_spec(roles=roles).role_subsets == [roles]
