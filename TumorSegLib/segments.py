"""Named segments of one case and the one door through which their voxels change, with undo wrapped round it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from TumorSegLib.boxes import NOTHING, bounding_box, corner, moved, slices
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry import Box, Grid
from TumorSegLib.history import Change, History, Step
from TumorSegLib.prompts import Prompts

Bytes = npt.NDArray[np.uint8]
EMPTY: Bytes = np.zeros((0, 0, 0), dtype=np.uint8)
#: A voxel is tumour from this value on; probabilities are kept as uint8, 255 for 1.
TUMOUR = 128


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
        others: what the edit did to other segments, see :class:`Overlap`.
        info: JSON-ready: model, device and timings, where an engine made the edit.
    """

    segment: str
    box: Box
    before: Bytes
    after: Bytes
    others: tuple[Edit, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)


class _Segment:
    """One segment: its probability, the mask that follows from it, and its prompts."""

    def __init__(self, grid: Grid) -> None:
        self.probability = np.zeros(grid.shape, dtype=np.uint8)
        self.mask = np.zeros(grid.shape, dtype=np.uint8)
        self.prompts = Prompts()
        self.shown = False

    def unshare(self) -> None:
        """Arrays that callers hold stay as they are; copies take their place."""
        if self.shown:
            self.probability, self.mask, self.shown = self.probability.copy(), self.mask.copy(), False

    def write(self, box: Box, probability: Bytes, mask: Bytes) -> None:
        """Replaces a part."""
        at = slices(box)
        self.probability[at], self.mask[at] = probability, mask


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
        self._segments: dict[str, _Segment] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """In the order they were added."""
        return tuple(self._segments)

    def add(self, name: str, box: Box = NOTHING, probability: Bytes = EMPTY) -> None:
        """Adds a segment with this probability in a box and 0 elsewhere.

        Raises:
            ArgumentError: the name is empty or taken.
        """
        if not isinstance(name, str):
            raise ArgumentError(f"a segment's name must be text, got {name!r}")
        if not name or name in self._segments:
            raise ArgumentError(f"segment name {name!r} is empty or taken; there are {', '.join(self._segments)}")
        segment = _Segment(self.grid)
        segment.write(box, probability, _mask(probability))
        self._segments[name] = segment

    def probability(self, name: str) -> Bytes:
        """The live probability of a segment, for engines to read; raises :class:`ArgumentError` for another name."""
        view = self._known(name).probability.view()
        view.setflags(write=False)
        return view

    def shown(self, name: str) -> tuple[Bytes, Bytes]:
        """Probability and mask of a segment as they are now, which no later edit changes."""
        with self._lock:
            segment = self._known(name)
            segment.shown = True
            return segment.probability, segment.mask

    def prompts(self, name: str) -> Prompts:
        """Prompts of a segment that hold."""
        return self._known(name).prompts

    def owners(self, ijk: Sequence[int], other_than: str) -> list[str]:
        """The other segments that hold a voxel ``(i, j, k)``."""
        i, j, k = ijk
        return [name for name, s in self._segments.items() if name != other_than and s.mask[k, j, i]]

    def commit(
        self, name: str, box: Box, probability: Bytes, prompts: Prompts, info: Mapping[str, Any] | None = None
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
        segment, at = self._known(name), slices(box)
        before = segment.probability[at]
        after = self._allowed(name, at, before, probability)
        parts = {name: (box, after)}
        if self.overlap is Overlap.OVERWRITE:
            parts |= self._taken(name, box, (after >= TUMOUR) & (before < TUMOUR))
        changes = []
        for other, (where, values) in parts.items():
            old = self._segments[other].probability[slices(where)]
            inner = bounding_box(old != values)
            if inner is not None:
                cut = slices(inner)
                changes.append(Change.between(other, moved(inner, corner(where)), old[cut], values[cut]))
        step = Step.of(name, changes, segment.prompts, prompts)
        if not (step.changes or step.removed or step.added):
            return Edit(name, NOTHING, EMPTY, EMPTY, info=info or {})
        return self._apply(step, prompts, info or {}, lambda: self.history.push(step))

    def undo(self) -> Edit | None:
        """Takes the last step back; None at the beginning."""
        return self._move(self.history.back(), -1)

    def redo(self) -> Edit | None:
        """Does again the step undone last; None where there is none."""
        return self._move(self.history.forward(), 1)

    def restore(self, name: str, prompts: Prompts) -> None:
        """Sets the prompts of a segment of a session that is being read."""
        self._known(name).prompts = prompts

    def _move(self, step: Step | None, by: int) -> Edit | None:
        if step is None:
            return None
        prompts = step.prompts(self._segments[step.segment].prompts, undo=by < 0)
        return self._apply(step, prompts, {}, lambda: self.history.moved(by))

    def _apply(self, step: Step, prompts: Prompts, info: Mapping[str, Any], note: Callable[[], None]) -> Edit:
        """Turns before into after, or back, which is the same; all that may fail comes before the first write."""
        writes, edits = [], {}
        with self._lock:
            for change in step.changes:
                segment, at = self._segments[change.segment], slices(change.box)
                segment.unshare()
                after = segment.probability[at] ^ change.unpacked()
                mask = _mask(after)
                writes.append((segment, change.box, after, mask))
                edits[change.segment] = _edit(change.segment, change.box, segment.mask[at], mask)
            own = edits.pop(step.segment, Edit(step.segment, NOTHING, EMPTY, EMPTY))
            edit = replace(own, others=tuple(edits.values()), info=info)
            note()
            for segment, box, after, mask in writes:
                segment.write(box, after, mask)
            self._segments[step.segment].prompts = prompts
        return edit

    def _allowed(self, name: str, at: tuple[slice, ...], before: Bytes, after: Bytes) -> Bytes:
        """The new values, but for those that would enter a segment that keeps its voxels."""
        others = [segment for other, segment in self._segments.items() if other != name]
        if self.overlap is not Overlap.KEEP or not others:
            return after
        entered = (after >= TUMOUR) & (before < TUMOUR)
        blocked = np.any([segment.mask[at] for segment in others], axis=0) & entered
        return np.where(blocked, before, after)

    def _taken(self, name: str, box: Box, entered: npt.NDArray[np.bool_]) -> dict[str, tuple[Box, Bytes]]:
        """What other segments lose, by their names."""
        taken = {}
        for other, segment in self._segments.items():
            lost = (segment.mask[slices(box)] > 0) & entered
            if other != name and lost.any():
                taken[other] = (box, np.where(lost, 0, segment.probability[slices(box)]).astype(np.uint8))
        return taken

    def _known(self, name: str) -> _Segment:
        if name not in self._segments:
            raise ArgumentError(f"there is no segment {name!r}; there are {', '.join(self._segments)}")
        return self._segments[name]


def _mask(probability: Bytes) -> Bytes:
    return (probability >= TUMOUR).astype(np.uint8)


def _edit(name: str, box: Box, before: Bytes, after: Bytes) -> Edit:
    """The edit of a part of a mask, cut to what changed."""
    inner = bounding_box(before != after)
    if inner is None:
        return Edit(name, NOTHING, EMPTY, EMPTY)
    at = slices(inner)
    return Edit(name, moved(inner, corner(box)), before[at].copy(), after[at].copy())
