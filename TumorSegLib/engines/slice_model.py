"""A model of the SAM family on the slices of a view: voxels and rectangles outside, the network's pixels inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from TumorSegLib.engines.device import Runtime
from TumorSegLib.engines.embeddings import BATCH, Embeddings
from TumorSegLib.engines.sam import PIXELS, Points, Sam
from TumorSegLib.engines.timing import Clock
from TumorSegLib.engines.views import FloatStack, View
from TumorSegLib.engines.workers import workers
from TumorSegLib.errors import Cancelled, ModelError
from TumorSegLib.geometry import FloatArray
from TumorSegLib.memory import memory_errors
from TumorSegLib.protocols import Cancel, Progress
from TumorSegLib.registry import ModelSpec

# SAM's mask prompt is its own earlier answer, a logit; of a probability p this many times 2 p - 1.
MASK_LOGIT = 10.0
#: Points of one slice: row and column in voxels of the view, and whether they lie in the tumour.
SlicePoint = tuple[float, float, bool]


class Work:
    """Progress, cancelling and timing of one task."""

    def __init__(self, steps: int, progress: Progress | None, cancel: Cancel | None) -> None:
        self.steps, self.done, self._progress, self._cancel = steps, 0, progress, cancel
        self.clock = Clock()

    def advance(self, by: int) -> None:
        """Notes that slices are done; raises :class:`Cancelled` if the caller wants to stop."""
        self.done += by
        if self._progress is not None:
            self._progress(min(self.done, self.steps), self.steps)
        self.check()

    def finish(self) -> None:
        """Tells the caller that all is done, where a tumour ended before the image as well."""
        if self._progress is not None:
            self._progress(self.steps, self.steps)

    def check(self) -> None:
        """Raises :class:`Cancelled` if the caller wants to stop."""
        if self._cancel is not None and self._cancel():
            raise Cancelled("the box was cancelled; the mask is as it was")


@dataclass(frozen=True, eq=False)
class SlicePrompts:
    """Prompts for some slices of a view.

    Attributes:
        rectangles: ``[n, 4]``: first row, end of rows, first and end of columns, in voxels of the view.
        points: per slice; as many lists as rectangles, or none at all.
        masks: probabilities ``[n, rows, columns]`` of an earlier answer; None for none.
    """

    rectangles: FloatArray
    points: Sequence[Sequence[SlicePoint]] = ()
    masks: FloatStack | None = None

    def part(self, of: slice) -> SlicePrompts:
        """Those of some of the slices."""
        return SlicePrompts(self.rectangles[of], self.points[of], None if self.masks is None else self.masks[of])


class SliceModel:
    """Embeds slices and answers prompts on them.

    Raises :class:`ModelError` where the model's ``arguments`` do not say how the network wants its pixels, and
    :class:`ResourceError` where the device has no room for it.
    """

    def __init__(self, spec: ModelSpec, network: Sam, runtime: Runtime) -> None:
        self._runtime = runtime
        pixels = str(spec.arguments.get("pixels"))
        if pixels not in PIXELS:
            raise ModelError(f"model {spec.name!r}: pixels {pixels!r} is not one of {', '.join(PIXELS)}")
        self._pixels = PIXELS[pixels]
        with memory_errors(f"to put {spec.name!r} on {runtime.name}"):
            self._network = network.eval().to(device=runtime.device)
        self.image_size = self._network.image_size

    def embedded(
        self, kept: Embeddings, view: View, array: npt.NDArray[np.float32], numbers: Sequence[int], work: Work
    ) -> torch.Tensor:
        """Embeddings of slices ``[n, channels, s, s]``, float16; those not kept yet are computed and kept.

        Args:
            kept: embeddings of slices of this image seen so far.
            view: how slices are seen.
            array: ``[k, j, i]`` of the whole grid, from 0 to 1.
            numbers: of the slices, along the view's axis.
            work: told of every slice.
        """
        found = {number: kept.get(view, number) for number in numbers}
        missing = [number for number in numbers if found[number] is None]
        work.advance(len(found) - len(missing))
        stack = view.stack(array)
        # A CPU is slower on several slices at once (LiteMedSAM on two cores: 0.48 s a slice alone, 0.56 s in pairs).
        batch = 1 if self._runtime.device.type == "cpu" else BATCH
        batches = [missing[first : first + batch] for first in range(0, len(missing), batch)]
        with workers(self._runtime.device, len(batches)) as in_order:
            encoded = iter(in_order(lambda some: self._encode(view, stack[some]), batches))
            for some in batches:
                for number, embedding in zip(some, next(encoded)):
                    found[number] = kept.keep(view, number, embedding)
                work.advance(len(some))
        work.clock.lap("encode")
        return torch.stack([embedding for embedding in found.values() if embedding is not None])

    @torch.inference_mode()
    def _encode(self, view: View, stack: FloatStack) -> torch.Tensor:
        mean, std = (torch.tensor(values)[:, None, None] for values in (self._pixels.mean, self._pixels.std))
        images = (view.to_input(stack) - mean) / std
        # SAM fills a slice up with 0 after this normalisation.
        images[:, :, view.pixels[0] :] = 0
        images[:, :, :, view.pixels[1] :] = 0
        # Elsewhere than in TinyViT, which knows what must stay float32, bfloat16 moved contours (Dice 0.98 to float32).
        with self._precision(self._network.encodes_mixed):
            return self._network.encode(images.to(self._runtime.device)).to(torch.float16)

    def answered(
        self, view: View, embeddings: torch.Tensor, prompts: SlicePrompts, work: Work
    ) -> tuple[FloatStack, FloatArray]:
        """Probabilities of slices ``[n, rows, columns]``, and the model's own estimates of their quality ``[n]``."""
        answers, scores = [], []
        parts = [slice(first, first + BATCH) for first in range(0, len(embeddings), BATCH)]
        with workers(self._runtime.device, len(parts)) as in_order:
            for answer, score in in_order(lambda part: self._decode(view, embeddings[part], prompts.part(part)), parts):
                answers.append(answer)
                scores.append(score)
                work.check()
        work.clock.lap("decode")
        return torch.cat(answers).numpy(), torch.cat(scores).double().numpy()

    @torch.inference_mode()
    def _decode(self, view: View, embeddings: torch.Tensor, prompts: SlicePrompts) -> tuple[torch.Tensor, torch.Tensor]:
        device = self._runtime.device
        boxes, points, masks = view.to_pixels(prompts.rectangles).to(device), None, None
        if any(prompts.points):
            coordinates, labels = _padded(view, prompts.points)
            points = coordinates.to(device), labels.to(device)
        if prompts.masks is not None:
            logits = MASK_LOGIT * (2 * view.to_input(prompts.masks) - 1)
            edge = 4 * self._network.embedding_size
            masks = F.interpolate(logits, (edge, edge), mode="area").to(device)
        with self._precision():
            logits, scores = self._network.decode(embeddings.to(device).float(), boxes, points, masks)
        return torch.sigmoid(view.from_logits(logits[:, 0])).cpu(), scores[:, 0].cpu()

    def _precision(self, enabled: bool = True) -> torch.autocast:
        reduced = enabled and self._runtime.dtype is not torch.float32
        return torch.autocast(self._runtime.device.type, self._runtime.dtype, reduced)


def _padded(view: View, points: Sequence[Sequence[SlicePoint]]) -> Points:
    """Points in pixels of the input ``[n, m, 2]``, and SAM's labels ``[n, m]``: -1 where a slice has fewer."""
    most = max(len(some) for some in points)
    coordinates, labels = torch.zeros(len(points), most, 2), torch.full((len(points), most), -1.0)
    for n, some in enumerate(points):
        for m, (row, column, positive) in enumerate(some):
            # The middle of a voxel, as a rectangle without extent; SAM counts from the middle of the first pixel.
            middle = np.array([[row, row, column, column]]) + 0.5
            coordinates[n, m] = view.to_pixels(middle)[0, :2] - 0.5
            labels[n, m] = float(positive)
    return coordinates, labels
