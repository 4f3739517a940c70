"""The script that segments without the main window, run as Slicer runs it."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

import TumorSegLib as ts

MODULE = Path(__file__).resolve().parents[3] / "TumorSeg"
SCRIPT = MODULE / "Resources" / "scripts" / "batch_segment.py"


class Slicer:
    """``Slicer --no-main-window --python-script``, which ends with a status."""

    def __init__(self, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import slicer

        self._monkeypatch = monkeypatch
        self._statuses: list[int] = []
        monkeypatch.syspath_prepend(str(MODULE))
        monkeypatch.setattr(host.app, "has_main_window", False)
        monkeypatch.setattr(slicer.util, "exit", self._statuses.append)

    def run(self, *arguments: str) -> int:
        self._monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return self._statuses.pop()


@pytest.fixture
def application(host: Any, monkeypatch: pytest.MonkeyPatch) -> Slicer:
    """Slicer without its main window."""
    return Slicer(host, monkeypatch)


@pytest.fixture
def ct(tmp_path: Path) -> str:
    """A CT of a small phantom, in a file."""
    phantom = ts.make_phantom(3, shape=(12, 24, 24), spacing_mm=(8.0, 8.0, 8.0))
    path = tmp_path / "ct.nii.gz"
    ts.write_volume(phantom.images["ct"], path)
    return str(path)


@pytest.mark.parametrize("separator", [(), ("--",)], ids=["plain", "separated"])
def test_batch_segment_of_a_case(application: Slicer, ct: str, tmp_path: Path, separator: tuple[str, ...]) -> None:
    output = tmp_path / "tumour.seg.nrrd"
    assert application.run(*separator, "--input", f"ct={ct}", "--output", str(output), "--device", "cpu") == 0
    assert ts.read_mask(output).grid == ts.read_volume(ct).grid


def test_batch_segment_bad_input_is_one_line_and_status_2(
    application: Slicer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "nothing.nii.gz"
    assert application.run("--input", f"ct={missing}", "--output", str(tmp_path / "mask.nii.gz")) == 2
    assert str(missing) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_batch_segment_bad_arguments_are_status_2(application: Slicer, capsys: pytest.CaptureFixture[str]) -> None:
    assert application.run("--", "--output", "mask.nii.gz") == 2
    assert "--input" in capsys.readouterr().err
    assert application.run("--help") == 0


def test_batch_segment_names_missing_packages_and_installs_none(
    application: Slicer, host: Any, ct: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host.packaging.missing = {"monai"}
    assert application.run("--input", f"ct={ct}", "--output", str(tmp_path / "mask.nii.gz")) == 2
    said = capsys.readouterr().err
    assert "lacks monai>=1.4" in said
    assert "open the module TumorSeg" in said
    assert "https://" in said
    assert host.dialogs.shown == []
