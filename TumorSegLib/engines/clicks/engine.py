"""The click engine: the second of two stages, which corrects a mask from clicks and strokes.

A refinement network reads the images, the probability so far and maps of the prompts, and answers with a better
probability (Saukkoriipi et al., Sci Rep 2025, "2S-ICR"); what it answered last is its memory. It looks through a patch
around the last prompt, from farther away where the tumour leaves the patch, and closer where it is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from torch import nn

from TumorSegLib.engines.clicks.patches import (
    COARSE,
    FINE,
    OWN,
    Patch,
    Prepared,
    add_change,
    covering_box,
    network_input,
    prepare_patches,
    prompt_centre,
    sample_probability,
)
from TumorSegLib.engines.networks.unets import probabilities
from TumorSegLib.engines.runtime import Runtime, describe, placed
from TumorSegLib.errors import ArgumentError, GeometryError, ResourceError
from TumorSegLib.geometry.boxes import origin, slices, translate, union
from TumorSegLib.geometry.grid import Box, FloatArray, Grid
from TumorSegLib.images.probability import CERTAIN, TUMOUR
from TumorSegLib.images.volume import Images
from TumorSegLib.jobs import Cancel, Job
from TumorSegLib.memory import is_out_of_memory, memory_errors
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.prompts.constraints import apply_constraints, constrained_voxels
from TumorSegLib.prompts.encoding import PointPrompt
from TumorSegLib.prompts.types import BoxPrompt, Prompts
from TumorSegLib.protocols import Refinement

# A tumour that takes up at most this share of a patch at the fine spacing, along every axis, is looked at closely.
SMALL = 0.6
# Detail is looked for only where the image has it: where some voxel edge is at most this share of the model's.
HAS_DETAIL = 0.75
# Changes this near to the patch's border, in voxels, may go on beyond it; changes smaller than this are noise.
MARGIN, LEAST_CHANGE = 2, 0.1

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Task:
    """One correction: what there was and what the user said, in voxels of the user's grid.

    ``shown`` are the hints that the network sees, the last of which is what it answers; ``law`` those that are obeyed.
    """

    prepared: Prepared
    probability: npt.NDArray[np.uint8]
    shown: tuple[PointPrompt, ...]
    law: tuple[PointPrompt, ...]
    boxes: tuple[Box, ...]
    job: Job

    @property
    def answers_box(self) -> bool:
        """Whether the last prompt is a box, which the network is shown as a click that is not law."""
        return len(self.shown) > len(self.law)


class ClickEngine:
    """Corrects, or begins, a segmentation from clicks and strokes.

    One engine may serve many cases, one at a time. The network is held in the runtime's precision.
    """

    def __init__(self, spec: ModelSpec, network: nn.Module, runtime: Runtime) -> None:
        self.spec = spec
        self._original, self._wanted = network.eval(), runtime
        self._place(runtime)

    @property
    def info(self) -> dict[str, Any]:
        """JSON-ready: model, version, checksum of the weights, device and precision."""
        return describe(self.spec, self._runtime, self._wanted)

    def prepare(self, images: Images) -> Prepared:
        """Resamples and normalises the images of a case, once for all its clicks.

        Where an earlier case did not fit on the GPU, so that the network moved to the CPU, it moves back.

        Raises:
            RoleError: the images are not what the model takes.
            GeometryError: an image does not overlap the first.
            ResourceError: memory does not suffice.
        """
        if self._runtime != self._wanted:
            with suppress(ResourceError):  # still full, so the network stays on the CPU
                self._place(self._wanted)
        with memory_errors(f"to prepare images for {self.spec.name!r}"):
            return prepare_patches(images, self.spec)

    def refine(
        self,
        prepared: Prepared,
        probability: npt.NDArray[np.uint8],
        prompts: Prompts,
        cancel: Cancel | None = None,
    ) -> Refinement:
        """Answers the last of the prompts.

        The mask is what has a probability of 128 or more. Voxels within 3 mm of a positive click or stroke are in it
        afterwards, those of a negative one are not; elsewhere it changes only in the component, of the mask before and
        after, that the last prompt lies in, and only within the largest patch looked through. Where there are boxes,
        other than on one slice, nothing else is added outside them but by a positive click or stroke out there. A box
        as the last prompt is answered as a click would be on the voxel deepest within what the mask has in it, but that
        voxel is not law.

        Args:
            prepared: from :meth:`prepare`.
            probability: uint8 ``[k, j, i]`` on the grid of the first image, 255 for 1; not changed.
            prompts: all that hold, in order.
            cancel: asked before every run of the network.

        Raises:
            ArgumentError: there is no prompt, or the probability is not uint8.
            GeometryError: the probability has not the shape of the first image.
            Cancelled: ``cancel`` returned True.
            ResourceError: memory does not suffice, not even on the CPU.
        """
        if not prompts.items:
            raise ArgumentError("a correction needs at least one prompt")
        if probability.dtype != np.uint8:
            raise ArgumentError(f"the probability is {probability.dtype}; uint8 is needed, 255 for 1")
        if probability.shape != prepared.grid.shape:
            raise GeometryError(
                f"the probability has shape {probability.shape}, the first image {prepared.grid.shape} (k, j, i)"
            )
        with memory_errors(f"to run {self.spec.name!r}"):
            law = tuple(prompts.point_prompts())
            grid, last = prepared.grid, prompts.items[-1]
            shown = law if last.point_prompt() else (*law, _heart(probability, last.box, grid.spacing))
            # A tumour boxed on one slice goes on beyond it.
            boxes = tuple(box.box for box in prompts.of(BoxPrompt) if box.thin_axis(grid) is None)
            task = _Task(prepared, probability, shown, law, boxes, Job(cancel=cancel, name="the correction"))
            try:
                return self._refine(task)
            except (RuntimeError, MemoryError) as error:
                if self._runtime.device.type == "cpu" or not is_out_of_memory(error):
                    raise
                torch.cuda.empty_cache()
            self._place(Runtime(torch.device("cpu"), torch.float32))
            return self._refine(task)

    def _refine(self, task: _Task) -> Refinement:
        grid, last = task.prepared.grid, task.shown[-1]
        centre = grid.to_ras(prompt_centre(last.points))
        patch = task.prepared.patch(centre, OWN)
        work = _Work.around(task, [patch.grid])
        task.job.lap("encode")
        before, answer = self._look(task, work, patch)
        if _leaves(patch, before, answer, _in_patch(last, grid, patch)):
            coarse = task.prepared.patch(centre, COARSE)
            work = _Work.around(task, [patch.grid, coarse.grid])
            seen, wide = self._look(task, work, coarse)
            # Far from the click contours stay as they are unless the network calls a voxel something else.
            work.add(np.where((seen > 0.5) != (wide > 0.5), wide - seen, 0), coarse)
            before, answer = self._look(task, work, patch)
        work.add(answer - before, patch)
        if _is_small(task.prepared, answer, patch, _in_patch(last, grid, patch)):
            close = task.prepared.patch(centre, FINE)
            before, answer = self._look(task, work, close)
            work.add(answer - before, close)
        box, values = work.finished()
        task.job.lap("paste")
        return Refinement(box, values, {**self.info, "roles": list(task.prepared.images), "seconds": task.job.seconds})

    def _look(self, task: _Task, work: _Work, patch: Patch) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The probability in a patch before, and what the network makes of it."""
        task.job.check()
        before = sample_probability(work.values, work.box, task.prepared.grid, patch.grid)
        shown, law = ([_in_patch(h, task.prepared.grid, patch) for h in hints] for hints in (task.shown, task.law))
        channels = torch.from_numpy(network_input(patch.images, before, shown, patch.grid.spacing))
        task.job.lap("encode")
        answer = self._run(channels)
        apply_constraints(answer, law, patch.grid.spacing)
        task.job.lap("network")
        return before, answer

    @torch.inference_mode()
    def _run(self, channels: torch.Tensor) -> npt.NDArray[np.float32]:
        runtime = self._runtime
        batch = channels[None].to(runtime.device).to(runtime.dtype, memory_format=runtime.layout)
        answer: npt.NDArray[np.float32] = probabilities(self._network(batch)[0]).sum(dim=0).cpu().numpy()
        return answer

    def _place(self, runtime: Runtime) -> None:
        with memory_errors(f"to put {self.spec.name!r} on {runtime.name}"):
            self._network = placed(self._original, runtime)
        self._runtime = runtime


@dataclass(eq=False)
class _Work:
    """The part of the probability that a correction may change."""

    task: _Task
    box: Box
    values: npt.NDArray[np.uint8]

    @classmethod
    def around(cls, task: _Task, patches: Sequence[Grid]) -> _Work:
        """A copy of what patches and the last prompt can reach."""
        grid = task.prepared.grid
        boxes = [box for box in (covering_box(patch, grid) for patch in patches) if box is not None]
        balls = constrained_voxels(task.shown[-1].points, grid.shape, grid.spacing)
        boxes += [((i.start, i.stop), (j.start, j.stop), (k.start, k.stop)) for (k, j, i), _ in balls]
        box = union(boxes)
        return cls(task, box, task.probability[slices(box)].copy())

    def add(self, change: npt.NDArray[np.float32], patch: Patch) -> None:
        """Adds a change seen in a patch."""
        inside = np.ascontiguousarray(change[slices(patch.inner)])
        add_change(self.values, self.box, self.task.prepared.grid, inside, patch.grid.crop(patch.inner))

    def finished(self) -> tuple[Box, npt.NDArray[np.uint8]]:
        """The rules applied: the user's input is law, and what is not connected with it stays."""
        before, after = self.task.probability[slices(self.box)], self.values
        law = [replace(hint, points=hint.points - origin(self.box)) for hint in self.task.law]
        spacing, last = self.task.prepared.grid.spacing, self.task.shown[-1]
        apply_constraints(after, law, spacing, certain=CERTAIN)
        old, new = before >= TUMOUR, after >= TUMOUR
        allowed = _components(old | new, last.points - origin(self.box)) & (old | self._open(last))
        if not self.task.answers_box:
            for at, inside in constrained_voxels(last.points - origin(self.box), after.shape, spacing):
                allowed[at] |= inside
        kept = (old != new) & ~allowed
        after[kept] = before[kept]
        return self.box, after

    def _open(self, last: PointPrompt) -> BoolArray:
        """Where the correction may add to the mask: in boxes the user gave, or anywhere if asked for outside them."""
        boxes = [translate(box, [-n for n in origin(self.box)]) for box in self.task.boxes]
        inside = np.full(self.values.shape, not boxes or self._asked_outside(last))
        for (i0, i1), (j0, j1), (k0, k1) in boxes:
            inside[max(k0, 0) : max(k1, 0), max(j0, 0) : max(j1, 0), max(i0, 0) : max(i1, 0)] = True
        return inside

    def _asked_outside(self, last: PointPrompt) -> bool:
        """Whether the last prompt is a positive click or stroke with a voxel in none of the boxes."""
        if self.task.answers_box or not last.positive:
            return False
        limits = np.array(self.task.boxes)  # [boxes, 3, 2]
        held = (last.points[:, None] >= limits[..., 0]) & (last.points[:, None] < limits[..., 1])
        return bool(np.any(~np.any(np.all(held, axis=2), axis=1)))


def _heart(probability: npt.NDArray[np.uint8], box: Box, spacing_mm: Sequence[float]) -> PointPrompt:
    """The voxel deepest (mm) within what the mask has in a box; the middle of the box where that is nothing."""
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


def _components(mask: BoolArray, points: FloatArray) -> BoolArray:
    """The connected parts of a mask (shared faces) that hold any of the points ``(i, j, k)``."""
    voxels = np.floor(points + 0.5).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < mask.shape[::-1])).all(axis=1)]
    seeds = [at for at in voxels.tolist() if mask[at[2], at[1], at[0]]]
    if not seeds:
        return np.zeros(mask.shape, dtype=bool)
    image = sitk.GetImageFromArray(mask.view(np.uint8))
    flooded = sitk.ConnectedThreshold(image, seedList=seeds, lower=1, upper=1)
    connected: BoolArray = sitk.GetArrayFromImage(flooded).view(bool)
    return connected


def _in_patch(hint: PointPrompt, grid: Grid, patch: Patch) -> PointPrompt:
    return PointPrompt(patch.grid.to_ijk(grid.to_ras(hint.points)), hint.positive)


def _leaves(patch: Patch, before: npt.NDArray[np.float32], answer: npt.NDArray[np.float32], hint: PointPrompt) -> bool:
    """Whether what the prompt changes reaches a side of the patch behind which the image goes on."""
    old, new = before > 0.5, answer > 0.5
    changed = (old != new) & (np.abs(answer - before) > LEAST_CHANGE) & _components(old | new, hint.points)
    changed[slices(_shrunk(patch))] = False
    return bool(changed.any())


def _shrunk(patch: Patch) -> Box:
    """The patch without its margin on those sides behind which the image goes on."""
    ranges = []
    for (before, behind), size in zip(patch.goes_on, patch.grid.size):
        ranges.append((MARGIN if before else 0, size - MARGIN if behind else size))
    return ranges[0], ranges[1], ranges[2]


def _is_small(prepared: Prepared, answer: npt.NDArray[np.float32], patch: Patch, hint: PointPrompt) -> bool:
    """Whether the tumour the prompt lies in fits well into a patch at the fine spacing, and the image shows more."""
    if min(prepared.grid.spacing) > HAS_DETAIL * min(prepared.spec.spacing_mm):
        return False
    inside = np.argwhere(_components(answer > 0.5, hint.points))
    if not len(inside):
        return False
    extent = inside.max(axis=0) - inside.min(axis=0) + 1
    return bool((extent * OWN <= SMALL * FINE * np.array(patch.grid.shape)).all())
