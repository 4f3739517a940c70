"""From the answers of imported networks to the labels of an image and their probabilities, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from TumorSegLib.engines.imported.case import PreparedCase
from TumorSegLib.engines.label_parts import Part, Storage, Whole
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.jobs import Job
from TumorSegLib.protocols import LabelAnswer, Result


@dataclass(frozen=True)
class Reading:
    """What the channels of an answer mean.

    Attributes:
        labels: value in the mask by name.
        outputs: channel by name.
        regions: whether the labels may overlap, each with a sigmoid, and not the classes of a softmax, the first of
            which is the background.
        ordered: whether a later region covers earlier ones in the mask; else the smaller the larger one.
    """

    labels: Mapping[str, int]
    outputs: Mapping[str, int]
    regions: bool
    ordered: bool = True

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities of logits ``[channels, ...]``."""
        return torch.sigmoid(logits) if self.regions else torch.softmax(logits, dim=0)

    def activate_all(self, logits: torch.Tensor) -> None:
        """Overwrites logits ``[channels, *lattice]`` by probabilities, layer by layer to save memory."""
        for number in range(logits.shape[1]):
            logits[:, number] = self.activate(logits[:, number].float())

    @property
    def values(self) -> UInt8Array:
        """Value in the mask by channel, 0 for the background."""
        values = np.zeros(max(self.outputs.values()) + 1, np.uint8)
        for name, channel in self.outputs.items():
            values[channel] = self.labels[name]
        return values


class Answer:
    """Collects the slices of an answer: of each label the part of the image where it has a probability."""

    def __init__(self, reading: Reading, case: PreparedCase, with_uncertainty: bool) -> None:
        self._reading, self._case, self._regions = reading, case, reading.regions
        shape = tuple(case.grid.shape[axis] for axis in case.turn.order)
        self._labels = np.zeros(shape, np.uint8)
        self._probability = np.zeros(shape, np.float32)
        self._entropy = np.zeros(shape, np.float32) if with_uncertainty else None
        storage = Storage()
        self._parts = {name: Part(storage) for name in reading.labels}
        self._values = torch.from_numpy(reading.values)

    def of(self, logits: torch.Tensor, job: Job, *, activate_first: bool = False) -> Result:
        """The result for logits ``[channels, *lattice]``, which may be overwritten; it has no info yet.

        Args:
            logits: of the network.
            job: asked for cancelling between slices.
            activate_first: whether probabilities are restored to the image, and not logits.
        """
        (first, _), *ranges = self._case.crop
        at = tuple(slice(low, high) for low, high in ranges)
        with torch.inference_mode():
            if activate_first:
                self._reading.activate_all(logits)
            for number, each in enumerate(self._case.restoring.slices(logits), start=first):
                job.check("while its answer was resampled")
                probabilities = each if activate_first else self._reading.activate(each)
                self._add((number, *at), probabilities, (ranges[0][0], ranges[1][0]))
        return self._result()

    def _add(self, at: tuple[int | slice, ...], probabilities: torch.Tensor, corner: tuple[int, int]) -> None:
        outputs = self._reading.outputs
        own = probabilities if self._regions else probabilities[1:]
        highest = own.amax(dim=0)
        if self._regions:
            labels = torch.zeros(highest.shape, dtype=torch.uint8)
            for name, value in self._reading.labels.items():
                labels[probabilities[outputs[name]] > 0.5] = value
        else:
            labels = self._values[probabilities.argmax(dim=0)]
            # Of two classes, so that it exceeds 0.5 where this label is more probable than the background.
            highest = highest / (highest + probabilities[0]).clamp_min(torch.finfo(torch.float32).tiny)
        self._labels[at], self._probability[at] = labels.numpy(), highest.numpy()
        if self._entropy is not None:
            self._entropy[at] = self._entropies(probabilities).numpy()
        for name, part in self._parts.items():
            part.add(int(at[0]), probabilities[outputs[name]].numpy(), corner)  # type: ignore[arg-type]

    def _entropies(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Bits; of overlapping regions the largest."""
        p = probabilities.clamp(1e-7, 1 - 1e-7)
        if self._regions:
            return -(p * p.log2() + (1 - p) * (1 - p).log2()).amax(dim=0)
        return -(p * p.log2()).sum(dim=0)

    def _result(self) -> Result:
        grid, turn = self._case.grid, self._case.turn
        labels, whole = {}, {name: part.whole() for name, part in self._parts.items()}
        if self._regions and not self._reading.ordered:
            self._paint_by_size(whole)
        for name, value in self._reading.labels.items():
            array, ranges = whole.pop(name)
            order = np.argsort(turn.order)
            ends = [
                (n - high, n - low) if axis in turn.flipped else (low, high)
                for axis, (n, (low, high)) in enumerate(zip(self._labels.shape, ranges))
            ]
            k, j, i = (ends[axis] for axis in order)
            box: Box = (i, j, k)
            labels[name] = LabelAnswer(value, box, turn.back(array), self._regions)  # type: ignore[arg-type]

        def volume(array: npt.NDArray[np.float32], role: str) -> Volume:
            return Volume(grid, np.ascontiguousarray(turn.back(array)), role)

        mask = Mask(grid, np.ascontiguousarray(turn.back(self._labels)))
        uncertainty = None if self._entropy is None else volume(self._entropy, "uncertainty")
        return Result(mask, volume(self._probability, "probability"), uncertainty, labels=labels)

    def _paint_by_size(self, whole: Mapping[str, Whole]) -> None:
        """Writes the labels anew, the largest region first, so that each shows."""
        inside = {name: array > 0.5 for name, (array, _) in whole.items()}
        for name in sorted(inside, key=lambda each: -int(inside[each].sum())):
            at = tuple(slice(low, high) for low, high in whole[name][1])
            self._labels[at][inside[name]] = self._reading.labels[name]
