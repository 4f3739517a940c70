"""The click engine: the second of two stages, which corrects a mask from clicks and scribbles.

A refinement network reads the images, the probability so far and maps of the prompts, and answers with a better
probability (Saukkoriipi et al., Sci Rep 2025, "2S-ICR"); its last answer is its memory. It sees a patch around
the last prompt, a coarser one where the tumour leaves that patch, and a finer one where it is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from TumorSegLib.engines.clicks.patches import (
    COARSE,
    FINE,
    OWN,
    REAL_CHANGE,
    CaseImages,
    Patch,
    add_change,
    check_correction,
    components,
    covering_box,
    network_input,
    prepare_patches,
    prompt_centre,
    reaches_border,
    sample_probability,
)
from TumorSegLib.engines.networks.unets import probabilities
from TumorSegLib.engines.placement import CaseDevice, Network, PlacedEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, UInt8Array
from TumorSegLib.geometry.boxes import origin, slices, translate, union
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import CERTAIN, TUMOUR
from TumorSegLib.images.volume import Images
from TumorSegLib.jobs import Cancel, Job
from TumorSegLib.memory import memory_errors
from TumorSegLib.prompts.constraints import apply_constraints, constrained_voxels
from TumorSegLib.prompts.encoding import PointPrompt
from TumorSegLib.prompts.types import BoxPrompt, Prompts
from TumorSegLib.protocols import Refinement

# A tumour at most this share of a patch at the fine spacing, along every axis, is predicted at that spacing.
SMALL = 0.6
# The fine spacing is used only where the image has it: where some voxel edge is at most this share of the model's.
HAS_DETAIL = 0.75


@dataclass(frozen=True, eq=False)
class _Correction:
    """One correction: the probability before and the prompts, in voxels of the user's grid.

    Attributes:
        images: of the case.
        device: where the network runs for it.
        probability: uint8 of the whole image.
        network_prompts: those the network sees; it answers the last.
        constraints: clicks and scribbles that the answer must agree with.
        boxes: of the box prompts that limit additions.
        job: asked for cancelling before every run of the network.
    """

    images: CaseImages
    device: CaseDevice
    probability: UInt8Array
    network_prompts: tuple[PointPrompt, ...]
    constraints: tuple[PointPrompt, ...]
    boxes: tuple[Box, ...]
    job: Job

    @property
    def last(self) -> PointPrompt:
        """The prompt to answer."""
        return self.network_prompts[-1]

    @property
    def answers_box(self) -> bool:
        """Whether the last prompt is a box, which the network sees as a click that constrains nothing."""
        return len(self.network_prompts) > len(self.constraints)


class ClickEngine(PlacedEngine):
    """Corrects, or begins, a segmentation from clicks and scribbles.

    One engine may serve many cases, from several threads. The weights are kept in the runtime's precision.
    """

    def prepare(self, images: Images) -> CaseImages:
        """Resamples and normalises the images of a case, once for all its clicks.

        Raises:
            RoleError: the images are not what the model takes.
            GeometryError: an image does not overlap the first.
            ResourceError: memory does not suffice.
        """
        with memory_errors(f"to prepare images for {self.spec.name!r}"):
            return prepare_patches(images, self.spec)

    def refine(
        self,
        prepared: CaseImages,
        probability: UInt8Array,
        prompts: Prompts,
        cancel: Cancel | None = None,
    ) -> Refinement:
        """Answers the last of the prompts.

        The mask is where the probability is 128 or more. Voxels within 3 mm of a positive click or scribble are in it
        afterwards, those of a negative one are not; elsewhere it changes only in the component, of the mask before and
        after, that the last prompt lies in, and only within the largest patch. Where there are boxes, other than on one
        slice, nothing else is added outside them but by a positive click or scribble out there. A box as the last
        prompt is answered as a click on the voxel of the mask in it that is deepest, but that voxel is no constraint.

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
            return _refine(self._correction(prepared, probability, prompts, cancel))

    def _correction(
        self, images: CaseImages, probability: UInt8Array, prompts: Prompts, cancel: Cancel | None
    ) -> _Correction:
        """The correction that answers the last prompt."""
        constraints, last = tuple(prompts.point_prompts()), prompts.items[-1]
        visible = constraints
        if not last.point_prompt():
            visible = (*constraints, _deepest_voxel(probability, last.box, images.grid.spacing))
        # A tumour boxed on one slice goes on beyond it.
        boxes = tuple(box.box for box in prompts.of(BoxPrompt) if box.thin_axis(images.grid) is None)
        device, job = self._placement.case(images), Job(cancel=cancel, name="the correction")
        return _Correction(images, device, probability, visible, constraints, boxes, job)


def _refine(task: _Correction) -> Refinement:
    images, last = task.images, task.last
    centre = task.images.grid.to_ras(prompt_centre(last.points))
    patch = images.patch(centre, OWN)
    part = _ChangedPart.around(task, [patch.grid])
    task.job.lap("encode")
    before, answer = _predict(task, part, patch)
    if _reaches_border(patch, before, answer, _in_patch(last, task.images.grid, patch)):
        coarse = images.patch(centre, COARSE)
        part = _ChangedPart.around(task, [patch.grid, coarse.grid])
        coarse_before, wide = _predict(task, part, coarse)
        # Far from the click contours stay as they are unless the network calls a voxel something else.
        part.add(np.where((coarse_before > 0.5) != (wide > 0.5), wide - coarse_before, 0), coarse)
        before, answer = _predict(task, part, patch)
    part.add(answer - before, patch)
    if _is_small(images, answer, patch, _in_patch(last, task.images.grid, patch)):
        fine = images.patch(centre, FINE)
        before, answer = _predict(task, part, fine)
        part.add(answer - before, fine)
    box, values = part.constrained()
    task.job.lap("paste")
    return Refinement(box, values, task.device.info(task.job, roles=tuple(images.images)))


def _predict(task: _Correction, part: _ChangedPart, patch: Patch) -> tuple[Float32Array, Float32Array]:
    """The probability in a patch before, and the network's, with the constraints applied."""
    task.job.check()
    before = sample_probability(part.values, part.box, task.images.grid, patch.grid)
    visible, constraints = (
        [_in_patch(prompt, task.images.grid, patch) for prompt in prompts]
        for prompts in (task.network_prompts, task.constraints)
    )
    channels = torch.from_numpy(network_input(patch.images, before, visible, patch.grid.spacing))
    task.job.lap("encode")
    answer: Float32Array = task.device.run(
        lambda network, runtime, _: _run(network, runtime, channels), lambda _: [None], task.job
    )
    apply_constraints(answer, constraints, patch.grid.spacing)
    task.job.lap("network")
    return before, answer


@torch.inference_mode()
def _run(network: Network, runtime: Runtime, channels: torch.Tensor) -> Float32Array:
    answer: Float32Array = probabilities(network(runtime.batch(channels[None]))[0]).sum(dim=0).cpu().numpy()
    return answer


@dataclass(eq=False)
class _ChangedPart:
    """The part of the probability that a correction may change."""

    task: _Correction
    box: Box
    values: UInt8Array

    @classmethod
    def around(cls, task: _Correction, patches: Sequence[Grid]) -> _ChangedPart:
        """A copy of what patches and the last prompt can reach."""
        grid = task.images.grid
        boxes = [box for box in (covering_box(patch, grid) for patch in patches) if box is not None]
        balls = constrained_voxels(task.last.points, grid.shape, grid.spacing)
        boxes += [((i.start, i.stop), (j.start, j.stop), (k.start, k.stop)) for (k, j, i), _ in balls]
        box = union(boxes)
        return cls(task, box, task.probability[slices(box)].copy())

    def add(self, change: Float32Array, patch: Patch) -> None:
        """Adds a change of the probability in a patch."""
        inside = np.ascontiguousarray(change[slices(patch.inner)])
        add_change(self.values, self.box, self.task.images.grid, inside, patch.grid.crop(patch.inner))

    def constrained(self) -> tuple[Box, UInt8Array]:
        """Box and values with the constraints applied, and unchanged where not connected with the last prompt."""
        before, after = self.task.probability[slices(self.box)], self.values
        spacing, last = self.task.images.grid.spacing, self.task.last
        constraints = [replace(prompt, points=prompt.points - origin(self.box)) for prompt in self.task.constraints]
        apply_constraints(after, constraints, spacing, certain=CERTAIN)
        old, new = before >= TUMOUR, after >= TUMOUR
        allowed = components(old | new, last.points - origin(self.box)) & (old | self._may_grow(last))
        if not self.task.answers_box:
            for at, inside in constrained_voxels(last.points - origin(self.box), after.shape, spacing):
                allowed[at] |= inside
        unchanged = (old != new) & ~allowed
        after[unchanged] = before[unchanged]
        return self.box, after

    def _may_grow(self, last: PointPrompt) -> BoolArray:
        """Where the correction may add to the mask: in the user's boxes, or anywhere if asked for outside them."""
        boxes = [translate(box, [-n for n in origin(self.box)]) for box in self.task.boxes]
        inside = np.full(self.values.shape, not boxes or self._is_outside(last))
        for (i0, i1), (j0, j1), (k0, k1) in boxes:
            inside[max(k0, 0) : max(k1, 0), max(j0, 0) : max(j1, 0), max(i0, 0) : max(i1, 0)] = True
        return inside

    def _is_outside(self, last: PointPrompt) -> bool:
        """Whether the last prompt is a positive click or scribble with a voxel in none of the boxes."""
        if self.task.answers_box or not last.positive:
            return False
        limits = np.array(self.task.boxes)  # [boxes, 3, 2]
        inside = (last.points[:, None] >= limits[..., 0]) & (last.points[:, None] < limits[..., 1])
        return bool(np.any(~np.any(np.all(inside, axis=2), axis=1)))


def _deepest_voxel(probability: UInt8Array, box: Box, spacing_mm: Sequence[float]) -> PointPrompt:
    """The voxel of the mask in a box that is farthest (mm) from its boundary; the box's centre where it has none."""
    from scipy.ndimage import distance_transform_edt

    inside = probability[slices(box)] >= TUMOUR
    if not inside.any():
        return PointPrompt(np.array([[(low + high - 1) / 2 for low, high in box]]), True)
    # Not across a slice: on a box of one, all voxels would be as deep as it is thick.
    sides = [(int(n > 1),) * 2 for n in inside.shape]
    depth = distance_transform_edt(np.pad(inside, sides), tuple(spacing_mm)[::-1])
    depth = depth[tuple(slice(before, before + n) for (before, _), n in zip(sides, inside.shape))]
    at = np.unravel_index(int(depth.argmax()), depth.shape)[::-1]
    return PointPrompt(np.array([at], dtype=float) + origin(box), True)


def _in_patch(prompt: PointPrompt, grid: Grid, patch: Patch) -> PointPrompt:
    return PointPrompt(patch.grid.to_ijk(grid.to_ras(prompt.points)), prompt.positive)


def _reaches_border(patch: Patch, before: Float32Array, answer: Float32Array, prompt: PointPrompt) -> bool:
    """Whether what the prompt changes reaches a side of the patch behind which the image goes on."""
    old, new = before > 0.5, answer > 0.5
    changed = (old != new) & (np.abs(answer - before) > REAL_CHANGE) & components(old | new, prompt.points)
    return reaches_border(changed, patch.goes_on)


def _is_small(images: CaseImages, answer: Float32Array, patch: Patch, prompt: PointPrompt) -> bool:
    """Whether the tumour at the prompt fits well into a patch at the fine spacing, and the image has that detail."""
    if min(images.grid.spacing) > HAS_DETAIL * min(images.spec.volume_input.spacing_mm):
        return False
    inside = np.argwhere(components(answer > 0.5, prompt.points))
    if not len(inside):
        return False
    extent = inside.max(axis=0) - inside.min(axis=0) + 1
    return bool((extent * OWN <= SMALL * FINE * np.array(patch.grid.shape)).all())
