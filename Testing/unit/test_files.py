"""Files are replaced whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from TumorSegLib.errors import WriteError
from TumorSegLib.files import replacing, write_text


def test_the_new_file_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old")
    write_text(path, "neu: ä")
    assert path.read_text(encoding="utf-8") == "neu: ä"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_device_is_no_file_to_be_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "report.json"
    os.mkfifo(pipe)
    with pytest.raises(WriteError, match=r"report\.json: cannot be written, it is a device or a pipe"):
        write_text(pipe, "new")
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def write_half(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "suffixes"),
    [
        ("a.seg.nrrd", ".seg.nrrd"),
        ("a.nii.gz", ".nii.gz"),
        ("v1.2.json", ".2.json"),
        ("model", ""),
        (f"a.{'b' * 240}.nii", ".nii"),
        ("a.\N{GREEK SMALL LETTER PI}.nii", ".nii"),
    ],
)
def test_the_temporary_name_lies_beside_is_short_and_keeps_the_suffixes(
    tmp_path: Path, name: str, suffixes: str
) -> None:
    with replacing(tmp_path / name) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name[9:] == suffixes
        assert temporary.name.isascii()
        temporary.touch()


@pytest.mark.parametrize("length", [246, 250, 255])
def test_names_as_long_as_the_system_allows_are_written(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("a" * (length - 5) + ".json")
    write_text(path, "long")
    assert path.read_text() == "long"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow UTF-8 names only")
def test_names_that_are_not_utf_8_are_written_and_can_be_written_of(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xfc.csv")
    write_text(path, f"file,{path.name}\nr\u00e4")
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xfc.csv"]
    assert path.read_text(encoding="utf-8") == "file,\\xfc.csv\nr\u00e4"


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "stale.txt").touch()
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "fresh.txt").touch()
    assert [path.name for path in folder.iterdir()] == ["fresh.txt"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("old")
    rename = os.replace

    def fail_for_new(source: Any, target: Any) -> None:
        if (Path(source) / "fresh").exists():
            raise OSError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "replace", fail_for_new)
    with pytest.raises(WriteError, match=r"model: cannot be written: Permission denied"):
        make_fresh(folder)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["model", "model/weights"]


def make_fresh(folder: Path) -> None:
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "fresh").touch()


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(WriteError, match=r"link: cannot be written"):
        make_fresh(tmp_path / "link")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def make_half(folder: Path) -> None:
    with replacing(folder) as temporary:
        temporary.mkdir()
        raise OSError(28, "No space left on device")


def test_a_failed_folder_is_removed_and_the_old_one_kept(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(WriteError, match="No space left"):
        make_half(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"nowhere/a\.txt.*does not exist"):
        write_text(tmp_path / "nowhere" / "a.txt", "text")


def test_an_operating_system_error_becomes_a_write_error(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(WriteError, match=r"taken: cannot be written") as caught:
        write_text(tmp_path / "taken", "text")  # a folder is there
    assert isinstance(caught.value.__cause__, OSError)
    assert (tmp_path / "taken" / "file").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows opens no folders")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_durable_writing_flushes_every_file_and_folder_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flushed(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        done.append("renamed")
        replace(source, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no names of open files here")
    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    with replacing(tmp_path / "model", durable=True) as temporary:
        if kind == "folder":
            temporary.mkdir()
            (temporary / "weights").write_text("w")
        else:
            temporary.write_text("w")
    inner = ["weights", temporary.name] if kind == "folder" else [temporary.name]
    assert done == [*inner, "renamed", tmp_path.name]
    done.clear()
    write_text(tmp_path / "image.json", "{}")
    assert done == ["renamed"]
