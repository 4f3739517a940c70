"""Named segments of one case; every change of their voxels is a step that can be undone."""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import Float32Array, UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, full_box, origin, slices, translate, union, within
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import EMPTY, TUMOUR, to_float
from TumorSegLib.prompts.constraints import CONSTRAINT_RADIUS_MM, MaskEdit
from TumorSegLib.prompts.types import Prompt, Prompts
from TumorSegLib.protocols import RunInfo
from TumorSegLib.session.edit import Edit, checked_loss
from TumorSegLib.session.history import Change, History, PromptChange, Step
from TumorSegLib.session.overlap import Overlap, check_free, outside_others

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Segment:
    """One segment.

    Attributes:
        probability, prompts, voxels: as it is now; ``voxels`` is their number.
        initial: box and values that it began with; 0 outside the box.
        initial_checksum: of these.
        last_mask: the mask as last read, None once outdated.
    """

    probability: UInt8Array
    initial: tuple[Box, UInt8Array]
    initial_checksum: int
    prompts: Prompts = field(default_factory=Prompts)
    voxels: int = 0
    last_mask: UInt8Array | None = None

    def growth(self, box: Box, probability: UInt8Array) -> int:
        """The number of voxels that the segment gains if a part is replaced; negative if it loses more."""
        before = self.probability[slices(box)] >= TUMOUR
        return int(np.count_nonzero(probability >= TUMOUR)) - int(np.count_nonzero(before))

    def write(self, box: Box, probability: UInt8Array, growth: int) -> None:
        """Replaces a part, with its :meth:`growth`; allocates no arrays. Masks read before do not change."""
        self.voxels += growth
        self.probability[slices(box)] = probability
        self.last_mask = None


class Segments:
    """Segments by name, in the order they were added, with their history.

    One thread edits at a time. Masks, copies of probabilities, numbers of voxels and prompts may be read from any
    thread; :meth:`probability` is the array that edits write to, for the editing thread only.

    Attributes:
        grid: of all segments.
        overlap: what happens where an edit of one segment meets another.
        history: steps done and undone.
        lock: held while voxels, prompts or steps change.
    """

    def __init__(self, grid: Grid, overlap: Overlap | str) -> None:
        """Begins without any segment; raises :class:`ArgumentError` for an unknown way of overlapping."""
        try:
            self.overlap = Overlap(overlap)
        except ValueError as error:
            raise ArgumentError(f"overlap {overlap!r} is not one of {', '.join(o.value for o in Overlap)}") from error
        self.grid = grid
        self.history = History()
        self.lock = threading.Lock()
        self._segments: dict[str, _Segment] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """In the order they were added."""
        return tuple(self._segments)

    def add(self, name: str, box: Box = EMPTY_BOX, probability: UInt8Array = EMPTY) -> None:
        """Adds a segment with this probability in a box and 0 elsewhere.

        Raises:
            ArgumentError: the name is empty or taken.
        """
        if not isinstance(name, str):
            raise ArgumentError(f"a segment's name must be text, got {name!r}")
        if not name or name in self._segments:
            raise ArgumentError(f"segment name {name!r} is empty or taken; there are {', '.join(self._segments)}")
        initial = box, probability
        segment = _Segment(np.zeros(self.grid.shape, dtype=np.uint8), initial, checksum(*initial))
        segment.write(box, probability, segment.growth(box, probability))
        with self.lock:
            self._segments[name] = segment

    def discard(self, name: str) -> None:
        """Removes a segment that no step has changed."""
        with self.lock:
            del self._segments[name]

    def probability(self, name: str) -> UInt8Array:
        """A read-only view of a segment's probability, uint8 ``[k, j, i]``; later edits change it.

        Raises:
            ArgumentError: there is no segment of this name.
        """
        view = self._known(name).probability.view()
        view.setflags(write=False)
        return view

    def mask(self, name: str) -> UInt8Array:
        """The mask of a segment, uint8 0 or 1 ``[k, j, i]``, read-only; later edits do not change it."""
        segment = self._known(name)
        with self.lock:
            if segment.last_mask is None:
                segment.last_mask = _mask(segment.probability)
                segment.last_mask.setflags(write=False)
            return segment.last_mask

    def voxels(self, name: str) -> int:
        """The number of voxels of a segment, which is kept and not counted."""
        return self._known(name).voxels

    def initial(self, name: str) -> tuple[Box, UInt8Array]:
        """Box and probability, uint8 ``[k, j, i]``, that a segment began with; 0 outside the box."""
        return self._known(name).initial

    def initial_checksum(self, name: str) -> int:
        """The :func:`checksum` of what a segment began with."""
        return self._known(name).initial_checksum

    def is_initial(self, name: str) -> bool:
        """Whether a segment has no prompts, and the probability that it began with."""
        segment = self._known(name)
        box, initial = segment.initial
        with self.lock:
            if segment.prompts.items or np.count_nonzero(segment.probability) != np.count_nonzero(initial):
                return False
            return np.array_equal(segment.probability[slices(box)], initial)

    def scaled_probability(self, name: str) -> Float32Array:
        """A copy of the probability of a segment, float32 from 0 to 1 ``[k, j, i]``."""
        segment = self._known(name)
        with self.lock:
            current = segment.probability.copy()
        return to_float(current)

    def prompts(self, name: str) -> Prompts:
        """The prompts of a segment that no later edit contradicts."""
        return self._known(name).prompts

    def check_free(self, name: str, prompt: Prompt) -> None:
        """Raises :class:`ArgumentError` if no voxel of a positive prompt may become tumour."""
        others = self._others(name)
        if self.overlap is Overlap.KEEP and others:
            check_free(prompt, {other: segment.probability for other, segment in others.items()})

    def commit(
        self,
        name: str,
        box: Box,
        probability: UInt8Array,
        prompts: Prompts,
        info: RunInfo | None = None,
        reach_mm: float = CONSTRAINT_RADIUS_MM,
    ) -> Edit:
        """Writes a part of a segment, as far as the overlap policy allows, as one step that can be undone.

        If neither voxels nor prompts change, no step is added and undone steps can still be done again.

        Args:
            name: the segment.
            box: half-open voxel box.
            probability: uint8 ``[k, j, i]`` of the box.
            prompts: of the segment from now on.
            info: see :class:`Edit`.
            reach_mm: how far prompts of other segments decide; those that a loss of voxels contradicts are dropped.

        Raises:
            ResourceError: there is no room for the undo step; nothing was changed.
        """
        at = slices(box)
        before = self._known(name).probability[at]
        after = self._allowed((name,), at, before, probability)
        results = {name: (box, after, prompts)}
        if self.overlap is Overlap.OVERWRITE:
            results |= self._overwritten(Edit(name, box, _mask(before), _mask(after)), (name,), reach_mm)
        return self._written(name, results, info or RunInfo())

    def commit_labels(self, parts: Mapping[str, tuple[Box, UInt8Array]], info: RunInfo) -> Edit:
        """Replaces whole segments, by name, by the labels of one result, without their prompts, as one step.

        The labels may overlap each other; the overlap policy holds towards the other segments. The edit is that of the
        first label, with the others in its ``others``. Raises as :meth:`commit`.
        """
        results: dict[str, tuple[Box, UInt8Array, Prompts]] = {}
        for name, (box, values) in parts.items():
            current = self._known(name).probability
            whole = union([box, bounding_box(current) or box])
            after = np.zeros(tuple(high - low for low, high in reversed(whole)), np.uint8)
            after[slices(within(box, whole))] = values
            at = slices(whole)
            results[name] = whole, self._allowed(tuple(parts), at, current[at], after), Prompts()
        first = next(iter(parts))
        if self.overlap is Overlap.OVERWRITE:
            results |= self._overwritten(self._together(first, results), tuple(parts), CONSTRAINT_RADIUS_MM)
        return self._written(first, results, info)

    def _together(self, name: str, results: Mapping[str, tuple[Box, UInt8Array, Prompts]]) -> Edit:
        """What several segments gain, as the edit of one."""
        box = union([each for each, _, _ in results.values()])
        before = np.zeros(tuple(high - low for low, high in reversed(box)), np.uint8)
        after = before.copy()
        for each, (part, values, _) in results.items():
            at = slices(within(part, box))
            before[at] |= _mask(self._known(each).probability[slices(part)])
            after[at] |= _mask(values)
        return Edit(name, box, before, after)

    def _written(self, name: str, results: Mapping[str, tuple[Box, UInt8Array, Prompts]], info: RunInfo) -> Edit:
        """Writes parts of segments, by name, with their prompts from now on, as one step of a segment."""
        changes = [self._change(each, part, values) for each, (part, values, _) in results.items()]
        prompt_changes = [PromptChange.between(each, self.prompts(each), kept) for each, (*_, kept) in results.items()]
        step = Step(name, tuple(c for c in changes if c), tuple(c for c in prompt_changes if c))
        if not (step.changes or step.prompts):
            return Edit(name, EMPTY_BOX, EMPTY, EMPTY, info=info)
        if undone := len(self.history) - self.history.position:
            _log.debug("undone steps dropped for a new one: %d", undone)
        edit = self._apply(step, False, lambda: self.history.push(step))
        return replace(edit, info=info, step=self.history.newest)

    def reset(self, name: str) -> Edit:
        """Restores what a segment began with and drops its prompts; raises as :meth:`commit`."""
        box, initial = self.initial(name)
        values = np.zeros(self.grid.shape, dtype=np.uint8)
        values[slices(box)] = initial
        return self.commit(name, full_box(self.grid.shape), values, Prompts())

    def record_losses(self, edit: Edit, losses: Iterable[Edit]) -> Edit:
        """Adds what segments outside the session lost to the step of an edit; see :meth:`Session.record_losses`."""
        losses, step = list(losses), self.history.back()
        if not losses:
            return edit
        if step is None or edit.step != self.history.newest or self.history.position < len(self.history):
            raise ArgumentError(
                f"the edit of segment {edit.segment!r} (step {edit.step}) is not the newest step "
                f"({self.history.newest}): record losses before anything else is edited or undone"
            )
        lost = {loss.segment: checked_loss(loss, self.grid) for loss in losses}
        known = {*edit.others, *self._segments} - {edit.segment}
        if known & set(lost):
            raise ArgumentError(f"what segment {min(known & set(lost))!r} lost is recorded already")
        outside = (Change.between(name, loss.box, loss.before, loss.after) for name, loss in lost.items())
        changes = (*step.changes, *(replace(change, outside=True) for change in outside))
        with self.lock:
            self.history.replace_newest(replace(step, changes=changes))
        return replace(edit, others={**edit.others, **lost}, step=self.history.newest)

    def undo(self) -> Edit | None:
        """Undoes the newest step done; None at the beginning."""
        step, number = self.history.back(), self.history.newest
        return None if step is None else replace(self._apply(step, True, lambda: self.history.moved(-1)), step=number)

    def preview_undo(self) -> Edit | None:
        """What :meth:`undo` would return, while nothing changes; None at the beginning."""
        with self.lock:
            step = self.history.back()
            return None if step is None else self._resolved(step, True)[0]

    def redo(self) -> Edit | None:
        """Does the step undone last again; None if there is none."""
        step = self.history.forward()
        if step is None:
            return None
        edit = self._apply(step, False, lambda: self.history.moved(1))
        return replace(edit, step=self.history.newest)

    def replay(self, step: Step) -> None:
        """Does a step of a saved session, without history; raises ValueError if it does not fit its prompts."""
        for change in step.changes:
            if not change.outside:
                segment = self._segments[change.segment]
                after = segment.probability[slices(change.box)] ^ change.unpacked()
                segment.write(change.box, after, segment.growth(change.box, after))
        for each in step.prompts:
            segment = self._segments[each.segment]
            segment.prompts = each.applied(segment.prompts, undo=False)

    def _apply(self, step: Step, undo: bool, note: Callable[[], None]) -> Edit:
        """Does a step or undoes it; everything that may fail, allocations included, comes before the first write.

        Args:
            step: the step.
            undo: whether it is undone.
            note: notes the step in the history; called before the first write, which it prevents by raising.
        """
        edit, writes = self._resolved(step, undo)
        prompts = [(self._segments[c.segment], c.applied(self.prompts(c.segment), undo)) for c in step.prompts]
        with self.lock:
            note()
            for segment, box, after, growth in writes:
                segment.write(box, after, growth)
            for segment, kept in prompts:
                segment.prompts = kept
        return edit

    def _resolved(self, step: Step, undo: bool) -> tuple[Edit, list[tuple[_Segment, Box, UInt8Array, int]]]:
        """The edit that a step is, done or undone, and the arguments of the writes that do it."""
        writes, own, others = [], Edit(step.segment, EMPTY_BOX, EMPTY, EMPTY), {}
        for change in step.changes:
            if change.outside:
                lost = change.unpacked()
                sides = (np.zeros_like(lost), lost) if undo else (lost, np.zeros_like(lost))
                others[change.segment] = Edit(change.segment, change.box, *sides)
                continue
            segment = self._segments[change.segment]
            before = segment.probability[slices(change.box)]
            after = before ^ change.unpacked()
            writes.append((segment, change.box, after, segment.growth(change.box, after)))
            edit = Edit.between(change.segment, change.box, _mask(before), _mask(after))
            if change.segment == step.segment:
                own = edit
            else:
                others[change.segment] = edit
        return replace(own, others=others), writes

    def _change(self, name: str, box: Box, values: UInt8Array) -> Change | None:
        """The change to new values in a box, cut to the voxels that differ; None if none does."""
        old = self._segments[name].probability[slices(box)]
        inner = bounding_box(old != values)
        if inner is None:
            return None
        at = slices(inner)
        return Change.between(name, translate(inner, origin(box)), old[at], values[at])

    def _allowed(
        self, names: Sequence[str], at: tuple[slice, ...], before: UInt8Array, after: UInt8Array
    ) -> UInt8Array:
        """The new values, but the old ones where a segment of another name that keeps its voxels would be entered."""
        others = self._others(*names)
        if self.overlap is not Overlap.KEEP or not others:
            return after
        return outside_others(before, after, [segment.probability[at] for segment in others.values()])

    def _overwritten(
        self, edit: Edit, names: Sequence[str], reach_mm: float
    ) -> dict[str, tuple[Box, UInt8Array, Prompts]]:
        """By name, a box, the new values in it and the prompts of segments of other names that lose voxels by an edit.

        Prompts that the loss contradicts are dropped, or the next click there would take the voxels back.
        """
        results = {}
        for other, segment in self._others(*names).items():
            loss = edit.loss_of(other, _mask(segment.probability[slices(edit.box)]))
            if loss is not None:
                lost, values = loss.before > 0, segment.probability[slices(loss.box)]
                contradiction = MaskEdit(loss.box, lost, np.zeros_like(lost), self.grid.spacing, reach_mm)
                kept = segment.prompts.without_conflicts(contradiction)
                results[other] = (loss.box, np.where(lost, 0, values).astype(np.uint8), kept)
        return results

    def check_known(self, name: str) -> None:
        """Raises :class:`ArgumentError` if there is no segment of this name."""
        self._known(name)

    def _others(self, *names: str) -> dict[str, _Segment]:
        return {other: segment for other, segment in self._segments.items() if other not in names}

    def _known(self, name: str) -> _Segment:
        if name not in self._segments:
            raise ArgumentError(f"there is no segment {name!r}; there are {', '.join(self._segments)}")
        return self._segments[name]


def checksum(box: Box, values: UInt8Array) -> int:
    """CRC-32 of values ``[k, j, i]`` in a box."""
    return zlib.crc32(np.ascontiguousarray(values).data, zlib.crc32(str(box).encode("ascii")))


def _mask(probability: UInt8Array) -> UInt8Array:
    return (probability >= TUMOUR).view(np.uint8)
