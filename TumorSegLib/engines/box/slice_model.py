"""A model of the SAM family on the slices of a view: voxels and rectangles outside, the network's pixels inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from TumorSegLib.engines.box.embeddings import SLICES_PER_PASS, Embeddings
from TumorSegLib.engines.box.views import View
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.placement import CaseDevice, Computed, Placement
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.engines.workers import Workers
from TumorSegLib.geometry.arrays import Float32Array, Float64Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.jobs import Job
from TumorSegLib.models.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class BoxCase:
    """One image of a case, prepared for a 2D model.

    Attributes:
        grid: of the first image.
        role: of the image.
        array: float32 ``[k, j, i]`` on ``grid``, from 0 to 1.
        embeddings: of the slices encoded so far.
    """

    grid: Grid
    role: str
    array: Float32Array
    embeddings: Embeddings


class SliceModel:
    """Encodes slices, and segments them from rectangles.

    Raises :class:`ModelError` where the model's ``arguments`` do not name the statistics of its pixels, and
    :class:`ResourceError` where the device has no room for it.

    Attributes:
        placement: of the network; its weights stay float32.
        image_size: edge of the network's input in pixels.
    """

    def __init__(self, spec: ModelSpec, network: Sam, runtime: Runtime) -> None:
        self._input = spec.slice_input
        self.image_size = network.image_size
        self.placement = Placement(spec, network, runtime, mixed=True)

    def encode(self, case: BoxCase, view: View, numbers: Sequence[int], job: Job) -> torch.Tensor:
        """Embeddings of slices ``[n, channels, s, s]``, float16 on the CPU; missing ones are computed and kept.

        Args:
            case: the image.
            view: how slices are cut from it.
            numbers: of the slices, along the view's axis.
            job: its steps are slices.
        """
        found = {number: case.embeddings.get(view, number) for number in numbers}
        missing = [number for number in numbers if found[number] is None]
        job.advance(len(found) - len(missing))
        job.check()
        stack = view.stack(case.array)

        def keep(some: Sequence[int], embeddings: torch.Tensor) -> None:
            for number, embedding in zip(some, embeddings):
                found[number] = case.embeddings.keep(view, number, embedding)
            job.advance(len(some))
            job.check()

        def encode(network: Sam, runtime: Runtime, some: Sequence[int]) -> torch.Tensor:
            return self._encode(network, runtime, view, stack[some])

        # A CPU is slower on several slices at once (LiteMedSAM on two cores: 0.48 s a slice alone, 0.56 s in pairs).
        _in_batches(self.placement.case(case), encode, missing, keep, job, on_cpu=1)
        job.lap("encode")
        return torch.stack([embedding for embedding in found.values() if embedding is not None])

    @torch.inference_mode()
    def _encode(self, network: Sam, runtime: Runtime, view: View, stack: Float32Array) -> torch.Tensor:
        mean, std = (torch.tensor(values)[:, None, None] for values in (self._input.mean, self._input.std))
        images = (view.to_input(stack) - mean) / std
        # SAM fills a slice up with 0 after this normalisation.
        images[:, :, view.pixels[0] :] = 0
        images[:, :, :, view.pixels[1] :] = 0
        # Other encoders than TinyViT, which keeps float32 where it needs it, moved contours in bfloat16 (Dice 0.98).
        with _autocast(runtime, network.encodes_mixed):
            return network.encode(images.to(runtime.device)).to("cpu", torch.float16)

    def decode(
        self, case: BoxCase, view: View, embeddings: torch.Tensor, rectangles: Float64Array, job: Job
    ) -> tuple[Float32Array, Float64Array]:
        """Segments slices.

        Args:
            case: the image.
            view: how slices are cut from it.
            embeddings: of :meth:`encode`.
            rectangles: ``[n, 4]``: first row, end of rows, first and end of columns, in voxels of the view.
            job: asked for cancelling.

        Returns:
            Probabilities ``[n, rows, columns]``, and the model's own estimates of their quality ``[n]``.
        """
        answers, scores = [], []

        def collect(_: Sequence[int], answered: tuple[torch.Tensor, torch.Tensor]) -> None:
            answers.append(answered[0])
            scores.append(answered[1])
            job.check()

        def decode(network: Sam, runtime: Runtime, some: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
            part = slice(some[0], some[-1] + 1)
            return _decode(network, runtime, view, embeddings[part], rectangles[part])

        _in_batches(self.placement.case(case), decode, range(len(embeddings)), collect, job, on_cpu=SLICES_PER_PASS)
        job.lap("decode")
        return torch.cat(answers).numpy(), torch.cat(scores).double().numpy()


@torch.inference_mode()
def _decode(
    network: Sam, runtime: Runtime, view: View, embeddings: torch.Tensor, rectangles: Float64Array
) -> tuple[torch.Tensor, torch.Tensor]:
    with _autocast(runtime):
        boxes = view.to_pixels(rectangles).to(runtime.device)
        logits, scores = network.decode(embeddings.to(runtime.device).float(), boxes)
    return torch.sigmoid(view.from_logits(logits[:, 0])).cpu(), scores[:, 0].cpu()


def _in_batches(
    device: CaseDevice,
    compute: Callable[[Sam, Runtime, Sequence[int]], Computed],
    numbers: Sequence[int],
    take: Callable[[Sequence[int], Computed], None],
    job: Job,
    *,
    on_cpu: int,
) -> None:
    """Computes some slices at a time and has the answers taken in order; what was taken is not computed again.

    Args:
        device: where to compute.
        compute: is given the network and numbers of slices.
        numbers: of all slices.
        take: is given numbers and their answer.
        job: asked for cancelling while another case computes.
        on_cpu: slices at a time on a CPU; ``SLICES_PER_PASS`` elsewhere, or one where memory does not suffice for them.
    """

    def sizes(runtime: Runtime) -> Sequence[int]:
        return [on_cpu] if runtime.device.type == "cpu" else [SLICES_PER_PASS, 1]

    def work(network: Any, runtime: Runtime, size: int) -> None:
        nonlocal numbers
        batches = [numbers[first : first + size] for first in range(0, len(numbers), size)]
        with Workers(runtime.device, len(batches)) as workers:
            for some, answer in zip(batches, workers.map(lambda some: compute(network, runtime, some), batches)):
                take(some, answer)
                numbers = numbers[len(some) :]

    if numbers:
        device.run(work, sizes, job)


def _autocast(runtime: Runtime, enabled: bool = True) -> AbstractContextManager[object]:
    if not enabled or runtime.dtype is torch.float32:
        return nullcontext()
    return torch.autocast(runtime.device.type, runtime.dtype)
