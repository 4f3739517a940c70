"""Speed of boxes: LiteMedSAM on 40 slices of a phantom's CT, 512 x 512 voxels of 0.98 mm.

Against the engine stands the plain way: one slice after the other through encoder and decoder, whole maps, float32. It
is given the same prompts and its answers are joined as the engine joins them. Then a second, smaller box is asked for
on the slices embedded, and once more after its slices were embedded ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from Testing.benchmarks.cases import clinical_case
from Testing.benchmarks.measuring import cpu_timed, format_row, peak_memory_gib, timed
from Testing.benchmarks.sliding_window import dice
from TumorSegLib.engines.box.embeddings import Embeddings
from TumorSegLib.engines.box.engine import BoxEngine, interpolated
from TumorSegLib.engines.box.rectangles import SCALES, scaled, sections
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.networks import tiny_vit
from TumorSegLib.engines.runtime import OPENVINO
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.volume import Images, Mask
from TumorSegLib.jobs import Job
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import Refinement

MODEL, SLICES, MARGIN = "lite-medsam", 40, 8


def run(device: str, shape: tuple[int, int, int], backends: Sequence[str] = ("torch",)) -> None:
    """Prints seconds of a box, of the plain loop and their ratio, Dice between the two, and seconds of second boxes.

    OpenVINO computes in float32, PyTorch in the precision that the engine chooses.
    """
    images, truth = clinical_case(shape)
    box, ct = _box(truth), {"ct": images["ct"]}
    plain_taken, plain = timed(lambda: _plain(device, ct, box))
    for backend in backends:
        engine = load_engine(MODEL, device, "float32" if backend == OPENVINO else "auto", backend, kind="box")
        where = f"{engine.info['device']}, {torch.get_num_threads()} threads"
        print(f"{where}, {engine.info.backend} {engine.info['precision']}; boxes", flush=True)
        _print_figures(engine, ct, truth, box, (plain_taken, plain))


def _print_figures(engine: BoxEngine, ct: Images, truth: Mask, box: Box, by: tuple[float, np.ndarray]) -> None:
    _warm_up(engine, ct, box)
    prepared = engine.prepare(ct)
    taken, (computed, answer) = timed(lambda: cpu_timed(lambda: engine.segment(prepared, BoxPrompt(box))))
    plain_taken, plain = by
    one, other = answer.probability >= 128, plain > 0.5
    count = box[2][1] - box[2][0]
    figures = {
        "slices": count,
        "seconds": taken,
        "processor_seconds": computed,
        "plain_float32_seconds": plain_taken,
        "ratio": plain_taken / taken,
    }
    tumour = float((truth.array[slices(box)][one] > 0).sum() / max(one.sum(), 1))
    print(
        format_row({**figures, "dice_to_plain": dice(one, other), "share_in_tumour": tumour, **_parts(answer, count)})
    )
    second = BoxPrompt(tuple((low + 2, high - 2) for low, high in box))  # type: ignore[arg-type]
    taken, (computed, again) = timed(lambda: cpu_timed(lambda: engine.segment(prepared, second)))
    row = {"second_box_seconds_per_slice": taken / (count - 4), "processor_seconds_per_slice": computed / (count - 4)}
    print(format_row({**row, **_parts(again, count - 4)}))
    fresh = engine.prepare(ct)
    ahead, _ = timed(lambda: engine.embed(fresh, second))
    taken, _ = timed(lambda: engine.segment(fresh, second))
    row = {"embedding_ahead_seconds_per_slice": ahead / (count - 4), "then_seconds_per_slice": taken / (count - 4)}
    print(format_row({**row, "peak_memory_gib": peak_memory_gib()}), flush=True)


def _box(truth: Mask) -> Box:
    """The tumour's box with a margin, and 40 slices of it."""
    tight = truth.bounding_box()
    if tight is None:
        raise ValueError("the phantom has no tumour")
    i, j = ((max(low - MARGIN, 0), min(high + MARGIN, n)) for (low, high), n in zip(tight[:2], truth.grid.size))
    middle, depth = sum(tight[2]) // 2, truth.grid.size[2]
    first = min(max(middle - SLICES // 2, 0), max(depth - SLICES, 0))
    return i, j, (first, min(first + SLICES, depth))


def _warm_up(engine: BoxEngine, images: Images, box: Box) -> None:
    i, j, (low, _) = box
    engine.segment(engine.prepare(images), BoxPrompt((i, j, (low, low + 4))))


def _plain(device: str, images: Images, box: Box) -> np.ndarray:
    """The loop over slices that the engine is compared with: its probability ``[k, j, i]`` in the box."""
    engine = load_engine(MODEL, device, "float32", "torch", kind="box")
    prepared = engine.prepare(images)
    view = engine.view(prepared, box, 2)
    rectangles = sections(view, box)
    answers = []
    with _whole_maps():
        for place, number in enumerate(range(*box[2])):
            rectangle = scaled(rectangles[place][None], SCALES[place % len(SCALES)])
            fresh = replace(prepared, embeddings=Embeddings())
            embedding = engine.model.encode(fresh, view, [number], Job())
            answers.append(engine.model.decode(fresh, view, embedding, rectangle, Job())[0][0])
    return interpolated(view, np.stack(answers), range(*box[2]), box)


@contextmanager
def _whole_maps() -> Iterator[None]:
    """TinyViT as published: no strips."""
    strip, tiny_vit.STRIP = tiny_vit.STRIP, 10**6
    try:
        yield
    finally:
        tiny_vit.STRIP = strip


def _parts(answer: Refinement, count: int) -> dict[str, float]:
    return {f"{name}_per_slice": seconds / count for name, seconds in answer.info["seconds"].items()}
