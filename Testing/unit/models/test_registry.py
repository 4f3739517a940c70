"""Model folders: what is accepted, what is refused and in which words, and where models are found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from Testing.fakes import RULES, tiny_spec, write_spec
from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.models import registry
from TumorSegLib.models.folder import WEIGHTS_FILE, read_model_folder, sha256_of
from TumorSegLib.models.registry import broken_folders, find_model, list_models, model_roots, new_model_folder
from TumorSegLib.models.spec import SPEC_FILE, ModelSpec

SPEC = tiny_spec("three", ["ct", "pet", "mr_t1"], optional=["pet"], labels={"core": 2, "rim": 1})


@pytest.fixture
def roots(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Empty folders for bundled models and for the user's."""
    bundled, user = tmp_path / "bundled", tmp_path / "user"
    bundled.mkdir()
    user.mkdir()
    monkeypatch.setattr(registry, "BUNDLED", bundled)
    monkeypatch.setenv("TUMORSEG_MODELS", str(user))
    return bundled, user


def folder_with_weights(root: Path, content: bytes = b"weights") -> Path:
    folder = write_spec(root / "m", tiny_spec("m"))
    (folder / WEIGHTS_FILE).write_bytes(content)
    return write_spec(folder, replace(tiny_spec("m"), weights_sha256=sha256_of(folder / WEIGHTS_FILE)))


def test_a_specification_survives_json():
    again = ModelSpec.from_dict(json.loads(json.dumps(SPEC.to_dict(), allow_nan=False)))
    assert again == SPEC
    assert isinstance(again.roles, tuple)
    assert isinstance(again.patch, tuple)
    assert again.normalisation == RULES


def test_optional_entries_may_be_left_out():
    optional = ("weights_sha256", "training_data", "results", "made_for", "plausible_volume_ml", "trained_length_mm")
    spec = ModelSpec.from_dict({k: v for k, v in SPEC.to_dict().items() if k not in optional})
    assert (spec.weights_sha256, spec.training_data, spec.results) == ("", (), {})
    assert (spec.made_for, spec.plausible_volume_ml) == ("", None)


def test_what_a_model_was_made_for_survives_json():
    spec = replace(SPEC, made_for="lymphoma", plausible_volume_ml=(0.5, 900.0))
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize("name", ["sts-auto", "sts-clicks"])
def test_the_bundled_models_say_what_they_were_made_for_and_on_which_volumes(name):
    spec = find_model(name).spec
    assert spec.made_for == "soft-tissue sarcoma of the limbs and trunk wall"
    assert spec.plausible_volume_ml == (27.8, 2330.8)
    assert spec.trained_length_mm == 372.8


def test_missing_and_unknown_keys_are_named_with_their_file():
    data = SPEC.to_dict()
    del data["patch"], data["roles"]
    data["colour"] = "red"
    with pytest.raises(ModelError, match=r"^here/model\.json: unknown key 'colour'; there are name, kind, version"):
        ModelSpec.from_dict(data, "here/model.json")
    del data["colour"]
    with pytest.raises(ModelError, match=r"^here/model\.json: missing 'roles', 'patch'"):
        ModelSpec.from_dict(data, "here/model.json")


def test_a_key_twice_in_one_object_is_refused(tmp_path):
    folder = write_spec(tmp_path / "m", tiny_spec("m"))
    text = (folder / SPEC_FILE).read_text()
    (folder / SPEC_FILE).write_text(text[:-1] + ', "kind": "clicks"}')
    with pytest.raises(ModelError, match=r"model.json cannot be read \(the key 'kind' is given twice in one object\)"):
        read_model_folder(folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kind": "magic"}, "kind 'magic' is not one of auto, clicks, box"),
        ({"roles": []}, r"roles \[\] are empty or repeat"),
        ({"roles": ["ct", "pet", "mr_t1", "ct"]}, r"roles \['ct', 'pet', 'mr_t1', 'ct'\] are empty or repeat"),
        ({"optional": ["dose"]}, r"optional roles \['dose'\] are not all among \['ct', 'pet', 'mr_t1'\]"),
        ({"normalisation": {}}, r"normalisation is given for \[\], roles are \['ct', 'mr_t1', 'pet'\]"),
        ({"spacing_mm": [1, 0, 1]}, r"spacing_mm \(1, 0, 1\) is not three positive numbers"),
        ({"spacing_mm": [1, 1]}, r"spacing_mm \(1, 1\)"),
        ({"spacing_mm": [1, 1, float("nan")]}, r"spacing_mm \(1, 1, nan\)"),
        ({"spacing_mm": [1, 1, float("inf")]}, r"spacing_mm \(1, 1, inf\)"),
        ({"patch": [16, 16]}, r"patch \(16, 16\) is not three positive whole numbers"),
        ({"patch": [16, 0, 16]}, r"patch \(16, 0, 16\)"),
        ({"patch": [16, 16, 16.5]}, r"patch \(16, 16, 16\.5\)"),
        ({"labels": {}}, r"labels \{\} do not count up from 1"),
        ({"labels": {"a": 1, "b": 3}}, r"labels \{'a': 1, 'b': 3\} do not count up from 1"),
        ({"labels": {"a": 0}}, r"labels \{'a': 0\} do not count up from 1"),
        ({"arguments": [4, 8]}, r"arguments \[4, 8\] are not names with values"),
        ({"results": [0.8]}, r"results \[0\.8\] are not names with values"),
        ({"training_data": ["noise"]}, r"training_data \['noise'\] is not a list of entries with a name"),
        ({"training_data": [{"licence": "CC0-1.0"}]}, "training_data .* is not a list of entries with a name"),
        ({"licence": None}, "licence None is not text"),
        ({"name": ["three"]}, r"name \['three'\] is not text"),
        ({"licnce": "MIT"}, r"unknown key 'licnce' \('licence' may be meant\)"),
        ({"training_data": [{"name": "a", "licenses": "b"}]}, r"training_data: unknown key 'licenses' .*licence, attr"),
        ({"normalisation": {"ct": {"method": "linear", "hihg": 1}}}, r"of 'ct': unknown key 'hihg' \('high' may be"),
        ({"made_for": 3}, "made_for 3 is not text"),
        ({"plausible_volume_ml": [28]}, r"plausible_volume_ml \(28,\) is not two volumes of at least 0 ml"),
        ({"plausible_volume_ml": [30, 20]}, r"plausible_volume_ml \(30, 20\) is not two volumes"),
        ({"plausible_volume_ml": ["a", "b"]}, r"plausible_volume_ml \('a', 'b'\) is not two volumes"),
        ({"plausible_volume_ml": 28}, "plausible_volume_ml 28 is not two volumes"),
        ({"trained_length_mm": 0}, "trained_length_mm 0 is not a length above 0 mm"),
        ({"trained_length_mm": "long"}, "trained_length_mm 'long' is not a length"),
        ({"plausible_volume_ml": [0, float("inf")]}, r"plausible_volume_ml \(0, inf\) is not two volumes"),
        ({"labels": ["tumour"]}, "labels|attribute"),
        ({"spacing_mm": ["a", "b", "c"]}, "not supported between"),
        ({"normalisation": {**SPEC.to_dict()["normalisation"], "ct": {"method": "magic"}}}, "'magic' is not one of"),
        ({"normalisation": {**SPEC.to_dict()["normalisation"], "ct": {"method": "linear", "lo": 1}}}, "'lo'"),
        ({"spacing_mm": None}, "NoneType"),
    ],
)
def test_every_contradiction_is_named_with_the_file(changes, named):
    with pytest.raises(ModelError, match=f"(?s)^here/model.json: .*{named}"):
        ModelSpec.from_dict({**SPEC.to_dict(), **changes}, "here/model.json")


def test_all_contradictions_are_named_at_once():
    with pytest.raises(ModelError, match=r"model 'three': kind 'x' is not .*; patch \(0, 1, 1\) is not"):
        replace(SPEC, kind="x", patch=(0, 1, 1))


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '"text"', "\x00", "{}"])
def test_a_folder_without_a_proper_description_is_refused_by_name(tmp_path, content):
    (tmp_path / SPEC_FILE).write_text(content)
    with pytest.raises(ModelError, match=str(tmp_path)):
        read_model_folder(tmp_path)


def test_a_description_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / SPEC_FILE).write_bytes(b'{"name": "\xff"}')
    with pytest.raises(ModelError, match="is not a model folder"):
        read_model_folder(tmp_path)


def test_a_missing_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match="nowhere is not a model folder"):
        read_model_folder(tmp_path / "nowhere")


def test_models_are_listed_by_name_and_a_bundled_one_hides_its_namesake(roots):
    bundled, user = roots
    write_spec(bundled / "b", tiny_spec("shared", version="1.0.0"))
    write_spec(user / "x", tiny_spec("shared", version="2.0.0"))
    write_spec(user / "y", tiny_spec("another"))
    assert [(m.spec.name, m.path) for m in list_models()] == [("another", user / "y"), ("shared", bundled / "b")]


def test_no_models_at_all_are_an_empty_list(roots):
    assert list_models() == []
    with pytest.raises(ModelError, match=r"no model 'x'.*known \(none\)"):
        find_model("x")


def test_a_broken_folder_is_left_out_aloud_and_hides_no_other(roots):
    _, user = roots
    write_spec(user / "good", tiny_spec("good"))
    (user / "bad").mkdir()
    (user / "bad" / SPEC_FILE).write_text("{")
    with pytest.warns(UserWarning, match="left out: .*bad is not a model folder"):
        assert [m.spec.name for m in list_models()] == ["good"]
    assert find_model("good").path == user / "good"
    with pytest.raises(ModelError, match=r"known \(good\); left out: .*bad"):
        find_model("bad")


def test_broken_folders_are_told_with_what_is_wrong(roots):
    bundled, user = roots
    write_spec(user / "good", tiny_spec("good"))
    for folder, file in ((bundled / "bad", SPEC_FILE), (user / "half", WEIGHTS_FILE), (user / ".1.new", WEIGHTS_FILE)):
        folder.mkdir()
        (folder / file).write_text("{")
    (user / "notes").mkdir()
    broken = broken_folders()
    assert [each.path for each in broken] == [bundled / "bad", user / "half"]
    assert all("model.json cannot be read" in str(each.error) for each in broken)


def test_a_new_model_gets_a_folder_that_nothing_else_has(roots):
    _, user = roots
    assert new_model_folder("m-1.0_b") == user / "m-1.0_b"
    (user / "empty").mkdir()
    write_spec(user / "elsewhere", tiny_spec("named"))
    for name, folder in (("empty", "empty"), ("named", "elsewhere")):
        with pytest.raises(ArgumentError, match=f"there is a model '{name}' already, in .*user.{folder};"):
            new_model_folder(name)
    with pytest.raises(ArgumentError, match=r"'\.\./m' is no name for a model"):
        new_model_folder("../m")


def test_a_folder_being_written_is_not_yet_a_model(roots):
    write_spec(roots[1] / ".1234.m", tiny_spec("m"))
    assert list_models() == []


def test_a_model_is_found_by_name_and_by_path(roots, tmp_path):
    write_spec(roots[1] / "folder", tiny_spec("named"))
    elsewhere = write_spec(tmp_path / "elsewhere", tiny_spec("named", version="9.9.9"))
    assert find_model("named").path == roots[1] / "folder"
    assert find_model(elsewhere).spec.version == "9.9.9"
    assert find_model(str(elsewhere)).spec.version == "9.9.9"


def test_a_folder_in_the_working_directory_does_not_hide_the_model_of_that_name(roots, tmp_path, monkeypatch):
    write_spec(roots[0] / "named", tiny_spec("named"))
    write_spec(tmp_path / "work" / "named", tiny_spec("named", version="9.9.9"))
    write_spec(tmp_path / "work" / "unnamed", tiny_spec("other", version="8.8.8"))
    monkeypatch.chdir(tmp_path / "work")
    assert find_model("named").path == roots[0] / "named"
    for path in (f".{os.sep}named", Path("named")):
        assert find_model(path).spec.version == "9.9.9"
    assert find_model("unnamed").spec.version == "8.8.8"


def test_an_unknown_model_is_refused_with_those_known(roots):
    for name in ("beta", "alpha"):
        write_spec(roots[1] / name, tiny_spec(name))
    with pytest.raises(ModelError, match=r"no model 'gamma': neither a model folder nor .*known \(alpha, beta\)"):
        find_model("gamma")


def test_the_users_models_lie_in_the_home_folder_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv("TUMORSEG_MODELS", raising=False)
    assert model_roots() == (registry.BUNDLED, Path.home() / ".tumorseg" / "models")
    monkeypatch.setenv("TUMORSEG_MODELS", "")
    assert model_roots() == (registry.BUNDLED, Path.home() / ".tumorseg" / "models")


def test_the_environment_names_the_folder_of_the_users_models(monkeypatch):
    monkeypatch.setenv("TUMORSEG_MODELS", "~/mine")
    assert model_roots()[1] == Path.home() / "mine"


def test_verify_accepts_the_published_weights(tmp_path):
    read_model_folder(folder_with_weights(tmp_path)).verify()


def test_verify_notices_a_single_flipped_bit(tmp_path):
    model = read_model_folder(folder_with_weights(tmp_path, bytes(3 << 20)))
    content = bytearray(model.weights.read_bytes())
    content[2_500_000] ^= 1
    model.weights.write_bytes(content)
    with pytest.raises(ModelError, match=f"model 'm': .*{WEIGHTS_FILE} is corrupt or was changed: its sha256 is "):
        model.verify()


@pytest.mark.parametrize(("checksum", "said"), [("0" * 64, "0" * 64), ("", "nothing")])
def test_verify_refuses_another_checksum_and_none(tmp_path, checksum, said):
    model = read_model_folder(write_spec(folder_with_weights(tmp_path), tiny_spec("m", weights_sha256=checksum)))
    with pytest.raises(ModelError, match=f"model.json says {said}"):
        model.verify()


def test_verify_names_missing_weights(tmp_path):
    model = read_model_folder(write_spec(tmp_path / "m", tiny_spec("m")))
    with pytest.raises(ModelError, match=f"model 'm': .*{WEIGHTS_FILE} is missing"):
        model.verify()


def test_sha256_is_that_of_the_standard(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")  # the example of FIPS 180-2
    assert sha256_of(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_neither_the_registry_nor_preprocessing_imports_torch():
    code = (
        "import sys, TumorSegLib.models.registry, TumorSegLib.engines.inputs, TumorSegLib.protocols\n"
        "sys.exit(', '.join({'torch', 'monai'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
