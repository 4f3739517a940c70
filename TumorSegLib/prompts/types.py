"""What a user says about a tumour: clicks, strokes and boxes, in voxels of the image.

A session keeps them in the order they were given, writes them to JSON and reads them back.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError, GeometryError, ReadError
from TumorSegLib.geometry.boxes import bounding_box, full_box, origin, slices, translate
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.parsing import check_keys
from TumorSegLib.prompts.encoding import PointPrompt, constrained_voxels

Voxel: TypeAlias = tuple[int, int, int]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

#: Kind of a prompt in JSON to the keys of its object; a stroke has a box, too.
KEYS: Mapping[str, tuple[str, ...]] = {
    "scribble": ("scribble", "box", "positive"),
    "click": ("click", "positive"),
    "ras": ("ras", "positive"),
    "box": ("box",),
}
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
        try:
            point = np.array(ras)
        except ValueError:  # lists within the list, not of one length
            point = np.empty(0)
        numbers = point.shape == (3,) and point.dtype.kind in "iuf"
        if not numbers or not (np.abs(point) < FARTHEST_MM).all():  # nor is NaN smaller
            raise ArgumentError(f"a click needs three finite RAS coordinates in mm, got {ras!r}")
        i, j, k = np.floor(grid.to_ijk(point) + 0.5).astype(int).tolist()
        click = cls((i, j, k), positive)
        check_inside(click.ijk, grid, f"click at RAS ({', '.join(f'{x:.1f}' for x in point)}) mm")
        return click

    @property
    def box(self) -> Box:
        """Half-open voxel box of the one voxel."""
        i, j, k = ((n, n + 1) for n in self.ijk)
        return i, j, k

    def inside(self) -> BoolArray:
        """True, bool ``[1, 1, 1]``."""
        return np.ones((1, 1, 1), dtype=bool)

    def voxels(self) -> npt.NDArray[np.intp]:
        """The voxel, ``[1, 3]``."""
        return np.array([self.ijk], dtype=np.intp)


@dataclass(frozen=True, init=False)
class Scribble:
    """A brush stroke: voxels that belong to the tumour, or that do not.

    Attributes:
        positive: whether the voxels belong to the tumour.
        grid: of the image.
        box: smallest half-open voxel box around the stroke.
        packed: the voxels of the box ``[k, j, i]``, one bit each, compressed by zlib: a stroke across a whole image
            takes a few kilobytes.
    """

    positive: bool
    grid: Grid
    box: Box
    packed: bytes = field(repr=False)

    def __init__(self, mask: Mask, positive: bool = True) -> None:
        """Takes the stroke from a mask.

        Args:
            mask: on the grid of the image; what is not background was stroked.
            positive: see the class.

        Raises:
            ArgumentError: nothing was stroked.
        """
        self._set(mask.grid, full_box(mask.grid.shape), mask.array, positive)

    @classmethod
    def in_box(cls, grid: Grid, box: Box, values: npt.NDArray[np.uint8], positive: bool = True) -> Scribble:
        """The stroke of those voxels of a box that are not 0, uint8 ``[k, j, i]``; else as from a mask.

        Raises:
            ArgumentError: nothing was stroked.
            GeometryError: the box leaves the grid, or the values are not as many as its voxels.
        """
        if values.shape != grid.crop(box).shape:
            raise GeometryError(f"values of shape {values.shape} do not fill the box {box}")
        scribble = cls.__new__(cls)
        scribble._set(grid, box, values, positive)
        return scribble

    def _set(self, grid: Grid, box: Box, values: npt.NDArray[np.uint8], positive: bool) -> None:
        inner = bounding_box(values)
        if inner is None:
            raise ArgumentError("a scribble needs at least one voxel, its mask is empty")
        packed = zlib.compress(np.packbits(values[slices(inner)] > 0).tobytes())
        for each, value in zip(fields(self), (bool(positive), grid, translate(inner, origin(box)), packed)):
            object.__setattr__(self, each.name, value)

    @property
    def mask(self) -> Mask:
        """The stroke as 1 on the grid of the image."""
        array = np.zeros(self.grid.shape, dtype=np.uint8)
        array[slices(self.box)] = self.inside()
        return Mask(self.grid, array)

    def inside(self) -> BoolArray:
        """Which voxels of the box were stroked, bool ``[k, j, i]``."""
        shape = self.grid.crop(self.box).shape
        bits = np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8)
        return np.unpackbits(bits, count=math.prod(shape)).reshape(shape).view(bool)

    def voxels(self) -> npt.NDArray[np.intp]:
        """Stroked voxels of the image, ``[n, 3]`` as ``(i, j, k)``."""
        packed = np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8)
        some = np.flatnonzero(packed)  # a thin stroke across an image leaves most of its box empty
        byte, bit = np.nonzero(np.unpackbits(packed[some, None], axis=1))
        k, j, i = np.unravel_index(8 * some[byte] + bit, self.grid.crop(self.box).shape)
        return np.stack([i, j, k], axis=1) + origin(self.box)


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

    def thin_axis(self, grid: Grid) -> int | None:
        """The axis (0, 1 or 2 for i, j or k) of the one slice that the box is drawn on; None for a box in 3D.

        A slice is drawn on where the box is one voxel thick along one axis alone, and the image goes on beyond it.
        """
        thin = [axis for axis, (low, high) in enumerate(self.box) if high - low == 1]
        return thin[0] if len(thin) == 1 and grid.size[thin[0]] > 1 else None


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

    def hints(self) -> list[PointPrompt]:
        """Clicks and strokes as points in voxels of the image; boxes are left out."""
        return [PointPrompt(p.voxels().astype(float), p.positive) for p in self.items if not isinstance(p, BoxPrompt)]

    def unless_contradicted(
        self, box: Box, erased: BoolArray, drawn: BoolArray, spacing_mm: Sequence[float]
    ) -> Prompts:
        """These without clicks and strokes within 3 mm of which the mask was edited to the opposite: they are law.

        Args:
            box: half-open voxel box of the edit.
            erased, drawn: bool ``[k, j, i]`` of the box: voxels that are no longer tumour, and that now are.
            spacing_mm: ``(i, j, k)`` of the image.
        """
        held = []
        for item in self.items:
            against = drawn if isinstance(item, BoxPrompt) or not item.positive else erased
            if not isinstance(item, BoxPrompt) and against.any():
                ruled = constrained_voxels((item.voxels() - origin(box)).astype(float), against.shape, spacing_mm)
                if any((against[at] & inside).any() for at, inside in ruled):
                    continue
            held.append(item)
        return Prompts(tuple(held))

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
            ReadError: the data are no prompts, or hold a key that none of them has, e.g. ``"postive"``.
            ArgumentError: a prompt lies outside the grid.
        """
        entries = data.get("prompts") if isinstance(data, Mapping) else None
        if not isinstance(entries, list):
            raise ReadError(f'{origin}: must hold {{"prompts": [{{"click": [i, j, k], "positive": true}}, ...]}}')
        check_keys(data, ("prompts",), origin)
        return cls(tuple(_from_json(entry, grid, f"{origin}: prompt {n}") for n, entry in enumerate(entries, start=1)))


def check_inside(ijk: Sequence[int], grid: Grid, what: str = "click") -> None:
    """Raises :class:`ArgumentError` unless a voxel ``(i, j, k)`` is one of the grid's."""
    if not all(0 <= n < size for n, size in zip(ijk, grid.size)):
        raise ArgumentError(f"{what}, voxel {tuple(ijk)}, lies outside the image of {grid.size} voxels (i, j, k)")


def _voxel(ijk: Sequence[int]) -> Voxel:
    try:
        i, j, k = ijk
        voxel = (int(i), int(j), int(k))
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"a click needs a voxel (i, j, k), got {ijk!r}") from error
    if voxel != (i, j, k):
        raise ArgumentError(f"a click needs whole voxel coordinates (i, j, k), got {ijk!r}; use Click.from_ras for mm")
    return voxel


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
    packed = base64.b64encode(item.packed).decode("ascii")
    return {"scribble": packed, "box": [list(limits) for limits in item.box], "positive": item.positive}


def _from_json(entry: Any, grid: Grid, origin: str) -> Prompt:
    kinds = [kind for kind in KEYS if isinstance(entry, Mapping) and kind in entry]
    if not kinds:
        raise ReadError(f'{origin} is {entry!r}; it must be an object with "click", "ras", "scribble" or "box"')
    check_keys(entry, KEYS[kinds[0]], origin)
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
        return box if kinds[0] == "box" else _scribble(entry["scribble"], box.box, grid, positive)
    except (ArgumentError, GeometryError) as error:
        raise ArgumentError(f"{origin}: {error}") from error
    except (TypeError, ValueError, KeyError, binascii.Error, zlib.error) as error:
        raise ReadError(f"{origin} cannot be understood: {error}") from error


def _scribble(text: str, box: Box, grid: Grid, positive: bool) -> Scribble:
    shape = grid.crop(box).shape
    size, stream = -(-math.prod(shape) // 8), zlib.decompressobj()
    # No more than the box needs: a few bytes may hold gigabytes of zeros.
    bits = np.frombuffer(stream.decompress(base64.b64decode(text, validate=True), size + 1), dtype=np.uint8)
    if bits.size != size or not stream.eof:
        raise ValueError(f"the voxels do not fill its box {box}")
    return Scribble.in_box(grid, box, np.unpackbits(bits, count=math.prod(shape)).reshape(shape), positive)
