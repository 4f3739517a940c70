"""Named segments of one case and the one door through which their voxels change, with undo wrapped round it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, origin, slices, translate
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import EMPTY, TUMOUR, UInt8Array, to_float
from TumorSegLib.prompts.constraints import MaskEdit
from TumorSegLib.prompts.types import Prompt, Prompts
from TumorSegLib.session.history import Change, History, PromptChange, Step

BoolArray = npt.NDArray[np.bool_]


class Overlap(str, Enum):
    """What happens where an edit of one segment meets another: ``keep``, ``overwrite`` or ``allow``."""

    KEEP = "keep"  # the other segment keeps its voxels
    OVERWRITE = "overwrite"  # they move to the edited segment
    ALLOW = "allow"  # both have them


@dataclass(frozen=True, eq=False)
class Edit:
    """The part of a mask that changed; undo and redo return what they did in the same form.

    Attributes:
        segment: name of the segment.
        box: smallest half-open voxel box that holds all changed voxels; ``((0, 0), (0, 0), (0, 0))`` if none did.
        before, after: the mask in the box, uint8 0 or 1 ``[k, j, i]``.
        others: name to how the same step changed another segment, of the session (see :class:`Overlap`) or outside it
            (see :meth:`Segments.record_losses`). Of a segment outside, ``before`` and ``after`` hold only the voxels
            that it lost or, on undo, gets back.
        info: JSON-ready: model, device and timings, where an engine made the edit.
        step: number of the session's step; None where nothing changed.
    """

    segment: str
    box: Box
    before: UInt8Array
    after: UInt8Array
    others: Mapping[str, Edit] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None


@dataclass(eq=False)
class _Segment:
    """One segment: probability, prompts, how many voxels it has, and the mask as last read, None once outdated."""

    probability: UInt8Array
    prompts: Prompts = field(default_factory=Prompts)
    voxels: int = 0
    shown: UInt8Array | None = None

    def write(self, box: Box, probability: UInt8Array) -> None:
        """Replaces a part; masks that were read stay as they are."""
        at = slices(box)
        self.voxels += int(np.count_nonzero(probability >= TUMOUR) - np.count_nonzero(self.probability[at] >= TUMOUR))
        self.probability[at] = probability
        self.shown = None


class Segments:
    """Segments by name, in the order they were added, with their history. Reading is safe from any thread."""

    def __init__(self, grid: Grid, overlap: Overlap | str) -> None:
        """Begins without any segment; raises :class:`ArgumentError` for an unknown way of overlapping."""
        try:
            self.overlap = Overlap(overlap)
        except ValueError as error:
            raise ArgumentError(f"overlap {overlap!r} is not one of {', '.join(o.value for o in Overlap)}") from error
        self.grid = grid
        self.history = History()
        #: Held while voxels, prompts or steps change.
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
        segment = _Segment(np.zeros(self.grid.shape, dtype=np.uint8))
        segment.write(box, probability)
        with self.lock:
            self._segments[name] = segment

    def probability(self, name: str) -> UInt8Array:
        """The live probability of a segment, for engines to read; raises :class:`ArgumentError` for another name."""
        view = self._known(name).probability.view()
        view.setflags(write=False)
        return view

    def mask(self, name: str) -> UInt8Array:
        """The mask of a segment as it is now, uint8 0 or 1 ``[k, j, i]``, which no later edit changes."""
        segment = self._known(name)
        with self.lock:
            if segment.shown is None:
                segment.shown = _mask(segment.probability)
                segment.shown.setflags(write=False)
            return segment.shown

    def voxels(self, name: str) -> int:
        """How many voxels a segment has now, known without counting."""
        return self._known(name).voxels

    def scaled_probability(self, name: str) -> npt.NDArray[np.float32]:
        """A copy of the probability of a segment as it is now, float32 from 0 to 1."""
        segment = self._known(name)
        with self.lock:
            now = segment.probability.copy()
        return to_float(now)

    def prompts(self, name: str) -> Prompts:
        """Prompts of a segment that hold."""
        return self._known(name).prompts

    def check_free(self, name: str, prompt: Prompt) -> None:
        """Raises :class:`ArgumentError` if no voxel of a positive prompt may become tumour."""
        points = prompt.point_prompt()
        if self.overlap is not Overlap.KEEP or points is None or not points.positive:
            return
        at = tuple(points.points.T[::-1].astype(np.intp))
        others = {other: segment for other, segment in self._segments.items() if other != name}
        owned = {other: segment.probability[at] >= TUMOUR for other, segment in others.items()}
        if owned and np.any(list(owned.values()), axis=0).all():
            owners = ", ".join(repr(other) for other, voxels in owned.items() if voxels.any())
            raise ArgumentError(
                f"{prompt} lies in segment {owners}, which keeps its voxels; "
                'a session with overlap="overwrite" would take them'
            )

    def commit(
        self, name: str, box: Box, probability: UInt8Array, prompts: Prompts, info: Mapping[str, Any] | None = None
    ) -> Edit:
        """Writes a part of a segment, as far as other segments let it, as one step that can be undone.

        Where neither voxels nor prompts change there is no step, so what was undone can still be done again.

        Args:
            name: the segment.
            box: half-open voxel box.
            probability: uint8 ``[k, j, i]`` of the box.
            prompts: of the segment from now on.
            info: see :class:`Edit`.

        Raises:
            ResourceError: there is no room for the undo step; nothing was changed.
        """
        at = slices(box)
        before = self._known(name).probability[at]
        after = self._allowed(name, at, before, probability)
        wanted = {name: (after, prompts)}
        if self.overlap is Overlap.OVERWRITE:
            wanted |= self._taken(name, box, (after >= TUMOUR) & (before < TUMOUR))
        changes = [self._change(other, box, values) for other, (values, _) in wanted.items()]
        reworded = [PromptChange.between(other, self.prompts(other), held) for other, (_, held) in wanted.items()]
        step = Step(name, tuple(c for c in changes if c is not None), tuple(r for r in reworded if r is not None))
        if not (step.changes or step.prompts):
            return Edit(name, EMPTY_BOX, EMPTY, EMPTY, info=info or {})
        edit = self._apply(step, False, lambda: self.history.push(step))
        return replace(edit, info=info or {}, step=self.history.newest)

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
        lost = {loss.segment: _loss(loss, self.grid) for loss in losses}
        known = {*edit.others, *self._segments} - {edit.segment}
        if known & set(lost):
            raise ArgumentError(f"what segment {min(known & set(lost))!r} lost is recorded already")
        outside = (Change.between(name, loss.box, loss.before, loss.after) for name, loss in lost.items())
        changes = (*step.changes, *(replace(change, outside=True) for change in outside))
        with self.lock:
            self.history.replace_newest(replace(step, changes=changes))
        return replace(edit, others={**edit.others, **lost}, step=self.history.newest)

    def undo(self) -> Edit | None:
        """Takes the last step back; None at the beginning."""
        step = self.history.back()
        number = self.history.newest
        return None if step is None else replace(self._apply(step, True, lambda: self.history.moved(-1)), step=number)

    def redo(self) -> Edit | None:
        """Does again the step undone last; None where there is none."""
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
                segment.write(change.box, segment.probability[slices(change.box)] ^ change.unpacked())
        for each in step.prompts:
            segment = self._segments[each.segment]
            segment.prompts = each.applied(segment.prompts, undo=False)

    def _apply(self, step: Step, undo: bool, note: Callable[[], None]) -> Edit:
        """Does a step or undoes it; all that may fail comes before the first write."""
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
            writes.append((segment, change.box, after))
            edit = _edit(change.segment, change.box, _mask(before), _mask(after))
            if change.segment == step.segment:
                own = edit
            else:
                others[change.segment] = edit
        prompts = [(self._segments[c.segment], c.applied(self.prompts(c.segment), undo)) for c in step.prompts]
        with self.lock:
            note()
            for segment, box, after in writes:
                segment.write(box, after)
            for segment, held in prompts:
                segment.prompts = held
        return replace(own, others=others)

    def _change(self, name: str, box: Box, values: UInt8Array) -> Change | None:
        """What new values in a box change; None if nothing."""
        old = self._segments[name].probability[slices(box)]
        inner = bounding_box(old != values)
        if inner is None:
            return None
        at = slices(inner)
        return Change.between(name, translate(inner, origin(box)), old[at], values[at])

    def _allowed(self, name: str, at: tuple[slice, ...], before: UInt8Array, after: UInt8Array) -> UInt8Array:
        """The new values, but for those that would enter a segment that keeps its voxels."""
        others = [segment for other, segment in self._segments.items() if other != name]
        if self.overlap is not Overlap.KEEP or not others:
            return after
        entered = (after >= TUMOUR) & (before < TUMOUR)
        blocked = np.any([segment.probability[at] >= TUMOUR for segment in others], axis=0) & entered
        return np.where(blocked, before, after)

    def _taken(self, name: str, box: Box, entered: BoolArray) -> dict[str, tuple[UInt8Array, Prompts]]:
        """What other segments are left with in a box that voxels of theirs move out of, by their names.

        Their prompts there no longer hold, or their next click would take the voxels back.
        """
        taken = {}
        for other, segment in self._segments.items():
            values = segment.probability[slices(box)]
            lost = (values >= TUMOUR) & entered
            if other != name and lost.any():
                held = segment.prompts.without_conflicts(MaskEdit(box, lost, np.zeros_like(lost), self.grid.spacing))
                taken[other] = (np.where(lost, 0, values).astype(np.uint8), held)
        return taken

    def check_known(self, name: str) -> None:
        """Raises :class:`ArgumentError` if there is no segment of this name."""
        self._known(name)

    def _known(self, name: str) -> _Segment:
        if name not in self._segments:
            raise ArgumentError(f"there is no segment {name!r}; there are {', '.join(self._segments)}")
        return self._segments[name]


def _mask(probability: UInt8Array) -> UInt8Array:
    return (probability >= TUMOUR).view(np.uint8)


def _loss(loss: Edit, grid: Grid) -> Edit:
    """The loss of a segment outside the session, its voxels 1 before and 0 after, cut to these."""
    shape = grid.crop(loss.box).shape
    if not loss.before.shape == loss.after.shape == shape:
        raise GeometryError(f"a loss of shape {loss.after.shape} does not fill the box {loss.box}, {shape}")
    lost = (loss.before > 0) & (loss.after == 0)
    if not lost.any() or ((loss.after > 0) & (loss.before == 0)).any():
        raise ArgumentError(f"segment {loss.segment!r} must lose at least one voxel and gain none")
    return _edit(loss.segment, loss.box, lost.view(np.uint8), np.zeros(shape, dtype=np.uint8))


def _edit(name: str, box: Box, before: UInt8Array, after: UInt8Array) -> Edit:
    """The edit of a part of a mask, cut to what changed."""
    inner = bounding_box(before != after)
    if inner is None:
        return Edit(name, EMPTY_BOX, EMPTY, EMPTY)
    at = slices(inner)
    return Edit(name, translate(inner, origin(box)), before[at].copy(), after[at].copy())
