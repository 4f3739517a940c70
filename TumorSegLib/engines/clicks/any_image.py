"""The engine of a model that segments any object in any image: it looks nearer or farther until the object fits.

A network reads a patch of cubic voxels: the images, the probability so far and maps of the prompts. Of views from near
and far the first prompts take the one in which the object stands out most. Where what changes reaches the patch's
border, the engine looks again from twice as far; where the object is small, from nearer (as nnInteractive's
"AutoZoom", Isensee et al. 2025). A correction that floods what lies around is kept near its prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from TumorSegLib.engines.clicks.changed_part import ChangedPart
from TumorSegLib.engines.clicks.patches import (
    REAL_CHANGE,
    check_correction,
    components,
    prompt_centre,
    reaches_border,
    sample_probability,
)
from TumorSegLib.engines.clicks.views import ScaledImages, View, prepare_views
from TumorSegLib.engines.networks.unets import probabilities
from TumorSegLib.engines.placement import CaseDevice, Network, PlacedEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from TumorSegLib.geometry.boxes import bounding_box, slices
from TumorSegLib.images.probability import TUMOUR
from TumorSegLib.images.volume import Images
from TumorSegLib.jobs import Cancel, Job
from TumorSegLib.memory import memory_errors
from TumorSegLib.prompts.encoding import PointPrompt
from TumorSegLib.prompts.patch_prompts import PatchPrompts, prompt_channels
from TumorSegLib.prompts.types import BoxPrompt, Line, Prompts
from TumorSegLib.protocols import Refinement

# An object should take at most this share of a view, along every axis; below the second it is looked at from nearer.
FITS, SMALL = 0.65, 0.4
# Views farther by this each; at most so many runs of the network for one prompt.
STEP, MOST_VIEWS = 2.0, 6
# The first view of a point has voxels this many times as long as the image's finest.
FIRST_VIEW = 1.0
# The first prompts look from twice as far, or half, in turn while the object stands out more; later ones begin at the
# scale of the object.
# They choose no scale above this many mm, from where a trunk stands out from air; an object of 15 cm fits.
CHOOSING_PROMPTS, COARSEST_CHOSEN = 3, 5.0
# From farther away, where voxels are coarser, it must stand out so many times as much.
FARTHER = 1.15
# Noise in network units, which is no contrast; the fewest voxels that show a mean.
NOISE, LEAST_CORE = 0.3, 5
# A correction after which an object is so many times larger floods what lies around. It reaches so many times as far as
# the prompt lay from the old boundary, and at least so many voxels.
FLOODED, REACHES, LEAST_REACH = 8.0, 3.0, 2.0
# Seeds of a box along each axis.
SEEDS = 9
# The mask is looked through at a stride that leaves at most so many voxels.
MOST_VOXELS = 2_000_000


@dataclass(frozen=True, eq=False)
class _Task:
    """One correction.

    Attributes:
        images: of the case.
        device: where the network runs for it.
        probability: uint8 of the whole image.
        prompts: all in force, in order; the last is to be answered.
        job: asked for cancelling before every run of the network.
    """

    images: ScaledImages
    device: CaseDevice
    probability: UInt8Array
    prompts: Prompts
    job: Job

    @cached_property
    def points(self) -> Sequence[PointPrompt]:
        """Clicks, scribbles and lassos, in voxels of the image."""
        return self.prompts.point_prompts()

    @cached_property
    def seeds(self) -> Float64Array:
        """Points ``[n, 3]`` of the last prompt, in voxels of the image: what changes must hang together with them."""
        last = self.prompts.items[-1]
        points = last.point_prompt()
        if points is not None:
            return points.points
        if isinstance(last, Line):
            start, end = np.array(last.ends, dtype=float)
            steps = np.linspace(0, 1, int(np.abs(end - start).max()) + 1)[:, None]
            return np.asarray(np.rint(start + steps * (end - start)))
        axes = [np.unique(np.linspace(low, high - 1, SEEDS).round()) for low, high in last.box]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)

    def in_view(self, view: View) -> PatchPrompts:
        """All prompts in voxels of a view."""

        def moved(points: npt.ArrayLike) -> Float64Array:
            return view.grid.to_ijk(self.images.endless.to_ras(np.asarray(points, dtype=float)))

        points = [PointPrompt(moved(prompt.points), prompt.positive) for prompt in self.points]
        boxes = [moved(np.array(box.box).T - [[0], [1]]) for box in self.prompts.of(BoxPrompt)]
        lines = [moved(line.ends) for line in self.prompts.of(Line)]
        return PatchPrompts(points, boxes, lines)


class AnyImageEngine(PlacedEngine):
    """Corrects, or begins, a segmentation of any object in images of any kind.

    One engine may serve many cases, from several threads. The weights are kept in the runtime's precision.
    """

    def prepare(self, images: Images) -> ScaledImages:
        """Prepares the images of a case, once for all its prompts; any role is taken.

        Raises:
            GeometryError: an image does not overlap the first.
            ResourceError: memory does not suffice.
        """
        with memory_errors(f"to prepare images for {self.spec.name!r}"):
            return prepare_views(images, self.spec)

    def refine(
        self, prepared: ScaledImages, probability: UInt8Array, prompts: Prompts, cancel: Cancel | None = None
    ) -> Refinement:
        """Answers the last of the prompts.

        Args:
            prepared: from :meth:`prepare`.
            probability: uint8 ``[k, j, i]`` on the grid of the first image, 255 for 1; not changed.
            prompts: all in force, in order.
            cancel: asked before every run of the network.

        Raises:
            ArgumentError: there is no prompt, or the probability is not uint8.
            GeometryError: the probability has not the shape of the first image.
            Cancelled: ``cancel`` returned True.
            ResourceError: memory does not suffice, not even on the CPU.
        """
        check_correction(probability, prompts, prepared.grid)
        with memory_errors(f"to run {self.spec.name!r}"):
            device, job = self._placement.case(prepared), Job(cancel=cancel, name="the correction")
            return _refine(_Task(prepared, device, probability, prompts, job))


def _refine(task: _Task) -> Refinement:
    images = task.images
    part = ChangedPart(images.grid, images.endless, task.probability, task.seeds)
    centre, scale, chooses = _first_view(task)
    look = _clearest(task, part, centre, scale) if chooses else _look(task, part, centre, scale)
    if look.floods:
        part.add(look.change_nearby(), look.view.grid, look.view.inner)
    else:
        _follow(task, part, look, moved=look.scale != scale)
    box, values = part.constrained(task.prompts)
    task.job.lap("paste")
    return Refinement(box, values, task.device.info(task.job, roles=tuple(images.images)))


def _follow(task: _Task, part: ChangedPart, look: _Look, moved: bool) -> None:
    """Adds the change in a view, and those from farther away, or once from nearer, until the object fits."""
    farthest = task.images.spec.any_image_input.scales_mm[1]
    for left in reversed(range(MOST_VIEWS)):
        part.add(look.answer - look.before, look.view.grid, look.view.inner)
        changed = look.changed()
        if not changed.any() or not left:
            return
        if reaches_border(changed, look.view.goes_on) and look.scale < farthest:
            centre, scale = look.centre, min(look.scale * STEP, farthest)
        else:
            nearer = None if moved else _nearer_view(look, task.images.finest_view_mm)
            if nearer is None:
                return
            centre, scale = nearer
        moved, look = True, _look(task, part, centre, scale)


@dataclass(frozen=True, eq=False)
class _Look:
    """What the network answers in a view.

    Attributes:
        view: what it saw.
        centre: its middle, RAS mm.
        scale: edge of its voxels in mm.
        before, answer: probability before and after, float32 ``[k, j, i]``.
        seeds: of the last prompt, in voxels of the view.
    """

    view: View
    centre: Float64Array
    scale: float
    before: Float32Array
    answer: Float32Array
    seeds: Float64Array

    @cached_property
    def connected(self) -> BoolArray:
        """What hangs together with the prompt, before or after."""
        return components((self.before > 0.5) | (self.answer > 0.5), self.seeds)

    @cached_property
    def found(self) -> BoolArray:
        """The object at the prompt, which it need not be part of any more."""
        found: BoolArray = self.connected & (self.answer > 0.5)
        return found

    @cached_property
    def clearness(self) -> float:
        """How much what was found stands out, and how sure the network is of it; 0 where nothing was found.

        The contrast to a shell around it, times the square of the mean probability. Contrast is the difference of the
        means in standard deviations, in the image in which it is largest.
        """
        from scipy.ndimage import binary_dilation, binary_erosion

        inner = np.zeros_like(self.found)
        inner[slices(self.view.inner)] = True
        near = binary_dilation(self.found)
        shell = binary_dilation(near, iterations=2) & ~near & inner
        core = binary_erosion(self.found)
        core = core if np.count_nonzero(core) > LEAST_CORE else self.found
        if not core.any() or not shell.any():
            return 0.0
        pairs = [(image[core], image[shell]) for images in self.view.images for image in images]
        contrast = max(abs(a.mean() - b.mean()) / ((a.std() + b.std()) / 2 + NOISE) for a, b in pairs)
        return float(contrast * self.answer[self.found].mean() ** 2)

    @cached_property
    def old(self) -> BoolArray:
        """The object at the prompt as it was before."""
        old: BoolArray = self.connected & (self.before > 0.5)
        return old

    @property
    def floods(self) -> bool:
        """Whether an object becomes so many times larger that this was hardly what a correction asked for."""
        old = np.count_nonzero(self.old)
        return bool(0 < FLOODED * old < np.count_nonzero(self.found))

    def changed(self) -> BoolArray:
        """What changes in connection with the prompt."""
        changed: BoolArray = (self.before > 0.5) != (self.answer > 0.5)
        changed &= (np.abs(self.answer - self.before) > REAL_CHANGE) & self.connected
        return changed

    def change_nearby(self) -> Float32Array:
        """The change of the probability near the prompt."""
        from scipy.ndimage import distance_transform_edt

        at = tuple(np.clip(np.rint(self.seeds).astype(int), 0, np.array(self.old.shape[::-1]) - 1).T[::-1])
        elsewhere = np.ones_like(self.old)
        elsewhere[at] = False
        depth = float(distance_transform_edt(~self.old)[at].max())
        beyond = distance_transform_edt(elsewhere) - max(REACHES * depth, LEAST_REACH)
        near: Float32Array = np.exp(-np.maximum(beyond, 0)).astype(np.float32)
        return near * (self.answer - self.before)


def _look(task: _Task, part: ChangedPart, centre: Float64Array, scale: float) -> _Look:
    view = task.images.view(centre, scale, task.images.endless.to_ras(prompt_centre(task.seeds)))
    before, answer = _predict(task, part, view)
    return _Look(view, centre, scale, before, answer, view.grid.to_ijk(task.images.endless.to_ras(task.seeds)))


def _clearest(task: _Task, part: ChangedPart, centre: Float64Array, scale: float) -> _Look:
    """The look, at scales twice or half as long in turn, in which the object stands out most.

    Where there is nothing yet, both ways are tried, and one scale that shows less is passed over: the brightest spot
    of a nodule, seen from near, may stand out as the nodule does from farther away.
    """
    farthest = min(task.images.spec.any_image_input.scales_mm[1], COARSEST_CHOSEN)
    # From nearer, a scribble would not be seen whole.
    extent = np.ptp(task.seeds, axis=0) * task.images.grid.spacing
    finest = max(task.images.finest_view_mm, _fitting(task, extent))
    best = start = _look(task, part, centre, scale)
    begins = not start.before.any()
    for step in (STEP, 1 / STEP):
        first, look, passed = best, start, 0
        while passed <= begins and finest <= look.scale * step <= farthest:
            if step > 1 and not np.any(look.view.goes_on):
                break
            look = _look(task, part, centre, look.scale * step)
            wanted = best.clearness * (FARTHER if look.scale > best.scale else 1)
            if not look.floods and look.clearness > wanted:
                best, passed = look, 0
            else:
                passed += 1
        if best is not first and not begins:
            break
    return best


def _first_view(task: _Task) -> tuple[Float64Array, float, bool]:
    """Centre in RAS mm and scale of the first view, and whether a better scale is to be looked for."""
    grid, last = task.images.grid, task.prompts.items[-1]
    corners, chooses = np.stack([task.seeds.min(axis=0), task.seeds.max(axis=0)]), False
    extent = (corners[1] - corners[0] + 1) * grid.spacing
    points = last.point_prompt()
    if points is None:  # an object is about as long along the axis that a line or slice does not show
        thin = np.array([high - low for low, high in last.box]) == 1
        extent[thin | isinstance(last, Line)] = extent.max()
    else:
        found = _object_box(task.probability, task.seeds.mean(axis=0))
        chooses = points.positive and (found is None or len(task.prompts.items) <= CHOOSING_PROMPTS)
        if found is not None:
            corners = np.stack([np.minimum(corners[0], found[0]), np.maximum(corners[1], found[1])])
            extent = (corners[1] - corners[0] + 1) * grid.spacing
    extent[np.array(grid.size) == 1] = 0
    fits = max(_fitting(task, extent), FIRST_VIEW * task.images.finest_mm)
    scale = float(np.clip(fits, *task.images.spec.any_image_input.scales_mm))
    return grid.to_ras(corners.mean(axis=0)), scale, chooses


def _fitting(task: _Task, extent_mm: Float64Array) -> float:
    """The scale at which what is so long along the axes of the grid ``(i, j, k)`` fits a view."""
    return float((extent_mm / (FITS * np.array(task.images.spec.any_image_input.patch[::-1]))).max())


def _object_box(probability: UInt8Array, point: Float64Array) -> Float64Array | None:
    """First and last voxel ``[2, 3]`` of the component of the mask nearest to a point; None where none is near.

    A component is near that lies within its own extent of the point.
    """
    from scipy.ndimage import find_objects, label

    stride = max(math.ceil((probability.size / MOST_VOXELS) ** (1 / 3)), 1)
    coarse = probability[::stride, ::stride, ::stride] >= TUMOUR
    box = bounding_box(coarse)
    if box is None:
        return None
    numbers, _ = label(coarse[tuple(slice(*limits) for limits in reversed(box))])
    low = np.array([limits[0] for limits in box])
    best: tuple[float, Float64Array] | None = None
    for found in find_objects(numbers):
        first = (np.array([s.start for s in reversed(found)]) + low) * float(stride)
        last = (np.array([s.stop - 1 for s in reversed(found)]) + low) * float(stride)
        distance = float(np.linalg.norm(np.maximum(np.maximum(first - point, point - last), 0)))
        near = distance <= float((last - first).max()) + 2 * stride
        if near and (best is None or distance < best[0]):
            best = distance, np.stack([first, last])
    return None if best is None else best[1]


def _predict(task: _Task, part: ChangedPart, view: View) -> tuple[Float32Array, Float32Array]:
    """The probability in a view before, and the network's."""
    task.job.check()
    part.cover(view.grid)
    before = sample_probability(part.values, part.box, task.images.endless, view.grid)
    prompts = task.in_view(view)
    channels = [np.concatenate([images, prompt_channels(images, before, prompts)]) for images in view.images]
    task.job.lap("encode")
    answer: Float32Array = task.device.run(
        lambda network, runtime, _: _run(network, runtime, np.stack(channels)), lambda _: [None], task.job
    )
    task.job.lap("network")
    return before, answer


@torch.inference_mode()
def _run(network: Network, runtime: Runtime, channels: Float32Array) -> Float32Array:
    """The mean of what the network answers to each set of images."""
    answers = [probabilities(network(runtime.batch(torch.from_numpy(each)[None]))[0]).sum(dim=0) for each in channels]
    mean: Float32Array = torch.stack(answers).mean(dim=0).cpu().numpy()
    return mean


def _nearer_view(look: _Look, finest: float) -> tuple[Float64Array, float] | None:
    """Centre and scale at which the object at the prompt fills a view; None where it does not take so little of it."""
    box = bounding_box(look.found)
    if box is None:
        return None
    extent, view = np.array([high - low for low, high in box]), look.view
    share = float((extent / np.array(view.grid.size)).max())
    nearer = max(look.scale * share / FITS * 1.3, finest)
    if share >= SMALL or nearer > 0.75 * look.scale:
        return None
    return view.grid.to_ras([(low + high - 1) / 2 for low, high in box]), nearer
