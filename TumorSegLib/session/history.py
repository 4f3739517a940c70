"""Undo and redo without a limit in bounded memory.

A change stores the exclusive or of before and after, compressed: one array that turns either into the other, for undo
and redo. Steps beyond a memory budget are moved to a temporary file, the oldest first.
"""

from __future__ import annotations

import json
import logging
import tempfile
import threading
import weakref
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import IO

import numpy as np

from TumorSegLib.errors import ResourceError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.grid import Box
from TumorSegLib.prompts.types import Prompt, Prompts

# Bytes of compressed changes kept in memory; a click on a tumour of 10 cm takes about 20 kB.
MEMORY_BUDGET = 64 * 2**20

_log = logging.getLogger(__name__)


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
    def between(cls, segment: str, box: Box, before: UInt8Array, after: UInt8Array) -> Change:
        """The change from ``before`` to ``after``, uint8 ``[k, j, i]`` of the box."""
        difference = np.bitwise_xor(before, after)
        return cls(segment, box, zlib.compress(difference.tobytes(), 1))

    def unpacked(self) -> UInt8Array:
        """Before XOR after, uint8 ``[k, j, i]`` of the box."""
        (i0, i1), (j0, j1), (k0, k1) = self.box
        flat = np.frombuffer(zlib.decompress(self.difference), dtype=np.uint8)
        return flat.reshape(k1 - k0, j1 - j0, i1 - i0)


@dataclass(frozen=True)
class PromptChange:
    """How the prompts of one segment changed.

    Attributes:
        segment: its name.
        kept: number of its first prompts that stayed.
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
        """The segment's prompts after the change was undone or done again; raises ValueError if these do not fit."""
        if not 0 <= self.kept <= len(now) or now.items[self.kept :] != (self.added if undo else self.removed):
            raise ValueError(f"an undo step of segment {self.segment!r} does not fit its prompts")
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

    @property
    def checksum(self) -> int:
        """CRC-32 of all its parts, which saving and reading the step preserves."""
        changes = [(each.segment, each.box, each.outside) for each in self.changes]
        prompts = [
            (each.segment, each.kept, Prompts(each.removed).to_json(), Prompts(each.added).to_json())
            for each in self.prompts
        ]
        value = zlib.crc32(json.dumps([self.segment, changes, prompts]).encode("ascii"))
        for change in self.changes:
            value = zlib.crc32(change.difference, value)
        return value


class History:
    """Steps done, and steps undone that may be done again, each with a number that no other step ever has.

    Changed by one thread at a time. :meth:`load` may be called by any thread.

    Attributes:
        position: number of steps done.
        last: largest number given to a step so far; 0 before the first.
    """

    def __init__(
        self, steps: Mapping[int, Step] = MappingProxyType({}), position: int | None = None, last: int = 0
    ) -> None:
        """Begins with numbered steps of a saved session.

        Args:
            steps: by number, in ascending order.
            position: how many of them are done; None for all.
            last: see the class; at least the largest number of the steps is taken.
        """
        self._steps: list[Step | StoredStep] = []
        self._numbers: list[int] = []
        self._checksums: list[int] = []
        self.last = 0
        self._file_lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._in_memory = 0
        self._oldest_in_memory = 0
        self.position = 0
        for number, step in steps.items():
            self.last = number - 1
            self.push(step)
        self.last = max(self.last, last)
        if position is not None:
            self.position = position

    def __len__(self) -> int:
        return len(self._steps)

    def steps(self) -> list[Step]:
        """All steps in order, the undone ones last."""
        return [self.load(step) for step in self._steps]

    def numbered(self) -> dict[int, Step | StoredStep]:
        """All steps in order by number, as they are stored; :meth:`load` reads those in the file."""
        return dict(zip(self._numbers, self._steps))

    @property
    def checksums(self) -> list[int]:
        """:attr:`Step.checksum` of all steps in order; no step is read from the file for it."""
        return list(self._checksums)

    def load(self, step: Step | StoredStep) -> Step:
        """The step, read from the file if it is there; raises :class:`ResourceError` if the file is damaged."""
        if isinstance(step, Step):
            return step
        pairs = zip(step.step.changes, step.positions)
        return replace(step.step, changes=tuple(replace(c, difference=self._read(*place)) for c, place in pairs))

    @property
    def newest(self) -> int | None:
        """The number of the newest step done; None at the beginning."""
        return self._numbers[self.position - 1] if self.position else None

    def push(self, step: Step) -> None:
        """Adds a step and drops the undone ones.

        Raises:
            ResourceError: older steps cannot be moved to the temporary folder; nothing was added or dropped.
        """
        checksum = step.checksum
        dropped = sum(_size(old) for old in self._steps[self.position :] if isinstance(old, Step))
        self._make_room(_size(step) - dropped)
        self._steps[self.position :] = [step]
        self._numbers[self.position :] = [self.last + 1]
        self._checksums[self.position :] = [checksum]
        self.last += 1
        self._in_memory += _size(step) - dropped
        self._oldest_in_memory = min(self._oldest_in_memory, self.position)
        self.position = len(self._steps)

    def replace_newest(self, step: Step) -> None:
        """Replaces the newest step done by another one with its own number; else as :meth:`push`."""
        self.position -= 1
        try:
            self.push(step)
        except ResourceError:
            self.position += 1
            raise

    def back(self) -> Step | None:
        """The step to undo, None at the beginning; :meth:`moved` notes that it was undone."""
        return self.load(self._steps[self.position - 1]) if self.position else None

    def forward(self) -> Step | None:
        """The step to do again, None at the end."""
        return self.load(self._steps[self.position]) if self.position < len(self._steps) else None

    def moved(self, by: int) -> None:
        """Notes that a step was undone (-1) or done again (1)."""
        self.position += by

    def _make_room(self, growth: int) -> None:
        """Moves steps done to the file, the oldest first, until memory may grow by so many bytes."""
        try:
            while self._in_memory + growth > MEMORY_BUDGET and self._oldest_in_memory < self.position:
                self._store(self._oldest_in_memory)
                self._oldest_in_memory += 1
        except OSError as error:
            raise ResourceError(f"no room in the temporary folder for undo steps: {error.strerror or error}") from error

    def _store(self, number: int) -> None:
        step = self._steps[number]
        if isinstance(step, StoredStep):
            return
        if self._file is None:
            # Unbuffered: data that a full disk refused would stay in a buffer and fail the next read.
            self._file = tempfile.TemporaryFile(prefix="tumorseg-undo-", buffering=0)  # noqa: SIM115 - lives on
            weakref.finalize(self, self._file.close)
        positions = []
        for change in step.changes:
            with self._file_lock:
                positions.append((self._file.seek(0, 2), len(change.difference)))
                _write_all(self._file, change.difference)
        self._in_memory -= _size(step)
        _log.debug("an undo step of %d bytes is moved to the temporary file", _size(step))
        bare = tuple(replace(change, difference=b"") for change in step.changes)
        self._steps[number] = StoredStep(replace(step, changes=bare), tuple(positions))

    def _read(self, start: int, length: int) -> bytes:
        if self._file is None:
            raise ResourceError("the temporary file of undo steps is gone")
        try:
            with self._file_lock:
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
class StoredStep:
    """A step whose differences lie in the temporary file, at ``positions`` as (start, length)."""

    step: Step
    positions: Sequence[tuple[int, int]]


def _write_all(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # a file without a buffer may take only a part at a time
        rest = rest[file.write(rest) :]


def _size(step: Step) -> int:
    return sum(len(change.difference) for change in step.changes)
