"""Files are replaced whole or not at all."""

from __future__ import annotations

import errno
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


@pytest.mark.parametrize(
    ("name", "suffixes"),
    [
        ("a.seg.nrrd", ".seg.nrrd"),
        ("a.nii.gz", ".nii.gz"),
        ("v1.2.json", ".2.json"),
        ("model", ""),
        (f"a.{'b' * 249}.nii", ".nii"),
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
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow UTF-8 names only")
def test_names_that_are_not_utf_8_are_written_and_can_be_written_of(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xfc.csv")
    write_text(path, f"file,{path.name}\nr\u00e4")
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xfc.csv"]
    assert path.read_text(encoding="utf-8") == "file,\\xfc.csv\nr\u00e4"


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (ZeroDivisionError("of the caller"), ZeroDivisionError, "of the caller"),
        (OSError(28, "No space left on device"), WriteError, "No space"),
    ],
)
def test_a_failure_leaves_the_old_file_or_folder_and_nothing_else(
    tmp_path: Path, kind: str, failure: Exception, error: type[Exception], words: str
) -> None:
    def write_half() -> None:
        with replacing(old) as temporary:
            temporary.mkdir() if kind == "folder" else temporary.write_text("half")
            raise failure

    old = tmp_path / "old"
    old.mkdir() if kind == "folder" else old.touch()
    with pytest.raises(error, match=words):
        write_half()
    assert list(tmp_path.rglob("*")) == [old]
    assert old.is_dir() or old.read_text() == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_targets_that_cannot_be_replaced_are_refused_and_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WriteError, match="pipe: cannot be written, it is a device or a pipe"):
        write_text(tmp_path / "pipe", "new")
    with pytest.raises(WriteError, match="link: cannot be written"):
        make_fresh(tmp_path / "link")
    with pytest.raises(WriteError, match="real: cannot be written") as caught:
        write_text(tmp_path / "real", "text")
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(WriteError, match=r"nowhere/a\.txt.*does not exist"):
        write_text(tmp_path / "nowhere" / "a.txt", "text")
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "pipe").is_fifo()


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "stale.txt").touch()
    make_fresh(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "fresh"]


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


def test_a_read_only_file_system_is_an_error_of_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    monkeypatch.setattr(os, "unlink", refuse)  # such a system refuses also where there is no file
    with pytest.raises(WriteError, match=r"report.json: cannot be written: Read-only file system"):
        write_text(tmp_path / "report.json", "text")


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
