"""The probabilities of many labels, each where it is not negligible, in bounded memory.

What exceeds a budget lies in a temporary file without a name, which goes with the last array in it. The file is filled
before it is mapped: a full disk is an error here, and not the end of the process at a later access.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from dataclasses import dataclass
from typing import IO, TypeAlias

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ResourceError
from TumorSegLib.geometry.arrays import BoolArray
from TumorSegLib.protocols import LEAST_PROBABILITY

#: Bytes of probabilities that the labels of one result take in memory, together.
BUDGET = 512 * 2**20

#: A probability and the half-open ranges where it lies.
Whole: TypeAlias = tuple[npt.NDArray[np.float16], tuple[tuple[int, int], ...]]


class Storage:
    """Arrays of float16, in memory as far as a budget goes, then in a file."""

    def __init__(self, budget: int | None = None) -> None:
        """Begins empty; ``budget`` in bytes, :data:`BUDGET` by default."""
        self._left = BUDGET if budget is None else budget
        self._file: IO[bytes] | None = None

    def keep(self, array: npt.NDArray[np.float16]) -> npt.NDArray[np.float16] | _Stored:
        """The array, or where it lies in the file; raises :class:`ResourceError` where the disk is full."""
        if array.nbytes <= self._left:
            self._left -= array.nbytes
            return array
        try:
            if self._file is None:
                self._file = _temporary()
                weakref.finalize(self, self._file.close)
            start = self._file.seek(0, 2)
            _write(self._file, array.tobytes())
        except OSError as error:
            raise _no_room(error) from error
        return _Stored(start, array.shape)

    def taken(self, kept: npt.NDArray[np.float16] | _Stored) -> npt.NDArray[np.float16]:
        """What was kept, which is not kept any more."""
        if not isinstance(kept, _Stored):
            self._left += kept.nbytes
            return kept
        if self._file is None:
            raise ResourceError("the temporary file of probabilities is gone")
        self._file.seek(kept.start)
        data = self._file.read(2 * math.prod(kept.shape))
        return np.frombuffer(data, np.float16).reshape(kept.shape)

    def zeros(self, shape: tuple[int, ...]) -> npt.NDArray[np.float16]:
        """An array in memory, or mapped from a file of its own; raises as :meth:`keep`."""
        size = 2 * math.prod(shape)
        if size <= self._left:
            self._left -= size
            return np.zeros(shape, np.float16)
        try:
            with _temporary() as file:  # what is mapped stays
                plane = bytes(2 * math.prod(shape[1:]))
                for _ in range(shape[0]):
                    _write(file, plane)
                return np.memmap(file, np.float16, "r+", shape=shape)
        except OSError as error:
            raise _no_room(error) from error


@dataclass(frozen=True)
class _Stored:
    """Where an array lies in the file of a storage."""

    start: int
    shape: tuple[int, ...]


class Part:
    """The probability of one label where it is not negligible, as float16, collected slice by slice."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._slices: list[tuple[int, tuple[int, int], tuple[int, ...], npt.NDArray[np.float16] | _Stored]] = []

    def add(self, number: int, probability: npt.NDArray[np.float32], corner: tuple[int, int]) -> None:
        """Adds a slice, whose first voxel lies at ``corner``; raises as :meth:`Storage.keep`."""
        marked: BoolArray = probability >= LEAST_PROBABILITY
        rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
        if rows.size:
            r, c = int(rows[0]), int(columns[0])
            cut = probability[r : int(rows[-1]) + 1, c : int(columns[-1]) + 1].astype(np.float16)
            self._slices.append((number, (corner[0] + r, corner[1] + c), cut.shape, self._storage.keep(cut)))

    def whole(self) -> Whole:
        """The array and the half-open ranges where it lies; empty where there is nothing."""
        if not self._slices:
            return np.zeros((0, 0, 0), np.float16), ((0, 0),) * 3
        lows = [min(n for n, *_ in self._slices)]
        highs = [max(n for n, *_ in self._slices) + 1]
        for axis in (0, 1):
            lows.append(min(corner[axis] for _, corner, *_ in self._slices))
            highs.append(max(corner[axis] + shape[axis] for _, corner, shape, _ in self._slices))
        array = self._storage.zeros(tuple(high - low for low, high in zip(lows, highs)))
        for number, corner, shape, kept in self._slices:
            r, c = corner[0] - lows[1], corner[1] - lows[2]
            array[number - lows[0], r : r + shape[0], c : c + shape[1]] = self._storage.taken(kept)
        self._slices.clear()
        return array, tuple(zip(lows, highs))


def _temporary() -> IO[bytes]:
    # Unbuffered: data that a full disk refused would stay in a buffer and fail later.
    return tempfile.TemporaryFile(prefix="tumorseg-labels-", buffering=0)


def _write(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # a file without a buffer may take only a part at a time
        rest = rest[file.write(rest) :]


def _no_room(error: OSError) -> ResourceError:
    where = tempfile.gettempdir()
    return ResourceError(f"no room for the probabilities of the labels in {where}: {error.strerror or error}")
