"""A data set as nnU-Net keeps its raw data: two channels, two labels that touch each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import write_mask, write_volume

DATASET: dict[str, Any] = {
    "name": "Boxes",
    "licence": "CC BY 4.0",
    "reference": "for tests",
    "channel_names": {"0": "CT", "1": "T2"},
    "labels": {"background": 0, "left part": 1, "right": 2},
    "numTraining": 10,
    "file_ending": ".nii.gz",
}


def write_raw(folder: Path, names: Sequence[str] = tuple("abcdefghij"), **changes: Any) -> Path:
    """The folder of a data set; ``changes`` of its ``dataset.json``."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps({**DATASET, **changes}), encoding="utf-8")
    for seed, name in enumerate(names):
        write_case(folder, name, seed)
    return folder


def write_case(folder: Path, name: str, seed: int, values: Sequence[int] = (1, 2)) -> None:
    """A box, its halves along i the two labels, of 100 and 300 HU, bright in T2; around it 0 HU and noise."""
    rng = np.random.default_rng(seed)
    grid = Grid.from_spacing((16, 20, 18 + 2 * (seed % 2)), (1.0, 1.0, 2.0))
    mask = np.zeros(grid.shape, dtype=np.uint8)
    mask[4:12, 5:15, 4:9], mask[4:12, 5:15, 9:14] = values
    ct = np.array([0, 100, 300], dtype=np.float32)[np.minimum(mask, 2)] + rng.normal(0, 10, grid.shape)
    t2 = 50.0 + 400 * (mask > 0) + rng.normal(0, 20, grid.shape)
    write_volume(Volume(grid, ct.astype(np.float32), "ct"), folder / "imagesTr" / f"{name}_0000.nii.gz")
    write_volume(Volume(grid, t2.astype(np.float32), "mr"), folder / "imagesTr" / f"{name}_0001.nii.gz")
    write_mask(Mask(grid, mask), folder / "labelsTr" / f"{name}.nii.gz")
