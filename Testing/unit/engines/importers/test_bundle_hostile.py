"""MONAI bundles that would execute code, write elsewhere, or claim more than they have: nothing of them is executed."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from Testing.unit.engines.importers.bundle_cases import (
    ARGMAX,
    HU,
    INVERT,
    LAYOUTS,
    LOAD,
    SOFTMAX,
    UNET,
    Layout,
    compose,
    configuration,
    metadata,
    post,
    random_network,
    transform,
    write_bundle,
)
from Testing.unit.engines.importers.test_nnunet_hostile import CALLS, Calls
from TumorSegLib.engines.importers.bundles.model import import_bundle
from TumorSegLib.errors import ModelError, ResourceError

SPLEEN = LAYOUTS["spleen"]


def code(sign: Path) -> str:
    """An expression that writes a file when it is evaluated."""
    return f"$__import__('os').system('touch {sign}')"


def call(sign: Path) -> dict[str, Any]:
    """An object that writes a file when it is made."""
    return {"_target_": "os.system", "command": f"touch {sign}"}


# Where the code lies: changes of the configuration, made with what would be executed.
PLACES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "an argument of the network": lambda bad: {"network_def": {**UNET, "channels": bad}},
    "the network": lambda bad: {"network_def": bad},
    "a number of channels": lambda bad: {"network_def": {**UNET, "in_channels": bad}},
    "a reference": lambda bad: {"bad": bad, "network_def": {**UNET, "channels": "@bad"}},
    "a part of a choice": lambda bad: {
        "network_def": {**UNET, "channels": f"${bad[1:]} if @yes else [4, 8, 16]" if isinstance(bad, str) else bad},
        "yes": True,
    },
    "a transform": lambda bad: {"preprocessing": compose(*LOAD, HU) | {"transforms": [bad]}},
    "the preparation": lambda bad: {"preprocessing": bad},
    "a spacing": lambda bad: {"preprocessing": compose(*LOAD, transform("Spacingd", pixdim=bad))},
    "keys": lambda bad: {"preprocessing": compose(*LOAD, {**HU, "keys": bad})},
    "what is foreground": lambda bad: {
        "preprocessing": compose(*LOAD, transform("CropForegroundd", source_key="image", select_fn=bad))
    },
    "a reader": lambda bad: {"preprocessing": compose(transform("LoadImaged", reader=bad), HU)},
    "whether a transform is disabled": lambda bad: {"preprocessing": compose(*LOAD, {**HU, "_disabled_": bad})},
    "what a transform requires": lambda bad: {"preprocessing": compose(*LOAD, {**HU, "_requires_": bad})},
    "code of a transform": lambda bad: {"preprocessing": compose(*LOAD, {**HU, "_code_": bad})},
    "how a transform is made": lambda bad: {"preprocessing": compose(*LOAD, {**HU, "_mode_": bad})},
    "the windows": lambda bad: {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": bad}},
    "the inferer": lambda bad: {"inferer": bad},
    "a function of the answer": lambda bad: {
        "postprocessing": post(SOFTMAX, INVERT, ARGMAX, transform("Lambdad", func=bad))
    },
    "a function of the inversion": lambda bad: {"postprocessing": post(SOFTMAX, {**INVERT, "post_func": bad}, ARGMAX)},
    "a threshold": lambda bad: {
        "postprocessing": post(transform("Activationsd", sigmoid=True), transform("AsDiscreted", threshold=bad))
    },
    "the largest region": lambda bad: {
        "postprocessing": post(SOFTMAX, ARGMAX, transform("KeepLargestConnectedComponentd", applied_labels=bad), INVERT)
    },
}
# What inference does not need is not looked at.
NOT_NEEDED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "imports": lambda bad: {"imports": [bad]},
    "the beginning": lambda bad: {"initialize": [bad], "run": [bad]},
    "the data": lambda bad: {"datalist": bad, "dataset": {"_target_": "Dataset", "data": bad}},
    "the device": lambda bad: {"device": bad, "network": bad},
    "the evaluator": lambda bad: {"evaluator": bad, "handlers": [bad]},
    "where weights lie": lambda bad: {"handlers": [{"_target_": "CheckpointLoader", "load_path": bad}]},
    "how windows are computed": lambda bad: {
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [24, 24, 16], "device": bad}
    },
    "what is written": lambda bad: {
        "postprocessing": post(SOFTMAX, INVERT, ARGMAX, transform("SaveImaged", output_dir=bad))
    },
}


def bundle_with(folder: Path, suffix: str, **changes: Any) -> Path:
    layout = Layout(metadata(), configuration(**changes), suffix)
    return write_bundle(folder, layout, random_network(SPLEEN).state_dict())


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("kind", [code, call])
@pytest.mark.parametrize("place", PLACES)
def test_code_that_would_be_needed_is_refused(
    place: str, kind: Callable[[Path], Any], suffix: str, tmp_path: Path, models: Path
) -> None:
    sign = tmp_path / "executed"
    bundle = bundle_with(tmp_path, suffix, **PLACES[place](kind(sign)))
    with pytest.raises(ModelError) as refused:
        import_bundle(bundle, "m")
    assert "\n" not in str(refused.value)
    assert not sign.exists()
    assert not models.exists()


@pytest.mark.parametrize("kind", [code, call])
@pytest.mark.parametrize("place", NOT_NEEDED)
def test_code_that_is_not_needed_is_not_executed(
    place: str, kind: Callable[[Path], Any], tmp_path: Path, models: Path
) -> None:
    sign = tmp_path / "executed"
    import_bundle(bundle_with(tmp_path, "json", **NOT_NEEDED[place](kind(sign))), "m").verify()
    assert not sign.exists()


def test_the_corpus_would_execute_in_monai(tmp_path: Path) -> None:
    """What is refused above is dangerous indeed."""
    for number, kind in enumerate((code, call)):
        sign = tmp_path / f"executed_{number}"
        ConfigParser(PLACES["a reference"](kind(sign))).get_parsed_content("bad")
        assert sign.exists()


EXPRESSIONS = (
    "$().__class__.__base__.__subclasses__()",
    "$[c for c in ().__class__.__base__.__subclasses__()]",
    "$(lambda: 1)()",
    "$open('x', 'w')",
    "$exec('1')",
    "$@a.__class__",
    "$@a + open('x')",
    "$'%s' % @a",
    "$f'{@a}'",
    "$9**9**9",
    "$[0] * 10**10",
    "$@a if open('x') else @a",
    "$@a if @a else __import__('os')",
    "$len(open('x'))",
    "@a.__class__",
    "%/etc/passwd",
    "%other.json::a",
    "$" + "(" * 5000,
    "$" + "[" * 299,
)


@pytest.mark.parametrize("text", EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_expressions_of_other_forms_are_refused(text: str, tmp_path: Path, models: Path) -> None:
    bundle = bundle_with(tmp_path, "json", a=True, network_def={**UNET, "channels": text})
    with pytest.raises(ModelError, match=r"is code, which is not executed|is not a reference within|is missing"):
        import_bundle(bundle, "m")
    assert not Path("x").exists()


@pytest.mark.parametrize("tag", ["object/apply:os.system [touch {}]", "object/new:subprocess.Popen [[touch, {}]]"])
@pytest.mark.parametrize("key", ["network_def", "imports"])
def test_objects_of_yaml_are_refused(tag: str, key: str, tmp_path: Path, models: Path) -> None:
    bundle, sign = bundle_with(tmp_path, "yaml", **{key: "HERE"}), tmp_path / "executed"
    file = bundle / "configs" / "inference.yaml"
    text = file.read_text().replace("HERE", "!!python/" + tag.format(sign))
    file.write_text(text)
    with pytest.raises(ModelError, match="could not determine a constructor"):
        import_bundle(bundle, "m")
    assert not sign.exists()
    yaml.unsafe_load(text)
    assert Path(sign).exists() or "Popen" in tag


def test_aliases_of_yaml_that_multiply_are_refused(tmp_path: Path, models: Path) -> None:
    lines = ["l0: &l0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    bundle = bundle_with(tmp_path, "yaml", network_def={**UNET, "channels": "@l11"})
    file = bundle / "configs" / "inference.yaml"
    file.write_text("\n".join([*lines, file.read_text()]))
    with pytest.raises(ModelError, match="its references go in a circle, or there are too many"):
        import_bundle(bundle, "m")


def test_a_description_of_megabytes_is_refused(tmp_path: Path, models: Path) -> None:
    bundle = bundle_with(tmp_path, "json")
    (bundle / "configs" / "metadata.json").write_text('{"a": "' + "x" * (1 << 20) + '"}')
    with pytest.raises(ModelError, match="is larger than 1024 kB, which no description is"):
        import_bundle(bundle, "m")


# Weights


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_that_would_execute_code_is_refused_by_its_type(
    case: str, zipped: bool, tmp_path: Path, models: Path
) -> None:
    function, arguments, name = CALLS[case]
    sign = tmp_path / "executed"
    weights = {**random_network(SPLEEN).state_dict(), "x": Calls(function, *arguments(sign))}
    bundle = write_bundle(tmp_path, replace(SPLEEN, zipped=zipped), weights)
    with pytest.raises(ModelError, match=rf"contains the type .*{name}.* nothing was executed"):
        import_bundle(bundle, "m")
    assert not sign.exists()
    assert not models.exists()


def test_a_whole_network_in_a_pickle_is_refused(tmp_path: Path, models: Path) -> None:
    with pytest.raises(ModelError, match=r"contains the type monai\.networks\.nets\.unet\.UNet"):
        import_bundle(write_bundle(tmp_path, SPLEEN, random_network(SPLEEN)), "m")


def test_a_pickle_named_torchscript_is_not_executed(tmp_path: Path, models: Path) -> None:
    sign, bundle = tmp_path / "executed", write_bundle(tmp_path, SPLEEN)
    torch.save(Calls(os.system, f"touch {sign}"), bundle / "models" / "model.ts")
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(ModelError, match="is not TorchScript, or is damaged"):
        import_bundle(bundle, "m", allow_torchscript=True)
    assert not sign.exists()


def test_tensors_that_claim_more_than_the_file_has_are_refused(tmp_path: Path, models: Path) -> None:
    weights = random_network(SPLEEN).state_dict()
    name = next(name for name, each in weights.items() if each.ndim == 5)
    weights[name] = torch.zeros(1).expand(weights[name].shape)
    with pytest.raises(ModelError, match=f"{name} claims more numbers than the file has"):
        import_bundle(write_bundle(tmp_path, SPLEEN, weights), "m")


# Zips


def rewritten(bundle: Path, *entries: tuple[zipfile.ZipInfo, bytes]) -> Path:
    """The zip of a bundle with further entries."""
    with zipfile.ZipFile(bundle, "a", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return bundle


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


OUTSIDE = ("../executed", "bundle/../../executed", "/tmp/executed", "C:/executed", "..\\executed", "bundle\\..\\..\\x")


@pytest.mark.parametrize("name", OUTSIDE)
def test_files_outside_of_a_zip_are_refused(name: str, tmp_path: Path, models: Path) -> None:
    bundle = rewritten(write_bundle(tmp_path, replace(SPLEEN, zipped=True)), (zipfile.ZipInfo(name), b"x"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match=r"which is outside of the zip; it was not unpacked"):
        import_bundle(bundle, "m")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["bundle/models/other", "bundle/models/model.ts", "elsewhere"])
def test_links_in_a_zip_are_refused(name: str, tmp_path: Path, models: Path) -> None:
    bundle = rewritten(write_bundle(tmp_path, replace(SPLEEN, zipped=True)), (link(name), b"/etc/passwd"))
    with pytest.raises(ModelError, match=f"{name}' is a link, which is not read"):
        import_bundle(bundle, "m")


def test_one_name_twice_and_two_bundles_are_refused(tmp_path: Path, models: Path) -> None:
    bundle = write_bundle(tmp_path, replace(SPLEEN, zipped=True))
    twice = tmp_path / "twice.zip"
    twice.write_bytes(bundle.read_bytes())
    with pytest.warns(UserWarning, match="Duplicate name"):
        rewritten(twice, (zipfile.ZipInfo("bundle/configs/metadata.json"), b"{}"))
    with pytest.raises(ModelError, match=r"holds 'bundle/configs/metadata\.json' twice"):
        import_bundle(twice, "m")
    rewritten(bundle, (zipfile.ZipInfo("other/configs/metadata.json"), b"{}"))
    with pytest.raises(ModelError, match="holds 2 bundles; give a zip of one: bundle/, other/"):
        import_bundle(bundle, "m")


def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path: Path, models: Path) -> None:
    bundle = write_bundle(tmp_path, SPLEEN)
    (bundle / "models" / "model.pt").unlink()
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (bundle / "configs").iterdir():
            archive.write(file, f"configs/{file.name}")
        archive.writestr("models/model.pt", bytes(50_000_000))
    with pytest.raises(ModelError, match=r"model\.pt: claims 0\.05 GB, packed to .* which is not believed"):
        import_bundle(packed, "m")


@pytest.mark.parametrize("name", ["configs/metadata.json", "models/model.pt"])
def test_sizes_of_gigabytes_in_the_directory_are_refused(name: str, tmp_path: Path, models: Path) -> None:
    bundle = write_bundle(tmp_path, replace(SPLEEN, zipped=True))
    content = bytearray(bundle.read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(f"bundle/{name}".encode()))
    content[at + 24 : at + 28] = (0xFFFFFFF0).to_bytes(4, "little")  # of the unpacked file
    bundle.write_bytes(content)
    with pytest.raises(ModelError, match=r"claims 4\.29 GB, packed to .* which is not believed"):
        import_bundle(bundle, "m")


@pytest.mark.parametrize("length", [0, 1, 100, 2000])
def test_other_files_and_zips_cut_short_are_refused(length: int, tmp_path: Path, models: Path) -> None:
    bundle = write_bundle(tmp_path, replace(SPLEEN, zipped=True))
    bundle.write_bytes(bundle.read_bytes()[:length])
    with pytest.raises(ModelError, match="is not a zip, or was not copied completely"):
        import_bundle(bundle, "m")


def test_bytes_that_are_damaged_anywhere_give_one_line_or_the_same_model(tmp_path: Path, models: Path) -> None:
    """A byte of the zip changed at a time: read, or refused as the library refuses."""
    whole = write_bundle(tmp_path, replace(SPLEEN, zipped=True)).read_bytes()
    bundle, step, lines = tmp_path / "damaged.zip", max(len(whole) // 60, 1), set()
    for number, at in enumerate(range(7, len(whole), step)):
        content = bytearray(whole)
        content[at] ^= 0x55
        bundle.write_bytes(content)
        try:
            import_bundle(bundle, f"m{number}").verify()
        except (ModelError, ResourceError) as error:
            lines.add(str(error).count("\n"))
    assert lines == {0}
