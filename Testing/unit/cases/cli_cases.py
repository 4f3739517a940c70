"""Files of a small case and the check of refusals, for the tests of the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.fakes import noise_volume
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.io.images import write_volume

GRID = Grid.from_spacing((20, 24, 28), (2.0, 2.0, 3.0), (-10, 5, 7), np.diag([-1.0, -1.0, 1.0]))


def write_images(folder: Path, grid: Grid = GRID) -> None:
    """Writes ``ct.nii.gz`` and ``pet.nii.gz``."""
    for seed, role in enumerate(("ct", "pet")):
        write_volume(noise_volume(grid, role, seed), folder / f"{role}.nii.gz")


def save(path: Path | str, data: Any) -> None:
    Path(path).write_text(json.dumps(data), encoding="utf-8")


def inputs(*entries: str) -> list[str]:
    """The entries as arguments, each after ``--input``."""
    return [text for entry in entries for text in ("--input", entry)]


def markups(*items: dict[str, Any]) -> dict[str, Any]:
    """A markups file of 3D Slicer with point lists or regions."""
    return {"@schema": "https://slicer.org/markups-schema-v1.0.3.json#", "markups": items}


def points(grid: Grid, *voxels: tuple[int, int, int], name: str = "tumour") -> dict[str, Any]:
    """A point list as 3D Slicer saves it, in LPS."""
    controls = [{"label": "F-1", "position": (grid.to_ras(ijk) * (-1, -1, 1)).tolist()} for ijk in voxels]
    return {"type": "Fiducial", "name": name, "coordinateSystem": "LPS", "controlPoints": controls}


def content(folder: Path) -> dict[Path, bytes | None]:
    """Every file below a folder with its bytes; folders and pipes with None."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def assert_refused(run: Callable[[], int], words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with status 2 and one line on standard error, and changes no file."""
    before = content(folder)
    assert run() == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.startswith("tumorseg: error: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert content(folder) == before
