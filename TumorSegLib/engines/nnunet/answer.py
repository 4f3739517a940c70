"""From the logits of nnU-Net's networks to the labels of an image and their probabilities, slice by slice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from TumorSegLib.engines.nnunet.preparation import PreparedCase
from TumorSegLib.geometry.arrays import BoolArray
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.jobs import Job
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.protocols import LEAST_PROBABILITY, LabelAnswer, Result


class Answer:
    """Collects the slices of an answer. Only the part of the image is kept where a label has a probability."""

    def __init__(self, spec: ModelSpec, case: PreparedCase, with_uncertainty: bool) -> None:
        self._spec, self._case, self._regions = spec, case, spec.nnunet_input.regions
        shape = tuple(case.grid.shape[axis] for axis in case.turn.order)
        self._labels = np.zeros(shape, np.uint8)
        self._probability = np.zeros(shape, np.float32)
        self._entropy = np.zeros(shape, np.float32) if with_uncertainty else None
        self._parts = [_Part(shape) for _ in spec.labels]

    def of(self, logits: torch.Tensor, job: Job) -> Result:
        """The result for logits ``[labels, *lattice]``; it has no info yet."""
        (first, _), *ranges = self._case.crop
        at = tuple(slice(low, high) for low, high in ranges)
        with torch.inference_mode():
            for number, each in enumerate(self._case.restoring.slices(logits), start=first):
                job.check("while its answer was resampled")
                self._add((number, *at), self._probabilities(each), (ranges[0][0], ranges[1][0]))
        return self._result()

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(logits) if self._regions else torch.softmax(logits, dim=0)

    def _add(self, at: tuple[int | slice, ...], probabilities: torch.Tensor, corner: tuple[int, int]) -> None:
        values = list(self._spec.labels.values())
        own = probabilities if self._regions else probabilities[1:]
        highest = own.amax(dim=0)
        if self._regions:
            labels = torch.zeros(highest.shape, dtype=torch.uint8)
            for value, each in zip(values, own):
                labels[each > 0.5] = value
        else:
            labels = probabilities.argmax(dim=0).to(torch.uint8)
            # Of two classes, so that it exceeds 0.5 where this label is more probable than the background.
            highest = highest / (highest + probabilities[0])
        self._labels[at], self._probability[at] = labels.numpy(), highest.numpy()
        if self._entropy is not None:
            self._entropy[at] = self._entropies(probabilities).numpy()
        order = range(len(values)) if self._regions else [value - 1 for value in values]
        for part, number in zip(self._parts, order):
            part.add(int(at[0]), own[number].numpy(), corner)  # type: ignore[arg-type]

    def _entropies(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Bits; of overlapping regions the largest."""
        p = probabilities.clamp(1e-7, 1 - 1e-7)
        if self._regions:
            return -(p * p.log2() + (1 - p) * (1 - p).log2()).amax(dim=0)
        return -(p * p.log2()).sum(dim=0)

    def _result(self) -> Result:
        grid, turn = self._case.grid, self._case.turn
        labels = {}
        for (name, value), part in zip(self._spec.labels.items(), self._parts):
            array, ranges = part.whole()
            order = np.argsort(turn.order)
            ends = [
                (n - high, n - low) if axis in turn.flipped else (low, high)
                for axis, (n, (low, high)) in enumerate(zip(self._labels.shape, ranges))
            ]
            k, j, i = (ends[axis] for axis in order)
            box: Box = (i, j, k)
            labels[name] = LabelAnswer(value, box, np.ascontiguousarray(turn.back(array)), self._regions)

        def volume(array: npt.NDArray[np.float32], role: str) -> Volume:
            return Volume(grid, np.ascontiguousarray(turn.back(array)), role)

        mask = Mask(grid, np.ascontiguousarray(turn.back(self._labels)))
        uncertainty = None if self._entropy is None else volume(self._entropy, "uncertainty")
        return Result(mask, volume(self._probability, "probability"), uncertainty, labels=labels)


class _Part:
    """The probability of one label where it is not negligible, as float16, collected slice by slice."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._slices: list[tuple[int, tuple[int, int], npt.NDArray[np.float16]]] = []

    def add(self, number: int, probability: npt.NDArray[np.float32], corner: tuple[int, int]) -> None:
        """Adds a slice, whose first voxel lies at ``corner``."""
        marked: BoolArray = probability >= LEAST_PROBABILITY
        rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
        if rows.size:
            r, c = int(rows[0]), int(columns[0])
            cut = probability[r : int(rows[-1]) + 1, c : int(columns[-1]) + 1]
            self._slices.append((number, (corner[0] + r, corner[1] + c), cut.astype(np.float16)))

    def whole(self) -> tuple[npt.NDArray[np.float16], tuple[tuple[int, int], ...]]:
        """The array and the half-open ranges where it lies; empty where there is nothing."""
        if not self._slices:
            return np.zeros((0, 0, 0), np.float16), ((0, 0),) * 3
        lows = [min(n for n, _, _ in self._slices)]
        highs = [max(n for n, _, _ in self._slices) + 1]
        for axis in (0, 1):
            lows.append(min(corner[axis] for _, corner, _ in self._slices))
            highs.append(max(corner[axis] + cut.shape[axis] for _, corner, cut in self._slices))
        array = np.zeros([high - low for low, high in zip(lows, highs)], np.float16)
        for number, corner, cut in self._slices:
            r, c = corner[0] - lows[1], corner[1] - lows[2]
            array[number - lows[0], r : r + cut.shape[0], c : c + cut.shape[1]] = cut
        self._slices.clear()
        return array, tuple(zip(lows, highs))
