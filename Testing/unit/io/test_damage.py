"""No damaged file gives an image: either what was stored comes back, voxel for voxel and in its place, or an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from Testing.unit.cases.damage import damaged, seeds, write_all
from TumorSegLib.errors import TumorSegError
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume


def read(path: Path) -> Volume | Mask:
    return read_mask(path) if path.name.endswith(".seg.nrrd") else read_volume(path, "image")


def silently_wrong(folder: Path, first: int, count: int) -> list[str]:
    """The cases that gave other voxels or another place, or an exception that is not the library's."""
    whole = write_all(folder / "whole")
    right = {name: read(path) for name, path in whole.items()}
    names, wrong, refused = list(whole), [], 0
    for n, rng in enumerate(seeds(first, count)):
        name = names[n % len(names)]
        path, words = damaged(whole[name], folder / "damaged", rng)
        try:
            image = read(path)
            if image.grid != right[name].grid or not np.array_equal(image.array, right[name].array):
                wrong.append(f"case {first + n}: {name}, {words}")
        except TumorSegError:
            refused += 1
        except Exception as error:
            wrong.append(f"case {first + n}: {name}, {words}: {type(error).__name__} {error}")
        shutil.rmtree(folder / "damaged")
    assert refused > count / 2, "most damage is such that nothing can be read"
    return wrong


def test_a_damaged_image_file_is_refused_or_reads_the_same(tmp_path: Path) -> None:
    assert silently_wrong(tmp_path, 0, 160) == []


@pytest.mark.slow
def test_a_damaged_image_file_is_refused_or_reads_the_same_2000_times(tmp_path: Path) -> None:
    assert silently_wrong(tmp_path, 1000, 2000) == []
