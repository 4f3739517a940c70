"""The box engine: a model of the SAM family, slice by slice, from a box around the tumour to a volume.

A box in 3D is loose: no tumour fills it to its corners, and users leave a margin. So every slice is prompted with the
section of the ellipsoid inscribed in the box, at two scales in turn, and the answers are smoothed from slice to slice,
and averaged over several axes if wanted. A box on one slice is segmented there and followed from slice to slice until
the tumour ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d

from TumorSegLib.engines.box.embeddings import Embeddings
from TumorSegLib.engines.box.propagation import Answer, follow
from TumorSegLib.engines.box.rectangles import SCALES, limits, looked_at, scaled, sections
from TumorSegLib.engines.box.slice_model import SliceModel, SlicePoint, SlicePrompts
from TumorSegLib.engines.box.views import FloatStack, View
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.runtime import Runtime, describe
from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.geometry.boxes import EMPTY_BOX, full_box, slices
from TumorSegLib.geometry.grid import Box, FloatArray, Grid
from TumorSegLib.images.display_windows import window_of
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.probability import EMPTY, to_float, to_uint8
from TumorSegLib.images.resample import resample
from TumorSegLib.images.volume import Images
from TumorSegLib.jobs import Cancel, Job, Progress
from TumorSegLib.memory import memory_errors
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxContext, BoxOptions, Refinement

# Slices along which answers are smoothed, standard deviation; fewer slices than that stay as they are.
SMOOTHING, LEAST_SMOOTHED = 1.0, 3
# Surroundings shown with a box: this share of its size on every side.
CONTEXT = 0.5
# An embedded region serves another box that lies in it with at least this margin, and fills at least this share of it.
LEAST_CONTEXT, LEAST_SHARE = 0.15, 0.25


@dataclass(frozen=True, eq=False)
class Slices:
    """One image of a case, ready to be looked at slice by slice.

    Attributes:
        grid: of the first image.
        role: of the image shown.
        array: float32 ``[k, j, i]`` on ``grid``, from 0 to 1.
        embeddings: of slices seen so far.
    """

    grid: Grid
    role: str
    array: npt.NDArray[np.float32]
    embeddings: Embeddings


@dataclass(frozen=True, eq=False)
class _Case:
    """A box in an image, and what is shown with it."""

    slices: Slices
    box: Box
    context: BoxContext

    def prompts(self, view: View, numbers: range, rectangles: FloatArray) -> SlicePrompts:
        """For slices of a view, by their rectangles."""
        masks = None
        if self.context.probability is not None and self.context.probability[slices(self.box)].any():
            masks = to_float(view.stack(self.context.probability)[list(numbers)])
        points: list[list[SlicePoint]] = [[] for _ in numbers]
        for click in self.context.clicks:
            row, column = (click.ijk[axis] - view.region[axis][0] for axis in view.plane)
            inside = 0 <= row < view.shape[1] and 0 <= column < view.shape[2]
            place = round((click.ijk[view.axis] - numbers.start) / numbers.step)  # of the slice nearest to it
            if inside and 0 <= place < len(numbers):
                points[place].append((row, column, click.positive))
        return SlicePrompts(rectangles, points, masks)


class BoxEngine:
    """Segments what a box holds, on slices of one image.

    One engine may serve many cases, one at a time. Raises :class:`ModelError` where ``arguments`` do not say how the
    network wants its pixels.

    Attributes:
        spec: the model.
        model: its network, as it sees slices.
    """

    def __init__(self, spec: ModelSpec, network: Sam, runtime: Runtime) -> None:
        self.spec = spec
        self.model = SliceModel(spec, network, runtime)

    @property
    def info(self) -> dict[str, Any]:
        """JSON-ready: model, version, checksum of the weights, device and precision."""
        return describe(self.spec, self.model.runtime, self.model.wanted)

    def prepare(self, images: Images, options: BoxOptions | None = None) -> Slices:
        """Windows the image that is to be shown, on the grid of the first; slices are embedded when needed.

        Where an earlier case did not fit on the GPU, so that the network moved to the CPU, it moves back.

        Args:
            images: role to image.
            options: which of them, through which window; the first by default.

        Raises:
            RoleError: there is no image of that role.
            ArgumentError: there is no such window.
            GeometryError: the image does not overlap the first.
            ResourceError: memory does not suffice.
        """
        options = options or BoxOptions()
        images = ImageSet.of(images)
        role = options.role or images.reference
        if role not in images:
            raise RoleError(f"there is no image {role!r}; there are {', '.join(images)}")
        grid, volume = images.grid, images[role]
        self.model.return_to_device()
        with memory_errors(f"to prepare images for {self.spec.name!r}"):
            window = window_of(volume, options.ct_window)
            shown = resample(volume, grid, outside=window.outside)
            return Slices(grid, role, window(shown.array), Embeddings())

    def embed(
        self, prepared: Slices, prompt: BoxPrompt, options: BoxOptions | None = None, cancel: Cancel | None = None
    ) -> int:
        """Embeds ahead the slices that a box will need: while the user is still drawing it, or looks at the answer.

        The more of them are there, the sooner :meth:`segment` answers; its answer is the same. Of a box one slice thick
        that slice alone: which others will be needed is not known before.

        Returns:
            How many slices were embedded; 0 where all were.

        Raises:
            ArgumentError, Cancelled, ResourceError: as :meth:`segment`; what was embedded before stays.
        """
        _check_inside(prompt.box, full_box(prepared.grid.shape), prepared.grid)
        axis = prompt.thin_axis(prepared.grid)
        axes = (options or BoxOptions()).axes if axis is None else (axis,)
        missing = 0
        with memory_errors(f"to run {self.spec.name!r}"):
            for number in axes:
                view = self.view(prepared, prompt.box, number)
                numbers = looked_at(prompt.box[number], prepared.grid.spacing[number])
                missing += len(numbers) - prepared.embeddings.count(view, numbers)
                self._embedded(prepared, view, numbers, Job(cancel=cancel, name="the box", total=len(numbers)))
        return missing

    def segment(
        self,
        prepared: Slices,
        prompt: BoxPrompt,
        options: BoxOptions | None = None,
        *,
        context: BoxContext | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Refinement:
        """Segments the tumour in a box, or, from a box one slice thick, the tumour that runs through it.

        Args:
            prepared: from :meth:`prepare`.
            prompt: the box, in voxels of the first image.
            options: along which axes slices are looked at.
            context: what else is shown, and the region that a tumour followed from slice to slice does not leave.
            progress: called with slices done and slices in all.
            cancel: asked between batches of slices.

        Returns:
            The probability in the box; of a box one slice thick, in the slices the tumour was followed through.

        Raises:
            ArgumentError: the box leaves the image, or the region does or does not hold the box.
            Cancelled: ``cancel`` returned True.
            ResourceError: memory does not suffice, not even on the CPU.
        """
        context = context or BoxContext()
        region = context.within.box if context.within else full_box(prepared.grid.shape)
        _check_inside(prompt.box, region, prepared.grid)
        case = _Case(prepared, prompt.box, context)
        axis = prompt.thin_axis(prepared.grid)
        with memory_errors(f"to run {self.spec.name!r}"):
            if axis is not None:
                low, high = region[axis]
                return self._followed(case, axis, region, Job(progress, cancel, "the box", high - low))
            axes = (options or BoxOptions()).axes
            count = sum(len(looked_at(prompt.box[axis], prepared.grid.spacing[axis])) for axis in axes)
            return self._volume(case, axes, Job(progress, cancel, "the box", count))

    def _volume(self, case: _Case, axes: Sequence[int], job: Job) -> Refinement:
        """A box in 3D, along some axes."""
        found = np.zeros([high - low for low, high in case.box[::-1]], dtype=np.float32)
        for axis in axes:
            view = self.view(case.slices, case.box, axis)
            numbers = looked_at(case.box[axis], case.slices.grid.spacing[axis])
            embeddings = self._embedded(case.slices, view, numbers, job)
            rectangles = sections(view, case.box)[[number - case.box[axis][0] for number in numbers]]
            if len(numbers) < LEAST_SMOOTHED:
                prompts = [scaled(rectangles, scale) for scale in SCALES]
            else:  # smoothing averages over neighbours, so that one scale per slice, in turn, does for both on each
                prompts = [scaled(rectangles, np.resize(SCALES, (len(numbers), 1)))]
            answers = [
                self.model.answered(view, embeddings, case.prompts(view, numbers, some), job)[0] for some in prompts
            ]
            found += joined(view, np.mean(answers, axis=0), numbers, case.box) / len(axes)
        values = to_uint8(found)
        job.lap("paste")
        info = {**self.info, "role": case.slices.role, "slices": job.done, "seconds": job.seconds}
        return Refinement(case.box, values, info)

    def _followed(self, case: _Case, axis: int, region: Box, job: Job) -> Refinement:
        """The tumour boxed on one slice, followed along the axis."""
        view = self.view(case.slices, case.box, axis)
        rows, columns = view.plane

        def look(number: int, rectangle: FloatArray) -> Answer:
            numbers = range(number, number + 1)
            embedding = self._embedded(case.slices, view, numbers, job)
            prompts = case.prompts(view, numbers, rectangle[None])
            probabilities, scores = self.model.answered(view, embedding, prompts, job)
            return Answer(probabilities[0], float(scores[0]))

        spacing = case.slices.grid.spacing
        steps = (spacing[axis], spacing[rows], spacing[columns])
        found = follow(look, case.box[axis][0], limits(view, case.box), region[axis], steps)
        refinement = self._pasted(case.slices, view, found, region, job)
        job.step(job.total, job.total)  # the tumour may have ended before the image
        return refinement

    def _embedded(self, slices: Slices, view: View, numbers: Sequence[int], job: Job) -> torch.Tensor:
        return self.model.embedded(slices.embeddings, view, slices.array, numbers, job)

    def _pasted(
        self, prepared: Slices, view: View, found: Mapping[int, FloatStack], region: Box, job: Job
    ) -> Refinement:
        """Slices smoothed, and cut to a region."""
        info = {**self.info, "role": prepared.role, "slices": job.done}
        if not found:
            return Refinement(EMPTY_BOX, EMPTY, {**info, "seconds": job.seconds})
        numbers = sorted(found)
        stack = np.stack([found[n] for n in numbers])
        ranges = [(max(a, b), min(c, d)) for (a, c), (b, d) in zip(view.region, region)]
        ranges[view.axis] = (numbers[0], numbers[-1] + 1)
        box = ranges[0], ranges[1], ranges[2]
        values = np.ascontiguousarray(to_uint8(joined(view, stack, numbers, box)))
        job.lap("paste")
        return Refinement(box, values, {**info, "seconds": job.seconds})

    def view(self, prepared: Slices, box: Box, axis: int) -> View:
        """The view for a box along an axis: of those that serve the one with most slices embedded, or its own."""
        region = [_grown(limits, n, CONTEXT) for limits, n in zip(box, prepared.grid.size)]
        region[axis] = (0, prepared.grid.size[axis])
        own = View.of(prepared.grid, (region[0], region[1], region[2]), axis, self.model.image_size)
        kept = prepared.embeddings
        serving = [view for view in kept.views() if view.axis == axis and _serves(view, box, prepared.grid)]
        # Of two its own, so that a box drawn again gives the same answer whatever was boxed in between.
        return max(serving, key=lambda view: (kept.count(view, range(*box[axis])), view == own), default=own)


def _check_inside(box: Box, region: Box, grid: Grid) -> None:
    for what, ranges in (("box", box), ("region", region)):
        if any(low < 0 or high > n for (low, high), n in zip(ranges, grid.size)):
            raise ArgumentError(f"{what} {ranges} leaves the image of {grid.size} voxels (i, j, k)")
    if any(low < first or high > end for (low, high), (first, end) in zip(box, region)):
        raise ArgumentError(f"box {box} does not lie in the region {region} that the tumour is not to leave")


def _grown(limits: tuple[int, int], n: int, share: float) -> tuple[int, int]:
    margin = round(share * (limits[1] - limits[0]))
    return max(limits[0] - margin, 0), min(limits[1] + margin, n)


def _serves(view: View, box: Box, grid: Grid) -> bool:
    """Whether slices of a view show a box with enough around it, and large enough."""
    for axis in {0, 1, 2} - {view.axis}:
        (low, high), (first, end) = _grown(box[axis], grid.size[axis], LEAST_CONTEXT), view.region[axis]
        if low < first or high > end:
            return False
    shares = [(box[a][1] - box[a][0]) / (view.region[a][1] - view.region[a][0]) for a in {0, 1, 2} - {view.axis}]
    return max(shares) >= LEAST_SHARE


def joined(view: View, stack: FloatStack, numbers: Sequence[int], box: Box) -> FloatStack:
    """Answers on some slices ``[n, rows, columns]`` as the box ``[k, j, i]``.

    They are smoothed from slice to slice and fade at the ends; one or two slices would fade to nothing and stay as they
    are. Between the slices they are interpolated.
    """
    if len(stack) >= LEAST_SMOOTHED:
        stack = gaussian_filter1d(stack, SMOOTHING, axis=0, mode="constant")
    rows, columns = view.plane
    (r0, r1), (c0, c1) = (
        (box[axis][0] - view.region[axis][0], box[axis][1] - view.region[axis][0]) for axis in (rows, columns)
    )
    place = np.interp(np.arange(*box[view.axis]), numbers, np.arange(len(numbers)))
    before = place.astype(int)
    behind = np.minimum(before + 1, len(numbers) - 1)
    share = (place - before).astype(np.float32)[:, None, None]
    part = stack[:, r0:r1, c0:c1]
    return view.unstack(part[before] * (1 - share) + part[behind] * share)
