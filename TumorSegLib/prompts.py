"""What a user says about a tumour: clicks, strokes and boxes, in voxels of the image.

A session keeps them in the order they were given, writes them to JSON and reads them back.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError, GeometryError, ReadError
from TumorSegLib.geometry import Box, Grid
from TumorSegLib.volume import Mask

Voxel: TypeAlias = tuple[int, int, int]

#: No coordinate of a patient is larger; voxels computed from a larger one could overflow.
FARTHEST_MM = 1e9


@dataclass(frozen=True)
class Click:
    """A point inside the tumour, or one outside it.

    Attributes:
        ijk: voxel ``(i, j, k)``.
        positive: whether the voxel belongs to the tumour.

    Raises:
        ArgumentError: not three whole numbers.
    """

    ijk: Voxel
    positive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "ijk", _voxel(self.ijk))
        object.__setattr__(self, "positive", bool(self.positive))

    @classmethod
    def from_ras(cls, grid: Grid, ras: Sequence[float], positive: bool = True) -> Click:
        """The click on the voxel that holds a point.

        Args:
            grid: of the image.
            ras: point in RAS mm.
            positive: see the class.

        Raises:
            ArgumentError: the point is not three finite numbers, or lies outside the grid.
        """
        if len(ras) != 3 or not all(abs(x) < FARTHEST_MM for x in ras):  # nor is NaN smaller
            raise ArgumentError(f"a click needs three finite RAS coordinates in mm, got {tuple(ras)}")
        i, j, k = np.floor(grid.to_ijk(ras) + 0.5).astype(int).tolist()
        click = cls((i, j, k), positive)
        check_inside(click.ijk, grid, f"click at RAS ({', '.join(f'{x:.1f}' for x in ras)}) mm")
        return click


@dataclass(frozen=True, eq=False)
class Scribble:
    """A brush stroke: voxels that belong to the tumour, or that do not.

    Attributes:
        mask: what is not background was stroked. Given on the grid of the image, kept cut to its bounding box, so that
            a stroke costs no more memory than it covers.
        positive: whether the voxels belong to the tumour.
        corner: voxel ``(i, j, k)`` of the image at which the kept mask begins.

    Raises:
        ArgumentError: nothing was stroked.
    """

    mask: Mask
    positive: bool = True
    corner: Voxel = field(init=False)

    def __post_init__(self) -> None:
        box = self.mask.bounding_box()
        if box is None:
            raise ArgumentError("a scribble needs at least one voxel, its mask is empty")
        (i0, i1), (j0, j1), (k0, k1) = box
        part = self.mask.array[k0:k1, j0:j1, i0:i1] > 0
        object.__setattr__(self, "mask", Mask(self.mask.grid.crop(box), part.astype(np.uint8)))
        object.__setattr__(self, "positive", bool(self.positive))
        object.__setattr__(self, "corner", (i0, j0, k0))

    @property
    def box(self) -> Box:
        """Half-open voxel box of the image that the stroke fills."""
        i, j, k = ((low, low + n) for low, n in zip(self.corner, self.mask.grid.size))
        return i, j, k

    def voxels(self) -> npt.NDArray[np.intp]:
        """Stroked voxels of the image, ``[n, 3]`` as ``(i, j, k)``."""
        return np.argwhere(self.mask.array)[:, ::-1] + self.corner

    def __eq__(self, other: object) -> bool:
        """Same voxels of the same grid, same sign."""
        if not isinstance(other, Scribble):
            return NotImplemented
        same = (self.positive, self.corner) == (other.positive, other.corner) and self.mask.grid == other.mask.grid
        return same and np.array_equal(self.mask.array, other.mask.array)

    def __hash__(self) -> int:
        return hash((self.positive, self.box))


@dataclass(frozen=True)
class BoxPrompt:
    """A box around the tumour, half-open voxel ranges; :class:`ArgumentError` where it is empty."""

    box: Box

    def __post_init__(self) -> None:
        try:
            i, j, k = (_range(name, one) for name, one in zip("ijk", self.box, strict=True))
        except (TypeError, ValueError, OverflowError) as error:
            raise ArgumentError(f"a box is ((i0, i1), (j0, j1), (k0, k1)) in whole voxels, got {self.box}") from error
        object.__setattr__(self, "box", (i, j, k))


Prompt: TypeAlias = Click | Scribble | BoxPrompt


@dataclass(frozen=True)
class Prompts:
    """Prompts in the order they were given; adding one returns a new object.

    ``to_json`` and ``from_json`` write and read ``{"prompts": [...]}`` with entries such as ``{"click": [i, j, k],
    "positive": true}``, ``{"box": [[i0, i1], [j0, j1], [k0, k1]]}`` and, for strokes, the packed bits of their box.
    """

    items: tuple[Prompt, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def with_click(self, click: Click) -> Prompts:
        """These and a click."""
        return Prompts((*self.items, click))

    def with_scribble(self, scribble: Scribble) -> Prompts:
        """These and a stroke."""
        return Prompts((*self.items, scribble))

    def with_box(self, box: BoxPrompt) -> Prompts:
        """These and a box."""
        return Prompts((*self.items, box))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"prompts": [_to_json(item) for item in self.items]}

    @classmethod
    def from_json(cls, data: Any, grid: Grid, origin: str = "prompts") -> Prompts:
        """The reverse of :meth:`to_json`.

        An entry may also give ``{"ras": [r, a, s]}`` in mm in place of ``click``; ``positive`` is true where it is
        left out.

        Args:
            data: parsed JSON.
            grid: of the image.
            origin: names the source in errors.

        Raises:
            ReadError: the data are no prompts.
            ArgumentError: a prompt lies outside the grid.
        """
        entries = data.get("prompts") if isinstance(data, Mapping) else None
        if not isinstance(entries, list):
            raise ReadError(f'{origin}: must hold {{"prompts": [{{"click": [i, j, k], "positive": true}}, ...]}}')
        return cls(tuple(_from_json(entry, grid, f"{origin}: prompt {n}") for n, entry in enumerate(entries, start=1)))


def check_inside(ijk: Sequence[int], grid: Grid, what: str = "click") -> None:
    """Raises :class:`ArgumentError` unless a voxel ``(i, j, k)`` is one of the grid's."""
    if not all(0 <= n < size for n, size in zip(ijk, grid.size)):
        raise ArgumentError(f"{what}, voxel {tuple(ijk)}, lies outside the image of {grid.size} voxels (i, j, k)")


def _voxel(ijk: Sequence[int]) -> Voxel:
    try:
        i, j, k = ijk
        whole = (int(i), int(j), int(k))
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"a click needs a voxel (i, j, k), got {ijk!r}") from error
    if whole != (i, j, k):
        raise ArgumentError(f"a click needs whole voxel coordinates (i, j, k), got {ijk!r}; use Click.from_ras for mm")
    return whole


def _range(name: str, limits: Sequence[int]) -> tuple[int, int]:
    low, high = (int(n) for n in limits)
    if (low, high) != tuple(limits):
        raise ValueError(f"range {name} is not of whole voxels")
    if low >= high:
        raise ArgumentError(f"box range {name} = [{low}, {high}) is empty")
    return low, high


def _to_json(item: Prompt) -> dict[str, Any]:
    if isinstance(item, Click):
        return {"click": list(item.ijk), "positive": item.positive}
    if isinstance(item, BoxPrompt):
        return {"box": [list(limits) for limits in item.box]}
    packed = base64.b64encode(zlib.compress(np.packbits(item.mask.array).tobytes())).decode("ascii")
    return {"scribble": packed, "box": [list(limits) for limits in item.box], "positive": item.positive}


def _from_json(entry: Any, grid: Grid, origin: str) -> Prompt:
    kinds = [kind for kind in ("scribble", "click", "ras", "box") if isinstance(entry, Mapping) and kind in entry]
    if not kinds:
        raise ReadError(f'{origin} is {entry!r}; it must be an object with "click", "ras", "scribble" or "box"')
    positive = entry.get("positive", True)
    if not isinstance(positive, bool):
        raise ReadError(f'{origin}: "positive" is {positive!r}; it must be true or false')
    try:
        if kinds[0] == "ras":
            return Click.from_ras(grid, entry["ras"], positive)
        if kinds[0] == "click":
            click = Click(entry["click"], positive)
            check_inside(click.ijk, grid)
            return click
        box = BoxPrompt(tuple(tuple(limits) for limits in entry["box"]))  # type: ignore[arg-type]
        grid.crop(box.box)
        return box if kinds[0] == "box" else Scribble(_unpacked(entry["scribble"], box.box, grid), positive)
    except (ArgumentError, GeometryError) as error:
        raise ArgumentError(f"{origin}: {error}") from error
    except (TypeError, ValueError, KeyError, binascii.Error, zlib.error) as error:
        raise ReadError(f"{origin} cannot be understood: {error}") from error


def _unpacked(text: str, box: Box, grid: Grid) -> Mask:
    (i0, i1), (j0, j1), (k0, k1) = box
    shape = (k1 - k0, j1 - j0, i1 - i0)
    size, stream = -(-math.prod(shape) // 8), zlib.decompressobj()
    # No more than the box needs: a few bytes may hold gigabytes of zeros.
    bits = np.frombuffer(stream.decompress(base64.b64decode(text, validate=True), size + 1), dtype=np.uint8)
    if bits.size != size or not stream.eof:
        raise ValueError(f"the voxels do not fill its box {box}")
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[k0:k1, j0:j1, i0:i1] = np.unpackbits(bits, count=math.prod(shape)).reshape(shape)
    return Mask(grid, array)
