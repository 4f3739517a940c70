"""Following a tumour from the slice it was boxed on to the slices above and below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from TumorSegLib.geometry import FloatArray

# The box of one slice's answer, grown by this, is the prompt of the next: tumours grow from slice to slice, and a tight
# prompt would only ever shrink.
MARGIN_MM = 4.0
# The tumour has ended where the model's own estimate of its intersection over union is lower,
LEAST_SCORE = 0.5
# where the answer is smaller than this share of the largest one so far, or than this area,
LEAST_SHARE, LEAST_AREA_MM2 = 0.05, 15.0
# or where it is this many times larger than the one before: something else was segmented.
MOST_GROWTH = 2.0

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says about one slice: probabilities ``[rows, columns]`` and its own score of them, 0 to 1."""

    probability: npt.NDArray[np.float32]
    score: float


#: Asks the model about a slice, by its number, with a rectangle: first row, end of rows, first and end of columns.
Look = Callable[[int, FloatArray], Answer]


def follow(
    look: Look, start: int, rectangle: FloatArray, limits: tuple[int, int], spacing_mm: tuple[float, float]
) -> dict[int, npt.NDArray[np.float32]]:
    """Segments a slice and then its neighbours, one after the other, until the tumour ends on both sides.

    Args:
        look: asks the model.
        start: number of the slice that was boxed.
        rectangle: its box, in voxels of the view.
        limits: first slice and end of those that may be looked at.
        spacing_mm: of rows and columns.

    Returns:
        Probabilities by number of slice; none where the first slice has no tumour.
    """
    first = look(start, rectangle)
    if not _inside(first).any():
        return {}
    found = {start: first.probability}
    for ahead in (range(start + 1, limits[1]), range(start - 1, limits[0] - 1, -1)):
        last, largest = _inside(first), int(_inside(first).sum())
        for number in ahead:
            answer = look(number, _around(last, spacing_mm))
            inside = _inside(answer)
            area = int(inside.sum())
            least = max(LEAST_SHARE * largest, LEAST_AREA_MM2 / (spacing_mm[0] * spacing_mm[1]))
            if answer.score < LEAST_SCORE or area < least or area > MOST_GROWTH * last.sum():
                break
            found[number], last, largest = answer.probability, inside, max(largest, area)
    return found


def _inside(answer: Answer) -> BoolArray:
    inside: BoolArray = answer.probability > 0.5
    return inside


def _around(mask: BoolArray, spacing_mm: tuple[float, float]) -> FloatArray:
    """The rectangle around a mask, grown by the margin and kept within the slice."""
    limits = []
    for axis, (n, step) in enumerate(zip(mask.shape, spacing_mm)):
        hit = np.flatnonzero(mask.any(axis=1 - axis))
        limits += [max(hit[0] - MARGIN_MM / step, 0), min(hit[-1] + 1 + MARGIN_MM / step, n)]
    return np.array(limits, dtype=float)
