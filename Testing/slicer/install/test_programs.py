"""Programs of Slicer's Python run beside Slicer, and end with all that they started; pip's reasons become words."""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from Testing.slicer.module import TUMORSEG
from TumorSegLib import TumorSegError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the launcher is a script of a POSIX shell")
#: Says who it is, and does not end when it is asked to.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("pid", os.getpid())
time.sleep(600)
"""
POLITE = """
import time
try:
    print("Progress 1 of 2")
    time.sleep(600)
except KeyboardInterrupt:
    print("taken back")
    raise SystemExit(3)
"""


@pytest.fixture
def folder(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a launcher of this Python, and programs in it."""
    monkeypatch.syspath_prepend(str(TUMORSEG.parent))
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "polite.py").write_text(POLITE)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def started(name: str, *arguments: str) -> Any:
    return import_module("TumorSegSlicer.install.programs").Program(name, arguments)


def lines_until(program: Any, count: int) -> list[str]:
    found: list[str] = []
    end = time.monotonic() + 60
    while len(found) < count and time.monotonic() < end:
        found += program.lines()
        time.sleep(0.01)
    return found


def ended(program: Any) -> int | None:
    end = time.monotonic() + 60
    while program.status is None and time.monotonic() < end:
        program.lines()
        time.sleep(0.01)
    return program.status


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # one that nobody has waited for yet is no longer alive
    return not stat.exists() or stat.read_text().rpartition(") ")[2][0] != "Z"


def test_a_program_says_its_lines_and_its_status(folder: Path) -> None:
    program = started("pip", "no-such-command")
    said = lines_until(program, 1)
    assert ended(program) == 1
    assert "no-such-command" in said[0]


def test_the_status_comes_after_the_last_line(folder: Path) -> None:
    (folder / "quick.py").write_text("print('a'); print('b')")
    program = started("quick")
    program._reader.join(60)
    assert program.status is None
    assert program.lines() == ["a", "b"]
    assert program.status == 0


def test_an_interrupted_program_can_take_back_what_it_did(folder: Path) -> None:
    program = started("polite")
    assert lines_until(program, 1) == ["Progress 1 of 2"]
    program.interrupt()
    assert lines_until(program, 1) == ["taken back"]
    ended(program)


def test_a_killed_program_is_gone_with_what_its_launcher_started(folder: Path) -> None:
    program = started("stubborn")
    (line,) = lines_until(program, 1)
    pid = int(line.split()[1])
    program.interrupt()
    assert is_alive(pid)
    program.kill()
    end = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_alive(pid)
    assert ended(program) is not None
    program.kill()  # which changes nothing


def test_a_missing_python_of_slicer_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TumorSegError, match="PythonSlicer"):
        started("pip")


@pytest.mark.parametrize(("version", "bar"), [("26.0", "raw"), ("24.1.2", "raw"), ("24.0", "off"), ("odd", "off")])
def test_pip_tells_its_progress_where_it_can(
    folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, bar: str
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _name: version)
    (folder / "tell.py").write_text("import os; print(os.environ['PIP_PROGRESS_BAR'])")
    assert lines_until(started("tell"), 1) == [bar]


# Reasons, from what pip 23 to 26 said

OFFLINE = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<HTTPSConnection>: Failed to "
    "establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/einops/",
    "ERROR: Could not find a version that satisfies the requirement einops>=0.7 (from versions: none)",
    "ERROR: No matching distribution found for einops>=0.7",
)
REASONS = [
    (OFFLINE, "download server cannot be reached"),
    ((OFFLINE[0].replace("NewConnectionError", "ProxyError"), *OFFLINE[1:]), "proxy did not let the download through"),
    (("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",), "disk is full"),
    (OFFLINE[1:], r"There is no version of einops>=0.7 for this computer"),
    (("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/opt/x'",), "be written"),
    (("ERROR: ResolutionImpossible: for help visit https://pip.pypa.io",), "do not fit to those that this Slicer has"),
    (("[WinError 32] The process cannot access the file because it is being used by another process",), "in use"),
    (("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]'))",), "certificate is not trusted"),
    (("Collecting a", "ERROR: the moon is in the way", "note: see above"), "^ERROR: the moon is in the way$"),
    (("Collecting a", ""), "^Collecting a$"),
    ((), "pip said nothing"),
]


@pytest.mark.parametrize(("lines", "words"), REASONS)
def test_reasons_of_pip_are_told_in_words(folder: Path, lines: tuple[str, ...], words: str) -> None:
    import re

    assert re.search(words, import_module("TumorSegSlicer.install.reasons").reason(lines))
