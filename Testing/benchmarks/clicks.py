"""Speed and memory of clicking: a phantom's PET/CT, 512 x 512 x 200 voxels of 0.98 x 0.98 x 3.27 mm.

The simulated user of the evaluation protocol clicks, ten times each, from nothing, from the tumour with a third of it
cut off, and from nothing again; then everything is undone and done again. Like a display, it follows the mask by edits;
how long it takes to read the whole mask after an undo is told apart. At last the automatic engine replaces the mask,
and that is undone. The peak of memory is that of the process so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from Testing.benchmarks.cases import clinical_case
from Testing.benchmarks.measuring import format_row, peak_memory_gib, timed, timed_both
from training.clicks.simulate import next_click
from TumorSegLib.engines.load import load_engine
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.volume import Images, Mask
from TumorSegLib.prompts.types import Click
from TumorSegLib.session.edit import Edit
from TumorSegLib.session.session import Session

MODELS, CLICKS = ("lesion-clicks", "sts-clicks"), 10
# The simulated user looks this far around the tumour; errors farther away would take seconds to find.
LOOKS_MM = 60.0


def run(device: str, shape: tuple[int, int, int], backends: Sequence[str]) -> None:
    """Prints seconds of the first click, of clicks and undo (median, 95th percentile), their parts, and memory.

    Those of the processor, all cores together, depend less on what else the machine computes.
    """
    images, truth = clinical_case(shape)
    for model in MODELS:
        for backend in backends:
            _run(model, device, images, truth, backend)


def _run(model: str, device: str, images: Images, truth: Mask, backend: str) -> None:
    engine = load_engine(model, device, backend=backend, kind="clicks")
    info = engine.info
    print(f"{model}: {info.backend} on {info.device}, {torch.get_num_threads()} threads, {info.precision}")
    auto = load_engine("sts-auto", device, backend=backend, kind="auto")
    session = Session(images, auto=auto, clicks=engine)
    edits, seconds, processor = [], [], []
    for start in (np.zeros_like(truth.array), _cut(truth), np.zeros_like(truth.array)):
        session.replace_mask(Mask(truth.grid, start))
        current = start.copy()
        for _ in range(CLICKS):
            click = _next(current, truth)
            if click is None:
                break
            taken, edit = timed_both("", lambda click=click: session.add_click(click))  # type: ignore[misc]
            current[slices(edit.box)] = edit.after
            edits.append(edit)
            seconds.append(taken["_seconds"])
            processor.append(taken["_processor_seconds"])
    first = {"first_click_seconds": seconds[0], "first_click_processor_seconds": processor[0]}
    spread = {**_spread("click", seconds[1:]), **_spread("click_processor", processor[1:])}
    print(format_row({**first, **spread, **_parts(edits[1:])}))
    undo, read = [], []
    for _ in edits:
        undo.append(timed(session.undo)[0])
        read.append(timed(lambda: session.mask)[0])
    redo = [timed(session.redo)[0] for _ in edits]
    figures = {**_spread("undo", undo), **_spread("read_mask", read), **_spread("redo", redo)}
    print(format_row({**figures, "peak_memory_gib": peak_memory_gib()}))
    session.segment()
    print(format_row({"undo_of_segment_seconds": timed(session.undo)[0]}))


def _cut(truth: Mask) -> np.ndarray:
    array = truth.array.copy()
    (_, _), (_, _), (low, high) = truth.bounding_box() or ((0, 1),) * 3
    array[low : low + (high - low) // 3] = 0
    return array


def _next(current: np.ndarray, truth: Mask) -> Click | None:
    box = _around(truth)
    prompt = next_click(current[slices(box)] > 0, truth.array[slices(box)] > 0, truth.grid.spacing)
    if prompt is None:
        return None
    i, j, k = (int(at + low) for at, (low, _) in zip(prompt.points[0], box))
    return Click((i, j, k), prompt.positive)


def _around(truth: Mask) -> Box:
    box = truth.bounding_box() or ((0, 1),) * 3
    margins = [round(LOOKS_MM / step) for step in truth.grid.spacing]
    i, j, k = ((max(a - m, 0), min(b + m, n)) for (a, b), m, n in zip(box, margins, truth.grid.size))
    return i, j, k


def _spread(name: str, seconds: list[float]) -> dict[str, float]:
    return {
        f"{name}_median_seconds": float(np.median(seconds)),
        f"{name}_p95_seconds": float(np.percentile(seconds, 95)),
    }


def _parts(edits: list[Edit]) -> dict[str, float]:
    """Median seconds of what the engine did for a click."""
    stages = edits[0].info["seconds"]
    return {f"{stage}_median_seconds": float(np.median([e.info["seconds"][stage] for e in edits])) for stage in stages}
