"""The automatic engine: images in, mask, probability and uncertainty out, on the user's grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch

from TumorSegLib.engines.auto.sliding_window import Maps, WindowPlan, predict
from TumorSegLib.engines.inputs import Channels, prepare
from TumorSegLib.engines.label_parts import Storage
from TumorSegLib.engines.networks.unets import FIXED_SIZE
from TumorSegLib.engines.placement import CaseDevice, Network, PlacedEngine
from TumorSegLib.engines.runtime import ON_CPU, Runtime
from TumorSegLib.errors import ResourceError
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.resample import resample_mask, resample_probability
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.jobs import Cancel, Job, Progress
from TumorSegLib.memory import is_out_of_memory, memory_errors
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.protocols import LEAST_PROBABILITY, LabelAnswer, Result

# Windows at once. On a CPU one window already fills all cores and the caches; a GPU needs several to be busy.
WINDOWS_PER_PASS = {"cpu": 1, "mps": 1, "cuda": 4}
# Networks that halve five times (SwinUNETR) need multiples of 32, and their instance norm two voxels at the bottom.
SMALLEST_TILE = (32, 32, 64)
#: A voxel ``(k, j, i)``.
Corner: TypeAlias = tuple[int, int, int]


class AutoEngine(PlacedEngine):
    """Segments a case without prompts.

    One engine may serve many cases, from several threads. The weights are kept in the runtime's precision.
    """

    def segment(
        self,
        images: Images,
        *,
        mirror: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Result:
        """Segments a case.

        Args:
            images: role to image, any subset of the model's roles that holds those it needs. Images on other grids are
                brought to the first one's; the result is on the first one's grid.
            mirror: average over the eight mirror images of every window (eight times the work): a little more
                accurate, and gives ``Result.uncertainty``.
            progress: called with (windows done, windows in all).
            cancel: asked between windows and, from any thread, between the mirror images of one.

        Raises:
            RoleError: the images are not what the model takes.
            GeometryError: an image does not overlap the first.
            Cancelled: ``cancel`` returned True.
            ResourceError: memory does not suffice even for small tiles on the CPU.
        """
        job = Job(progress, cancel, "segmentation")
        with memory_errors(f"to run {self.spec.name!r}"):
            job.check("before it began")
            channels = prepare(images, self.spec)
            job.lap("prepare")
            device = CaseDevice(self._placement)
            maps, corner, plan = _predict(device, channels, self.spec, mirror, job)
            job.lap("network")
            job.check("after the last window")
            grid, resampled = channels.grid, channels.resampled
            del channels  # the network's input, of which restoring needs no more
            result = _restore(maps, grid, ImageSet.of(images).grid)
            result = replace(result, labels=_labels(maps, corner, grid, result.mask.grid, self.spec.labels, job))
            job.lap("restore")
        details = {
            "threads": torch.get_num_threads(),
            "network_spacing_mm": list(grid.spacing),
            "window": list(plan.size),
            "overlap": plan.overlap,
            "mirror": mirror,
            "windows": maps.windows,
            "windows_skipped": maps.skipped,
        }
        notes = [f"{role}: {note}" for role, volume in images.items() for note in volume.notes]
        info = device.info(job, roles=tuple(images), resampled_roles=resampled, notes=notes, details=details)
        return replace(result, info=info)


def _predict(
    device: CaseDevice, channels: Channels, spec: ModelSpec, mirror: bool, job: Job
) -> tuple[Maps, Corner, WindowPlan]:
    """The network's maps, where the image begins in what windows covered, and the plan that memory sufficed for."""

    def plans(runtime: Runtime) -> Iterator[WindowPlan]:
        plan = WindowPlan(spec.volume_input.patch, batch=WINDOWS_PER_PASS.get(runtime.device.type, 1), mirror=mirror)
        return _smaller(plan, spec.network in FIXED_SIZE)

    def compute(network: Network, runtime: Runtime, plan: WindowPlan) -> tuple[Maps, Corner, WindowPlan]:
        array, tissue, inner = _padded(channels, plan)
        maps = predict(network, torch.from_numpy(array), tissue, plan, runtime, job)
        k, j, i = (each.start for each in inner)
        return _cut(maps, inner), (k, j, i), plan

    try:
        return device.run(compute, plans, job)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        *_, smallest = plans(ON_CPU)
        raise ResourceError(
            f"not enough memory to run {spec.name!r} on {channels.grid.shape} voxels, even in tiles of "
            f"{smallest.size} on the CPU: {error}"
        ) from error


def _smaller(plan: WindowPlan, fixed: bool) -> Iterator[WindowPlan]:
    yield plan
    if plan.batch > 1:
        plan = replace(plan, batch=1)
        yield plan
    while not fixed and any(n > low for n, low in zip(plan.size, SMALLEST_TILE)):
        longest = max(n for n, low in zip(plan.size, SMALLEST_TILE) if n > low)
        k, j, i = (max(-(-n // 64) * 32, low) if n == longest else n for n, low in zip(plan.size, SMALLEST_TILE))
        plan = replace(plan, size=(k, j, i))
        yield plan


def _padded(channels: Channels, plan: WindowPlan) -> tuple[np.ndarray, np.ndarray, tuple[slice, ...]]:
    """Channels and tissue with every axis at least as long as a window, and where the image then lies."""
    missing = [max(size - n, 0) for size, n in zip(plan.size, channels.grid.shape)]
    margins = [(m // 2, m - m // 2) for m in missing]
    inner = tuple(slice(low, low + n) for (low, _), n in zip(margins, channels.grid.shape))
    if not any(missing):
        return channels.array, channels.tissue, inner
    array = np.stack([np.pad(c, margins, constant_values=f) for c, f in zip(channels.array, channels.fill)])
    return array, np.pad(channels.tissue, margins), inner


def _cut(maps: Maps, inner: tuple[slice, ...]) -> Maps:
    entropy = None if maps.entropy is None else maps.entropy[inner]
    return replace(maps, probability=maps.probability[inner], label=maps.label[inner], entropy=entropy)


def _restore(maps: Maps, source: Grid, target: Grid) -> Result:
    probability = resample_probability(maps.probability.astype(np.float32), source, target)
    foreground = probability > 0.5
    if maps.label.max() > 1:
        labels = resample_mask(Mask(source, np.ascontiguousarray(maps.label)), target).array * foreground
    else:
        labels = foreground.view(np.uint8)
    uncertainty = None
    if maps.entropy is not None:
        entropy = resample_probability(maps.entropy.astype(np.float32), source, target)
        uncertainty = Volume(target, entropy, "uncertainty")
    return Result(Mask(target, labels), Volume(target, probability, "probability"), uncertainty)


def _labels(
    maps: Maps, corner: Corner, source: Grid, target: Grid, labels: Mapping[str, int], job: Job
) -> dict[str, LabelAnswer]:
    """What the model says of each of several labels, one after the other; none of one alone.

    Args:
        maps: of the network, on the source's lattice.
        corner: of the image in what windows covered.
        source, target: the network's grid and the user's.
        labels: name to value; the n-th map is of value n.
        job: asked for cancelling between labels.
    """
    answers, storage = {}, Storage()
    for part, (name, value) in zip(maps.parts, sorted(labels.items(), key=lambda each: each[1])):
        job.check("while its answer was resampled")
        array, ranges = part.whole()
        values = np.zeros(source.shape, np.float32)
        lows = [max(low - first, 0) for (low, _), first in zip(ranges, corner)]
        highs = [min(high - first, n) for (_, high), first, n in zip(ranges, corner, source.shape)]
        own = [slice(a + first - low, b + first - low) for a, b, (low, _), first in zip(lows, highs, ranges, corner)]
        if array.size and all(a < b for a, b in zip(lows, highs)):
            values[tuple(slice(a, b) for a, b in zip(lows, highs))] = array[tuple(own)]
        restored = resample_probability(values, source, target)
        box = bounding_box(restored >= LEAST_PROBABILITY) or EMPTY_BOX
        cut = restored[slices(box)]
        kept = storage.zeros(cut.shape)
        kept[...] = cut
        answers[name] = LabelAnswer(value, box, kept)
    return answers
