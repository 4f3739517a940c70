"""Where models are: by name, by path, and broken folders."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.fakes import tiny_spec, write_spec
from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.models import folder as folders
from TumorSegLib.models import registry
from TumorSegLib.models.folder import WEIGHTS_FILE
from TumorSegLib.models.registry import (
    broken_folders,
    default_clicks,
    find_model,
    list_models,
    model_roots,
    new_model_folder,
)
from TumorSegLib.models.spec import SPEC_FILE


@pytest.fixture
def roots(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Empty folders for bundled models and for the user's."""
    bundled, user = tmp_path / "bundled", tmp_path / "user"
    bundled.mkdir()
    user.mkdir()
    monkeypatch.setattr(registry, "BUNDLED", bundled)
    monkeypatch.setenv("TUMORSEG_MODELS", str(user))
    return bundled, user


def test_models_are_listed_by_name_and_a_bundled_one_hides_its_namesake(roots):
    bundled, user = roots
    write_spec(bundled / "b", tiny_spec("shared", version="1.0.0"))
    write_spec(user / "x", tiny_spec("shared", version="2.0.0"))
    write_spec(user / "y", tiny_spec("another"))
    assert [(m.spec.name, m.path) for m in list_models()] == [("another", user / "y"), ("shared", bundled / "b")]


def test_no_models_at_all_are_an_empty_list(roots):
    assert list_models() == []
    with pytest.raises(ModelError, match=r"no model 'x': neither a model folder nor .*known \(none\)"):
        find_model("x")


def test_broken_and_unfinished_folders_are_left_out_with_a_warning(roots):
    _, user = roots
    write_spec(user / "good", tiny_spec("good"))
    write_spec(user / ".1234.unfinished", tiny_spec("unfinished"))
    (user / "bad").mkdir()
    (user / "bad" / SPEC_FILE).write_text("{")
    with pytest.warns(UserWarning, match="left out: .*bad is not a model folder"):
        assert [m.spec.name for m in list_models()] == ["good"]
    assert find_model("good").path == user / "good"
    with pytest.raises(ModelError, match=r"known \(good\); left out: .*bad"):
        find_model("bad")


def test_broken_folders_are_listed_with_the_error(roots):
    bundled, user = roots
    write_spec(user / "good", tiny_spec("good"))
    for folder, file in ((bundled / "bad", SPEC_FILE), (user / "half", WEIGHTS_FILE), (user / ".1.new", WEIGHTS_FILE)):
        folder.mkdir()
        (folder / file).write_text("{")
    (user / "notes").mkdir()
    broken = broken_folders()
    assert [each.path for each in broken] == [bundled / "bad", user / "half"]
    assert all("model.json cannot be read" in str(each.error) for each in broken)


def test_new_model_folder_is_refused_if_folder_or_name_exists(roots):
    _, user = roots
    assert new_model_folder("m-1.0_b") == user / "m-1.0_b"
    (user / "empty").mkdir()
    write_spec(user / "elsewhere", tiny_spec("named"))
    for name, folder in (("empty", "empty"), ("named", "elsewhere")):
        with pytest.raises(ArgumentError, match=f"there is a model '{name}' already, in .*user.{folder};"):
            new_model_folder(name)
    for name in ("", "../m", "a b", ".hidden", "sub/m"):
        with pytest.raises(ArgumentError, match=re.escape(f"{name!r} is not a valid folder name")):
            new_model_folder(name)


def test_a_folder_in_the_working_directory_does_not_hide_the_model_of_that_name(roots, tmp_path, monkeypatch):
    write_spec(roots[0] / "folder", tiny_spec("named"))
    write_spec(tmp_path / "work" / "named", tiny_spec("named", version="9.9.9"))
    write_spec(tmp_path / "work" / "unnamed", tiny_spec("other", version="8.8.8"))
    monkeypatch.chdir(tmp_path / "work")
    assert find_model("named").path == roots[0] / "folder"
    for path in (f".{os.sep}named", Path("named"), str(tmp_path / "work" / "named")):
        assert find_model(path).spec.version == "9.9.9"
    assert find_model("unnamed").spec.version == "8.8.8"


def test_descriptions_are_read_once_until_they_change(roots, monkeypatch):
    user, read = roots[1], []
    load = folders.load_json
    monkeypatch.setattr(folders, "load_json", lambda path: read.append(path.parent.name) or load(path))
    for name in ("a", "b"):
        write_spec(user / name, tiny_spec(name))
    for _ in range(3):
        assert find_model("b").path == user / "b"
        assert find_model(user / "b").path == user / "b"
        assert [model.spec.name for model in list_models()] == ["a", "b"]
    assert read == ["a", "b"]

    write_spec(user / "b", tiny_spec("b", version="2.0.0"))
    write_spec(user / "c", tiny_spec("c"))
    assert find_model("b").spec.version == "2.0.0"
    assert find_model("c").path == user / "c"
    shutil.rmtree(user / "a")
    with pytest.raises(ModelError, match=r"known \(b, c\)"):
        find_model("a")
    assert read == ["a", "b", "b", "c"]


def test_a_published_model_that_is_not_here_is_named_with_the_command_that_gets_it(roots):
    with pytest.raises(ModelError, match=r"; to get it, run: tumorseg models download lite-medsam$"):
        find_model("lite-medsam")


@pytest.mark.parametrize(
    ("value", "folder"), [(None, ".tumorseg/models"), ("", ".tumorseg/models"), ("~/mine", "mine")]
)
def test_folder_of_the_users_models(monkeypatch, value, folder):
    monkeypatch.delenv("TUMORSEG_MODELS", raising=False)
    if value is not None:
        monkeypatch.setenv("TUMORSEG_MODELS", value)
    assert model_roots() == (registry.BUNDLED, Path.home() / folder)


def test_registry_preprocessing_and_lazy_engines_import_no_torch():
    code = (
        "import sys, TumorSegLib.models.registry, TumorSegLib.engines.inputs, TumorSegLib.engines.lazy\n"
        "sys.exit(', '.join({'torch', 'monai'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("auto", "roles", "shapes", "name"),
    [
        (None, (), False, "lesion-clicks"),
        (None, ("ct", "pet"), False, "lesion-clicks"),
        ("another", ("ct",), False, "lesion-clicks"),
        ("sts-auto", ("ct", "pet", "mr_t1"), False, "sts-clicks"),
        ("sts-auto", ("pet",), False, "sts-clicks"),
        ("sts-auto", ("ct",), True, "lesion-clicks"),  # it takes no lines and boxes
        ("sts-auto", ("ct", "mr_flair"), False, "lesion-clicks"),  # nor this image
    ],
)
def test_the_click_model_where_none_is_named(auto: str | None, roles: tuple[str, ...], shapes: bool, name: str) -> None:
    assert default_clicks(auto, roles, shapes) == name
