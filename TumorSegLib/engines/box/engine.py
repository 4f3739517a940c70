"""The box engine: a model of the SAM family, slice by slice, from a box around the tumour to a volume.

A box in 3D is loose: no tumour fills it to its corners, and users leave a margin. So every slice is prompted with the
section of the ellipsoid inscribed in the box, at two scales in turn, and the answers are smoothed from slice to slice,
and averaged over several axes if wanted. A box on one slice is segmented there and propagated from slice to slice until
the tumour ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from TumorSegLib.engines.box.embeddings import Embeddings
from TumorSegLib.engines.box.propagation import SlicePrediction, propagate
from TumorSegLib.engines.box.rectangles import SCALES, limits, sampled_slices, scaled, sections
from TumorSegLib.engines.box.slice_model import BoxCase, SliceModel
from TumorSegLib.engines.box.views import View
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.geometry.arrays import Float32Array, Float64Array, UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, full_box
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.display_windows import window_of
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.probability import EMPTY, to_uint8
from TumorSegLib.images.resample import resample
from TumorSegLib.images.volume import Images
from TumorSegLib.jobs import Cancel, Job, Progress
from TumorSegLib.memory import memory_errors
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions, Refinement, RunInfo

# Slices along which answers are smoothed, standard deviation; fewer slices than that stay as they are.
SMOOTHING, LEAST_SMOOTHED = 1.0, 3
# Context around a box in its view: this share of its size on every side.
CONTEXT = 0.5
# An encoded region is used for another box that lies in it with at least this margin and fills at least this share of
# it.
LEAST_CONTEXT, LEAST_FILLED = 0.15, 0.25


class BoxEngine:
    """Segments the tumour in a box on slices of one image.

    One engine may serve many cases, from several threads. Raises :class:`ModelError` where the model's ``arguments`` do
    not name the statistics of its pixels.

    Attributes:
        spec: the model.
        model: the 2D slice model.
    """

    def __init__(self, spec: ModelSpec, network: Sam, runtime: Runtime) -> None:
        self.spec = spec
        self.model = SliceModel(spec, network, runtime)

    @property
    def info(self) -> RunInfo:
        """Model, version, checksum of the weights, device and precision."""
        return self.model.placement.info()

    def prepare(self, images: Images, options: BoxOptions | None = None) -> BoxCase:
        """Brings one image to values from 0 to 1 on the grid of the first; slices are encoded when needed.

        Args:
            images: role to image.
            options: which of them, through which display window; the first by default.

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
        with memory_errors(f"to prepare images for {self.spec.name!r}"):
            window = window_of(volume, options.ct_window)
            resampled = resample(volume, grid, outside=window.outside)
            return BoxCase(grid, role, window(resampled.array), Embeddings())

    def embed(
        self, prepared: BoxCase, prompt: BoxPrompt, options: BoxOptions | None = None, cancel: Cancel | None = None
    ) -> int:
        """Encodes the slices of a box ahead: :meth:`segment` then answers sooner, and the same.

        Of a box one slice thick that slice alone: which others will be needed is not known before.

        Returns:
            How many slices were encoded; 0 where all were.

        Raises:
            ArgumentError, Cancelled, ResourceError: as :meth:`segment`; what was encoded before stays.
        """
        _check_inside(prompt.box, full_box(prepared.grid.shape), prepared.grid)
        axis = prompt.thin_axis(prepared.grid)
        axes = (options or BoxOptions()).axes if axis is None else (axis,)
        missing = 0
        with memory_errors(f"to run {self.spec.name!r}"):
            for number in axes:
                view = self.view(prepared, prompt.box, number)
                numbers = sampled_slices(prompt.box[number], prepared.grid.spacing[number])
                missing += len(numbers) - prepared.embeddings.count(view, numbers)
                self.model.encode(prepared, view, numbers, Job(cancel=cancel, name="the box", total=len(numbers)))
        return missing

    def segment(
        self,
        prepared: BoxCase,
        prompt: BoxPrompt,
        options: BoxOptions | None = None,
        *,
        within: BoxPrompt | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Refinement:
        """Segments the tumour in a box, or, from a box one slice thick, the tumour that runs through it.

        Args:
            prepared: from :meth:`prepare`.
            prompt: the box, in voxels of the first image.
            options: along which axes slices are cut.
            within: region around the box that a tumour propagated from slice to slice does not leave; the image
                where None.
            progress: called with slices done and slices in all.
            cancel: asked between batches of slices.

        Returns:
            The probability in the box; of a box one slice thick, in the slices the tumour was propagated to.

        Raises:
            ArgumentError: the box leaves the image, or the region does or does not contain the box.
            Cancelled: ``cancel`` returned True.
            ResourceError: memory does not suffice, not even on the CPU.
        """
        region = within.box if within else full_box(prepared.grid.shape)
        _check_inside(prompt.box, region, prepared.grid)
        axis = prompt.thin_axis(prepared.grid)
        with memory_errors(f"to run {self.spec.name!r}"):
            if axis is not None:
                low, high = region[axis]
                return self._propagated(
                    prepared, prompt.box, axis, region, Job(progress, cancel, "the box", high - low)
                )
            axes = (options or BoxOptions()).axes
            count = sum(len(sampled_slices(prompt.box[n], prepared.grid.spacing[n])) for n in axes)
            return self._volume(prepared, prompt.box, axes, Job(progress, cancel, "the box", count))

    def _volume(self, case: BoxCase, box: Box, axes: Sequence[int], job: Job) -> Refinement:
        """A box in 3D, along some axes."""
        found = np.zeros([high - low for low, high in box[::-1]], dtype=np.float32)
        for axis in axes:
            view = self.view(case, box, axis)
            numbers = sampled_slices(box[axis], case.grid.spacing[axis])
            embeddings = self.model.encode(case, view, numbers, job)
            rectangles = sections(view, box)[[number - box[axis][0] for number in numbers]]
            if len(numbers) < LEAST_SMOOTHED:
                prompts = [scaled(rectangles, scale) for scale in SCALES]
            else:  # smoothing averages over neighbours, so that one scale per slice, in turn, does for both on each
                prompts = [scaled(rectangles, np.resize(SCALES, (len(numbers), 1)))]
            answers = [self.model.decode(case, view, embeddings, some, job)[0] for some in prompts]
            found += interpolated(view, np.mean(answers, axis=0), numbers, box) / len(axes)
        values = to_uint8(found)
        job.lap("paste")
        return Refinement(box, values, self._info(case, job))

    def _propagated(self, case: BoxCase, box: Box, axis: int, region: Box, job: Job) -> Refinement:
        """The tumour boxed on one slice, propagated along the axis and cut to the region."""
        view = self.view(case, box, axis)
        rows, columns = view.plane

        def predict(number: int, rectangle: Float64Array) -> SlicePrediction:
            embedding = self.model.encode(case, view, range(number, number + 1), job)
            probabilities, scores = self.model.decode(case, view, embedding, rectangle[None], job)
            return SlicePrediction(probabilities[0], float(scores[0]))

        spacing = case.grid.spacing
        steps = (spacing[axis], spacing[rows], spacing[columns])
        found = propagate(predict, box[axis][0], limits(view, box), region[axis], steps)
        result, values = _pasted(view, found, region)
        job.lap("paste")
        refinement = Refinement(result, values, self._info(case, job))
        job.step(job.total, job.total)  # the tumour may have ended before the region
        return refinement

    def _info(self, case: BoxCase, job: Job) -> RunInfo:
        details = {"role": case.role, "slices": job.done}
        return self.model.placement.case(case).info(job, roles=(case.role,), details=details)

    def view(self, case: BoxCase, box: Box, axis: int) -> View:
        """The view for a box along an axis: of those that suit it the one with most slices encoded, or its own."""
        region = [_with_margin(limits, n, CONTEXT) for limits, n in zip(box, case.grid.size)]
        region[axis] = (0, case.grid.size[axis])
        own = View.of(case.grid, (region[0], region[1], region[2]), axis, self.model.image_size)
        kept = case.embeddings
        suitable = [view for view in kept.views() if view.axis == axis and _suits(view, box, case.grid)]
        # Of two its own, so that a box drawn again gives the same answer whatever was boxed in between.
        return max(suitable, key=lambda view: (kept.count(view, range(*box[axis])), view == own), default=own)


def _pasted(view: View, found: Mapping[int, Float32Array], region: Box) -> tuple[Box, UInt8Array]:
    """Slices smoothed and cut to a region: the box, and uint8 ``[k, j, i]``."""
    if not found:
        return EMPTY_BOX, EMPTY
    numbers = sorted(found)
    stack = np.stack([found[n] for n in numbers])
    ranges = [(max(a, b), min(c, d)) for (a, c), (b, d) in zip(view.region, region)]
    ranges[view.axis] = (numbers[0], numbers[-1] + 1)
    box = ranges[0], ranges[1], ranges[2]
    return box, np.ascontiguousarray(to_uint8(interpolated(view, stack, numbers, box)))


def _check_inside(box: Box, region: Box, grid: Grid) -> None:
    for what, ranges in (("box", box), ("region", region)):
        if any(low < 0 or high > n for (low, high), n in zip(ranges, grid.size)):
            raise ArgumentError(f"{what} {ranges} leaves the image of {grid.size} voxels (i, j, k)")
    if any(low < first or high > end for (low, high), (first, end) in zip(box, region)):
        raise ArgumentError(f"box {box} does not lie in the region {region} given for the tumour")


def _with_margin(limits: tuple[int, int], n: int, share: float) -> tuple[int, int]:
    margin = round(share * (limits[1] - limits[0]))
    return max(limits[0] - margin, 0), min(limits[1] + margin, n)


def _suits(view: View, box: Box, grid: Grid) -> bool:
    """Whether slices of a view show a box with enough around it, and large enough."""
    for axis in {0, 1, 2} - {view.axis}:
        (low, high), (first, end) = _with_margin(box[axis], grid.size[axis], LEAST_CONTEXT), view.region[axis]
        if low < first or high > end:
            return False
    shares = [(box[a][1] - box[a][0]) / (view.region[a][1] - view.region[a][0]) for a in {0, 1, 2} - {view.axis}]
    return max(shares) >= LEAST_FILLED


def interpolated(view: View, stack: Float32Array, numbers: Sequence[int], box: Box) -> Float32Array:
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
    position = np.interp(np.arange(*box[view.axis]), numbers, np.arange(len(numbers)))
    before = position.astype(int)
    behind = np.minimum(before + 1, len(numbers) - 1)
    share = (position - before).astype(np.float32)[:, None, None]
    part = stack[:, r0:r1, c0:c1]
    return view.unstack(part[before] * (1 - share) + part[behind] * share)
