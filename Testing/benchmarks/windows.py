"""Which windows of the automatic model can be left out: two measurements, none on a test case.

The first one moves or enlarges the windows, or lets them overlap more, and compares the masks in the tissue of a trunk
and of the half image of the benchmark of speed. The second one looks for marks with a pass at twice the spacing: which
windows hold a mark, which of them the coarse pass finds, and what share of the marks lies in those that it misses. Each
voxel counts for the window whose centre is nearest. The trunks, which hold no sarcoma, are those of the
`patient data <docs/training.md>`_; without them only the half image is computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from Testing.benchmarks.measuring import format_row
from Testing.benchmarks.sliding_window import MODEL, make_channels
from TumorSegLib.engines.auto.body import find_body, windows_on_body
from TumorSegLib.engines.auto.engine import _cut, _padded
from TumorSegLib.engines.auto.sliding_window import Maps, WindowPlan, predict, window_starts
from TumorSegLib.engines.inputs import Channels, prepare
from TumorSegLib.engines.placement import Placement
from TumorSegLib.engines.runtime import OPENVINO, choose_runtime
from TumorSegLib.engines.weights import load_network
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.images.resample import resample_probability
from TumorSegLib.images.volume import Images
from TumorSegLib.io.images import read_volume
from TumorSegLib.models.registry import find_model

PLAN = WindowPlan((48, 64, 64), 0.25)
#: Names to a plan, and by how many voxels the windows are moved along each axis.
OTHERS = {
    "moved by 7 voxels along each axis": (PLAN, 7),
    "overlap 0.5": (replace(PLAN, overlap=0.5), 0),
    "64 x 96 x 96": (replace(PLAN, size=(64, 96, 96)), 0),
    "96 x 128 x 128, overlap 1/8": (WindowPlan((96, 128, 128), 0.125), 0),
}
HALF = (96, 256, 256)
#: Files ``<name>_<role>.nii.gz`` in the folder ``general`` of the data; the first is also used for other windows.
TRUNKS = {
    "acrin_nsclc_042/ACRIN-NSCLC-FDG-PET-042": ("ct", "pet"),
    "unlabelled_trunk/HCC_006": ("ct",),
    "unlabelled_trunk/CMB-CRC-MSB-01068": ("ct",),
    "unlabelled_trunk/R01-001": ("ct",),
    "unlabelled_trunk/ACRIN-FLT-Breast_001": ("ct",),
}
COARSER = 2
#: A window is kept where the coarse probability exceeds one of these.
THRESHOLDS = (0.5, 0.1, 0.02, 0.005)
#: Computes the maps of channels with windows of a plan.
Engine = Callable[[Channels, WindowPlan], Maps]


def run(device: str) -> None:
    """Prints a row for each image and kind of windows, then one for each trunk and the coarse pass."""
    model, engine = find_model(MODEL), _engine(device)
    first = [(name, prepare(images, model.spec)) for name, images in islice(_trunks(), 1)]
    for name, channels in (*first, ("half image", make_channels(model, HALF, "half"))):
        for row in other_windows(engine, channels):
            print(f"{name}, {format_row(row)}", flush=True)
    coarse = model.spec.volume_input
    coarse = replace(coarse, spacing_mm=tuple(COARSER * step for step in coarse.spacing_mm))
    for name, images in _trunks():
        row = coarse_pass(engine, *(prepare(images, spec) for spec in (model.spec, replace(model.spec, input=coarse))))
        print(f"{name}, {'+'.join(images)}, {format_row(row)}", flush=True)


def _trunks() -> Iterator[tuple[str, Images]]:
    folder = Path(os.environ.get("TUMORSEG_DATA", "../shared/data")) / "general"
    for name, roles in TRUNKS.items():
        files = {role: folder / f"{name}_{role}.nii.gz" for role in roles}
        if all(file.is_file() for file in files.values()):
            yield Path(name).name, {role: read_volume(file, role) for role, file in files.items()}


def _engine(device: str) -> Engine:
    """The window engine of the model in the number type that the device computes natively, on OpenVINO on a CPU."""
    model, runtime = find_model(MODEL), choose_runtime(device)
    runtime = replace(runtime, backend=OPENVINO) if runtime.device.type == "cpu" else runtime
    network = Placement(model.spec, load_network(model), runtime).network(runtime)

    def maps(channels: Channels, plan: WindowPlan) -> Maps:
        array, tissue, inner = _padded(channels, plan)
        return _cut(predict(network, torch.from_numpy(array), tissue, plan, runtime), inner)

    return maps


def other_windows(engine: Engine, channels: Channels) -> Iterator[dict[str, Any]]:
    """How many windows were computed, and Dice in the tissue to the mask of ``PLAN``, for each of the ``OTHERS``."""
    usual = engine(channels, PLAN).probability > 0.5
    for name, (plan, moved) in OTHERS.items():
        part = _from(channels, moved)
        maps = engine(part, plan)
        expected = usual[moved:, moved:, moved:] & part.tissue
        agreement = dice((maps.probability > 0.5) & part.tissue, expected)
        yield {"windows": name, "computed": maps.windows - maps.skipped, "dice": agreement}


def _from(channels: Channels, first: int) -> Channels:
    """The channels without so many voxels at the beginning of each axis."""
    i, j, k = channels.grid.size
    part = (slice(first, None),) * 3
    return replace(
        channels,
        grid=channels.grid.crop(((first, i), (first, j), (first, k))),
        array=np.ascontiguousarray(channels.array[(slice(None), *part)]),
        tissue=channels.tissue[part],
    )


def coarse_pass(engine: Engine, fine: Channels, coarse: Channels) -> dict[str, Any]:
    """Windows in the body, the share with marks, and by threshold the share that is kept, and that of marks lost."""
    plan = WindowPlan(PLAN.size)
    found = engine(coarse, plan).probability.astype(np.float32)
    found = resample_probability(found, coarse.grid, fine.grid)
    marks = engine(fine, plan).probability > 0.5
    starts = [window_starts(n, size, plan.overlap) for n, size in zip(fine.grid.shape, plan.size)]
    needed = windows_on_body(find_body(fine.tissue), starts, plan.size)
    own = _of_windows(np.add, marks.astype(np.int64), starts, plan.size)[needed]
    largest = _of_windows(np.maximum, found, starts, plan.size)[needed]
    row: dict[str, Any] = {"windows": own.size, "with_marks": float((own > 0).mean())}
    for threshold in THRESHOLDS:
        kept = largest > threshold
        row[f"kept_at_{threshold}"] = float(kept.mean())
        row[f"lost_at_{threshold}"] = float(own[~kept].sum() / max(own.sum(), 1))
    return row


def _of_windows(add: np.ufunc, values: np.ndarray, starts: Sequence[Sequence[int]], size: Sequence[int]) -> np.ndarray:
    """Sums or maxima of the voxels of each window, ``[windows along k, along j, along i]``."""
    for axis, (firsts, length) in enumerate(zip(starts, size)):
        values = add.reduceat(values, [0, *((low + high + length) // 2 for low, high in pairwise(firsts))], axis)
    return values
