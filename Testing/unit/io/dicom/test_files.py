"""Which files of a folder are read: linked, without preamble, with odd names; and that others are told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.filewriter import write_dataset

from Testing.unit.cases.dicom_series import cut_off, voxels, write_series, write_slice
from TumorSegLib.errors import ReadError, ResourceError, TumorSegError
from TumorSegLib.io.dicom.series import read_series, read_series_and_notes

posix = pytest.mark.skipif(os.name == "nt", reason="links and pipes as POSIX has them")


def read(folder: Path) -> Any:
    return sitk.GetArrayFromImage(read_series(folder))


def split_series(folder: Path, elsewhere: Path) -> Any:
    """A series with its last two slices in another folder."""
    stored = write_series(folder)
    elsewhere.mkdir(parents=True)
    for name in ("03.dcm", "04.dcm"):
        (folder / name).rename(elsewhere / name)
    return stored.astype(int) - 1024


@posix
@pytest.mark.parametrize("linked", ["folder", "slices"])
def test_linked_slices_are_read_once(tmp_path: Path, linked: str) -> None:
    case, archive = tmp_path / "case", tmp_path / "archive"
    values = split_series(case, archive)
    for path in archive.iterdir() if linked == "slices" else [archive]:
        (case / path.name).symlink_to(path)
    assert np.array_equal(read(case), values)
    (case / "circle").symlink_to(case)
    (case / "up").symlink_to(tmp_path)
    (case / "again.dcm").symlink_to(case / "00.dcm")
    os.link(case / "01.dcm", case / "hard.dcm")
    assert np.array_equal(read(case), values)


@posix
def test_a_broken_link_is_refused_as_a_missing_slice(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "05.dcm").symlink_to(tmp_path / "gone.dcm")
    with pytest.raises(ReadError, match=r"05\.dcm: cannot be read: No such file .*may be a slice of series 1\.2\.3"):
        read_series(tmp_path)


def unreadable(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Lets the system refuse to list a folder, as it does to all but root."""
    true: Callable[..., Any] = os.scandir

    def scandir(path: Any = ".") -> Iterator[Any]:
        if str(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return true(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_an_unreadable_folder_is_refused_as_missing_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split_series(tmp_path, tmp_path / "more")
    unreadable(monkeypatch, tmp_path / "more")
    for read_it in (read_series, lambda folder: read_series(folder, "1.2.3")):
        with pytest.raises(ReadError, match="more: cannot be read: Permission denied"):
            read_it(tmp_path)


def test_unreadable_files_of_other_series_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "a", SeriesInstanceUID="1.1")
    write_series(tmp_path / "b", SeriesInstanceUID="1.2")
    unreadable(monkeypatch, tmp_path / "c")
    (tmp_path / "c").mkdir()
    cut_off(tmp_path / "b" / "02.dcm", 200)
    assert read_series_and_notes(tmp_path / "a")[1] == ()
    notes = read_series_and_notes(tmp_path, "1.1")[1]
    assert len(notes) == 2
    assert all(note.startswith("left out: ") for note in notes)
    assert "c: cannot be read: Permission denied" in " ".join(notes)
    assert "02.dcm: truncated" in " ".join(notes)


@posix
def test_a_named_pipe_is_no_image(tmp_path: Path) -> None:
    """In a process of its own: to open the pipe would mean to wait for a writer for ever."""
    write_series(tmp_path)
    os.mkfifo(tmp_path / "pipe.dcm")
    code = "import sys; from TumorSegLib.io.dicom.series import read_series; print(read_series(sys.argv[1]).GetSize())"
    command = [sys.executable, "-c", code, str(tmp_path)]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert run.stdout == "(7, 6, 5)\n"


def strip(path: Path, how: str) -> None:
    """Takes the preamble off a file, or all before the data set, written with or without value types."""
    data = path.read_bytes()
    if how == "preamble":
        path.write_bytes(data[132:])
        return
    dataset = pydicom.dcmread(path)
    buffer = pydicom.filebase.DicomBytesIO() if hasattr(pydicom.filebase, "DicomBytesIO") else BytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, how == "implicit"
    write_dataset(buffer, pydicom.Dataset({tag: dataset[tag] for tag in set(dataset.keys())}))
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize("how", ["preamble", "implicit", "explicit"])
@pytest.mark.parametrize("which", [range(5), [3, 4]])
def test_slices_without_preamble_and_suffix_are_read(tmp_path: Path, how: str, which: Any) -> None:
    stored = write_series(tmp_path, names=[f"IM{n}" for n in range(5)])
    for n in which:
        strip(tmp_path / f"IM{n}", how)
    assert np.array_equal(read(tmp_path), stored.astype(int) - 1024)
    assert np.array_equal(read(tmp_path / "IM4"), stored.astype(int) - 1024)


@pytest.mark.parametrize("how", ["preamble", "implicit", "explicit"])
def test_a_slice_without_preamble_that_is_cut_off_is_refused(tmp_path: Path, how: str) -> None:
    write_series(tmp_path, names=[f"IM{n}" for n in range(5)])
    strip(tmp_path / "IM4", how)
    for kept in ((tmp_path / "IM4").stat().st_size - 1, 300, 60):
        cut_off(tmp_path / "IM4", kept)
        with pytest.raises(ReadError, match=r"IM4: .*truncated"):
            read_series(tmp_path)


@pytest.mark.parametrize("how", ["implicit", "explicit"])
def test_slices_encoded_unlike_their_transfer_syntax_are_read(tmp_path: Path, how: str) -> None:
    stored = write_series(tmp_path)
    for path in tmp_path.iterdir():
        meta = path.read_bytes()[: path.read_bytes().index(b"\x08\x00\x16\x00")]
        strip(path, how)
        if how == "explicit":  # implicit little endian, with the length kept
            meta = meta.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")
        path.write_bytes(meta + path.read_bytes())
    assert np.array_equal(read(tmp_path), stored.astype(int) - 1024)


def test_contours_without_preamble_and_other_files_are_left_out(tmp_path: Path) -> None:
    stored = write_series(tmp_path)
    write_slice(tmp_path / "contours", voxels()[0], (0, 0, 0), "RTSTRUCT", Rows=None, SeriesInstanceUID="1.8")
    strip(tmp_path / "contours", "explicit")
    (tmp_path / "text").write_text("\x08\x00 is how a poem can begin")
    (tmp_path / "short").write_bytes(b"\x08\x00\x05")
    assert np.array_equal(read(tmp_path), stored.astype(int) - 1024)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep names in Unicode")
def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xfcll"))
    stored = write_series(folder)
    assert np.array_equal(read(folder), stored.astype(int) - 1024)
    cut_off(folder / "02.dcm", 600)
    with pytest.raises(ReadError, match="truncated"):
        read_series(folder)


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices without preamble are written anew into the folder for temporary files."""

    def full(_self: Any, name: Any, **_options: Any) -> None:
        raise OSError(28, "No space left on device", str(name))

    write_series(tmp_path, names=[f"IM{n}" for n in range(5)])
    strip(tmp_path / "IM4", "preamble")
    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(ResourceError, match=r"series 1\.2\.3: .*4\.dcm: No space left on device"):
        read_series(tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_in_the_header_is_refused_or_harmless(tmp_path: Path, seed: int) -> None:
    """But for the two numbers that values are scaled by: another one is as good as the true one."""
    write_series(tmp_path)
    truth = read(tmp_path)
    data = (tmp_path / "02.dcm").read_bytes()
    scale = data.index(b"\x28\x00\x52\x10"), data.index(b"\xe0\x7f\x10\x00")
    places = [n for n in range(128, scale[1] + 12) if not scale[0] <= n < scale[1]]
    random = np.random.default_rng(seed)
    for place in random.choice(places, 60, replace=False):
        changed = bytearray(data)
        changed[place] ^= 1 << int(random.integers(8))
        (tmp_path / "02.dcm").write_bytes(changed)
        try:
            assert np.array_equal(read(tmp_path), truth)
        except TumorSegError:
            continue
