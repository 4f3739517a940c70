"""Undo and redo without a limit in bounded memory.

Of a change only the bits that differ are kept, compressed, and of long histories only the latest in memory: the
exclusive or of before and after turns either into the other, so one copy serves undo and redo.
"""

from __future__ import annotations

import tempfile
import weakref
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ResourceError
from TumorSegLib.geometry.grid import Box
from TumorSegLib.prompts.types import Prompt, Prompts

# Bytes of compressed changes kept in memory; a click on a tumour of 10 cm takes about 20 kB.
MEMORY_BUDGET = 64 * 2**20


@dataclass(frozen=True)
class Change:
    """How the probability of one segment changed in one box.

    Attributes:
        segment: its name.
        box: half-open voxel box; empty ranges where no voxel changed.
        difference: before XOR after, uint8 ``[k, j, i]`` of the box, compressed by zlib.
        outside: whether the caller keeps the segment, not the session; the difference is then 1 where it lost a voxel.
    """

    segment: str
    box: Box
    difference: bytes
    outside: bool = False

    @classmethod
    def between(cls, segment: str, box: Box, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> Change:
        """The change from ``before`` to ``after``, uint8 ``[k, j, i]`` of the box."""
        difference = np.bitwise_xor(before, after)
        return cls(segment, box, zlib.compress(difference.tobytes(), 1))

    def unpacked(self) -> npt.NDArray[np.uint8]:
        """Before XOR after, uint8 ``[k, j, i]`` of the box."""
        (i0, i1), (j0, j1), (k0, k1) = self.box
        flat = np.frombuffer(zlib.decompress(self.difference), dtype=np.uint8)
        return flat.reshape(k1 - k0, j1 - j0, i1 - i0)


@dataclass(frozen=True)
class PromptChange:
    """What happened to the prompts of one segment.

    Attributes:
        segment: its name.
        kept: how many of its first prompts stayed.
        removed, added: its prompts after those, before and after.
    """

    segment: str
    kept: int
    removed: tuple[Prompt, ...]
    added: tuple[Prompt, ...]

    @classmethod
    def between(cls, segment: str, before: Prompts, after: Prompts) -> PromptChange | None:
        """The change from some prompts to others; None where there is none."""
        pairs = zip(before.items, after.items)
        kept = next((n for n, (old, new) in enumerate(pairs) if old is not new), min(len(before), len(after)))
        if kept == max(len(before), len(after)):
            return None
        return cls(segment, kept, before.items[kept:], after.items[kept:])

    def applied(self, now: Prompts, undo: bool) -> Prompts:
        """The segment's prompts after the change was undone or done again."""
        return Prompts((*now.items[: self.kept], *(self.removed if undo else self.added)))


@dataclass(frozen=True)
class Step:
    """The unit of undo: one edit of one segment with its effects on others.

    Attributes:
        segment: the one that was edited.
        changes: of voxels, of this segment, of others and of those outside the session.
        prompts: changes of prompts, of this segment and of others.
    """

    segment: str
    changes: tuple[Change, ...]
    prompts: tuple[PromptChange, ...]


class History:
    """Steps done, and those undone that may be done again. Old steps move to a temporary file."""

    def __init__(self, steps: Iterable[Step] = (), position: int | None = None) -> None:
        """Begins with steps of an earlier session, of which the first ``position`` are done (default all)."""
        self._steps: list[Step | _Stored] = []
        self._numbers: list[int] = []
        self._next_number = 0
        self._file: IO[bytes] | None = None
        self._in_memory = 0
        self._oldest_in_memory = 0
        self.position = 0
        for step in steps:
            self.push(step)
        if position is not None:
            self.position = position

    def __len__(self) -> int:
        return len(self._steps)

    def steps(self) -> list[Step]:
        """All steps in order, the undone ones last."""
        return [self._loaded(step) for step in self._steps]

    @property
    def newest(self) -> int | None:
        """The number of the newest step done, which no other step ever has; None at the beginning."""
        return self._numbers[self.position - 1] if self.position else None

    def push(self, step: Step) -> None:
        """Adds a step; what was undone can no longer be done again.

        Raises:
            ResourceError: older steps cannot be moved to the temporary folder; the step was not added, and what was
                undone can still be done again.
        """
        dropped = sum(_size(old) for old in self._steps[self.position :] if isinstance(old, Step))
        self._make_room(_size(step) - dropped)
        self._steps[self.position :] = [step]
        self._numbers[self.position :] = [self._number()]
        self._in_memory += _size(step) - dropped
        self._oldest_in_memory = min(self._oldest_in_memory, self.position)
        self.position = len(self._steps)

    def replace_newest(self, step: Step) -> None:
        """Puts another step, with a number of its own, in place of the newest one done.

        Raises:
            ResourceError: as :meth:`push`; nothing was replaced.
        """
        place = self.position - 1
        self._make_room(_size(step))
        old = self._steps[place]
        self._in_memory += _size(step) - (_size(old) if isinstance(old, Step) else 0)
        self._steps[place], self._numbers[place] = step, self._number()
        self._oldest_in_memory = min(self._oldest_in_memory, place)

    def back(self) -> Step | None:
        """The step to undo, None at the beginning; :meth:`moved` says that it was."""
        return self._loaded(self._steps[self.position - 1]) if self.position else None

    def forward(self) -> Step | None:
        """The step to do again, None at the end."""
        return self._loaded(self._steps[self.position]) if self.position < len(self._steps) else None

    def moved(self, by: int) -> None:
        """Notes that a step was undone (-1) or done again (1)."""
        self.position += by

    def _number(self) -> int:
        self._next_number += 1
        return self._next_number

    def _make_room(self, growth: int) -> None:
        """Moves the oldest of the steps done to the file until memory may grow by so many bytes."""
        try:
            while self._in_memory + growth > MEMORY_BUDGET and self._oldest_in_memory < self.position:
                self._store(self._oldest_in_memory)
                self._oldest_in_memory += 1
        except OSError as error:
            raise ResourceError(f"no room in the temporary folder for undo steps: {error.strerror or error}") from error

    def _store(self, number: int) -> None:
        step = self._steps[number]
        if isinstance(step, _Stored):
            return
        if self._file is None:
            # Without a buffer: what a full disk refused must not stay in one, where it would fail the next reading.
            self._file = tempfile.TemporaryFile(prefix="tumorseg-undo-", buffering=0)  # noqa: SIM115 - lives on
            weakref.finalize(self, self._file.close)
        places = []
        for change in step.changes:
            places.append((self._file.seek(0, 2), len(change.difference)))
            _write_all(self._file, change.difference)
        self._in_memory -= _size(step)
        bare = tuple(replace(change, difference=b"") for change in step.changes)
        self._steps[number] = _Stored(replace(step, changes=bare), tuple(places))

    def _loaded(self, step: Step | _Stored) -> Step:
        if isinstance(step, Step):
            return step
        pairs = zip(step.step.changes, step.places)
        return replace(step.step, changes=tuple(replace(c, difference=self._read(*place)) for c, place in pairs))

    def _read(self, start: int, length: int) -> bytes:
        if self._file is None:
            raise ResourceError("the temporary file of undo steps is gone")
        try:
            self._file.seek(start)
            data = self._file.read(length)
        except OSError as error:
            raise ResourceError(
                f"the temporary file of undo steps cannot be read: {error.strerror or error}"
            ) from error
        if len(data) != length:
            raise ResourceError("the temporary file of undo steps was cut short by another program")
        return data


@dataclass(frozen=True)
class _Stored:
    """A step whose differences lie in the temporary file, as (start, length)."""

    step: Step
    places: Sequence[tuple[int, int]]


def _write_all(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # a file without a buffer may take only a part at a time
        rest = rest[file.write(rest) :]


def _size(step: Step) -> int:
    return sum(len(change.difference) for change in step.changes)
