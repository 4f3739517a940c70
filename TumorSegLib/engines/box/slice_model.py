"""A model of the SAM family on the slices of a view: voxels and rectangles outside, the network's pixels inside."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from TumorSegLib.engines.box.embeddings import BATCH, Embeddings
from TumorSegLib.engines.box.views import FloatStack, View
from TumorSegLib.engines.networks.sam import PIXELS, Points, Sam
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.engines.workers import workers
from TumorSegLib.errors import ModelError, ResourceError
from TumorSegLib.geometry.grid import FloatArray
from TumorSegLib.jobs import Job
from TumorSegLib.memory import is_out_of_memory, memory_errors
from TumorSegLib.models.spec import ModelSpec

# SAM's mask prompt is its own earlier answer, a logit; of a probability p this many times 2 p - 1.
MASK_LOGIT = 10.0
#: Points of one slice: row and column in voxels of the view, and whether they lie in the tumour.
SlicePoint = tuple[float, float, bool]
# Where networks are read to, and where they go when memory does not suffice elsewhere.
ON_CPU = Runtime(torch.device("cpu"), torch.float32)
Answer = TypeVar("Answer")


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

    Where the memory of a GPU does not suffice it goes on one slice at a time, and where that is too much on the CPU, in
    float32 and with a warning; :meth:`return_to_device` ends that.

    Raises :class:`ModelError` where the model's ``arguments`` do not say how the network wants its pixels, and
    :class:`ResourceError` where the device has no room for it.

    Attributes:
        runtime: where it computes now.
        wanted: where it was made to compute.
        image_size: edge of the network's input in pixels.
    """

    def __init__(self, spec: ModelSpec, network: Sam, runtime: Runtime) -> None:
        pixels = str(spec.arguments.get("pixels"))
        if pixels not in PIXELS:
            raise ModelError(f"model {spec.name!r}: pixels {pixels!r} is not one of {', '.join(PIXELS)}")
        self._pixels = PIXELS[pixels]
        self._name, self._network, self.wanted = spec.name, network.eval(), runtime
        self.image_size = network.image_size
        self.runtime, self._batch = ON_CPU, BATCH
        self._place(runtime)

    def return_to_device(self) -> None:
        """Ends what a lack of memory led to: back to the device it was made for, unless that is still full."""
        self._batch = BATCH
        if self.runtime != self.wanted:
            with suppress(ResourceError):
                self._place(self.wanted)

    def embedded(
        self, kept: Embeddings, view: View, array: npt.NDArray[np.float32], numbers: Sequence[int], job: Job
    ) -> torch.Tensor:
        """Embeddings of slices ``[n, channels, s, s]``, float16 on the CPU; those not kept yet are computed and kept.

        Args:
            kept: embeddings of slices of this image seen so far.
            view: how slices are seen.
            array: ``[k, j, i]`` of the whole grid, from 0 to 1.
            numbers: of the slices, along the view's axis.
            job: its steps are slices.
        """
        found = {number: kept.get(view, number) for number in numbers}
        missing = [number for number in numbers if found[number] is None]
        job.advance(len(found) - len(missing))
        job.check()
        stack = view.stack(array)

        def keep(some: Sequence[int], embeddings: torch.Tensor) -> None:
            for number, embedding in zip(some, embeddings):
                found[number] = kept.keep(view, number, embedding)
            job.advance(len(some))
            job.check()

        # A CPU is slower on several slices at once (LiteMedSAM on two cores: 0.48 s a slice alone, 0.56 s in pairs).
        self._in_batches(lambda some: self._encode(view, stack[some]), missing, keep, on_cpu=1)
        job.lap("encode")
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
            return self._network.encode(images.to(self.runtime.device)).to("cpu", torch.float16)

    def answered(
        self, view: View, embeddings: torch.Tensor, prompts: SlicePrompts, job: Job
    ) -> tuple[FloatStack, FloatArray]:
        """Probabilities of slices ``[n, rows, columns]``, and the model's own estimates of their quality ``[n]``."""
        answers, scores = [], []

        def collect(_: Sequence[int], answered: tuple[torch.Tensor, torch.Tensor]) -> None:
            answers.append(answered[0])
            scores.append(answered[1])
            job.check()

        def decode(some: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
            part = slice(some[0], some[-1] + 1)
            return self._decode(view, embeddings[part], prompts.part(part))

        self._in_batches(decode, range(len(embeddings)), collect, on_cpu=BATCH)
        job.lap("decode")
        return torch.cat(answers).numpy(), torch.cat(scores).double().numpy()

    @torch.inference_mode()
    def _decode(self, view: View, embeddings: torch.Tensor, prompts: SlicePrompts) -> tuple[torch.Tensor, torch.Tensor]:
        device = self.runtime.device
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

    def _in_batches(
        self,
        compute: Callable[[Sequence[int]], Answer],
        numbers: Sequence[int],
        take: Callable[[Sequence[int], Answer], None],
        on_cpu: int,
    ) -> None:
        """Computes some slices at a time and has the answers taken in order; sparingly where memory does not suffice.

        Args:
            compute: slices by their numbers.
            numbers: of all slices.
            take: is given numbers and their answer.
            on_cpu: slices at a time on a CPU.
        """
        while numbers:
            size = on_cpu if self.runtime.device.type == "cpu" else self._batch
            batches = [numbers[first : first + size] for first in range(0, len(numbers), size)]
            try:
                with workers(self.runtime.device, len(batches)) as in_order:
                    for some, answer in zip(batches, in_order(compute, batches)):
                        take(some, answer)
                        numbers = numbers[len(some) :]
            except (RuntimeError, MemoryError) as error:
                if self.runtime.device.type == "cpu" or not is_out_of_memory(error):
                    raise
            if numbers:  # not while there is the error, whose traceback holds what that try had in memory
                self._save_memory()

    def _save_memory(self) -> None:
        """Goes on one slice at a time, or, where that was too much, on the CPU."""
        torch.cuda.empty_cache()
        if self._batch > 1:
            self._batch = 1
            return
        full = self.runtime.name
        self._place(ON_CPU)
        warnings.warn(f"not enough memory on {full} for {self._name!r}: it goes on on the CPU, slower", stacklevel=2)

    def _place(self, runtime: Runtime) -> None:
        with memory_errors(f"to put {self._name!r} on {runtime.name}"):
            try:
                self._network.to(device=runtime.device)
            except (RuntimeError, MemoryError):
                self._network.to(device=self.runtime.device)  # some of its weights may have gone already
                raise
        self.runtime = runtime

    def _precision(self, enabled: bool = True) -> AbstractContextManager[object]:
        if not enabled or self.runtime.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.runtime.device.type, self.runtime.dtype)


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
