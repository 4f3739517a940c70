"""Thin slices: some are encoded, the others are interpolated."""

from __future__ import annotations

import pytest

from Testing.unit.engines.box_cases import BrightSam, ball, box_about, bright_engine, ct_of, pasted
from TumorSegLib.engines.box.rectangles import LEAST_SLICES, STEP_MM, sampled_slices
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions

THIN = Grid.from_spacing((80, 44, 40), (1.2, 1.1, 0.5))


@pytest.mark.parametrize(
    ("ends", "spacing", "expected"),
    [
        ((0, 64), 0.5, range(0, 64, 8)),
        ((3, 67), 0.5, range(8, 67, 8)),
        ((3, 66), 0.5, range(4, 66, 4)),
        ((10, 50), 1.0, range(12, 50, 4)),
        ((10, 50), 2.0, range(10, 50, 2)),
        ((10, 50), 3.3, range(10, 50, 1)),
        ((7, 20), 0.5, range(7, 20, 1)),
        ((7, 8), 0.1, range(7, 8, 1)),
    ],
)
def test_sampled_slices(ends: tuple[int, int], spacing: float, expected: range) -> None:
    assert sampled_slices(ends, spacing) == expected


@pytest.mark.parametrize("first", range(9))
@pytest.mark.parametrize("count", [1, 5, 16, 33, 100])
def test_sampled_slices_leave_small_gaps(first: int, count: int) -> None:
    numbers = sampled_slices((first, first + count), 0.7)
    assert len(numbers) >= min(count, LEAST_SLICES - 1)
    assert numbers.step * 0.7 <= STEP_MM
    assert numbers[0] - first < numbers.step
    assert first + count - numbers[-1] <= numbers.step


@pytest.mark.parametrize("axes", [(2,), (0, 1, 2)])
def test_a_ball_is_found_between_the_slices_too(axes: tuple[int, ...]) -> None:
    network, tumour = BrightSam(), ball(THIN, 11)
    engine, box = bright_engine(network), BoxPrompt(box_about(tumour, THIN, 3))
    prepared = engine.prepare({"ct": ct_of(THIN, tumour)})
    reported: list[tuple[int, int]] = []
    answer = engine.segment(prepared, box, BoxOptions(axes=axes), progress=lambda *numbers: reported.append(numbers))
    encoded = sum(len(sampled_slices(box.box[axis], THIN.spacing[axis])) for axis in axes)
    assert sum(network.encoded) == encoded == answer.info["slices"]
    assert reported[-1] == (encoded, encoded)
    assert encoded < 0.5 * sum(box.box[axis][1] - box.box[axis][0] for axis in axes)
    assert dice(pasted(THIN, answer), tumour) > 0.93


def test_another_box_samples_the_same_slices() -> None:
    network, tumour = BrightSam(), ball(THIN, 11)
    engine = bright_engine(network)
    prepared = engine.prepare({"ct": ct_of(THIN, tumour)})
    (i0, i1), (j0, j1), (k0, k1) = box = box_about(tumour, THIN, 3)
    assert engine.embed(prepared, BoxPrompt(box)) > 0
    assert engine.embed(prepared, BoxPrompt(((i0 + 1, i1), (j0, j1 - 1), (k0 + 1, k1 - 1)))) == 0
