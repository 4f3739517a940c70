"""Clicks, scribbles, boxes and lines, in voxels of the image, and lists of them."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from TumorSegLib.errors import ArgumentError, GeometryError, ReadError
from TumorSegLib.geometry.arrays import IntArray, UInt8Array
from TumorSegLib.geometry.boxes import bounding_box, from_corners, full_box, origin, slices, translate
from TumorSegLib.geometry.grid import Box, Grid, Voxel, check_inside, checked_voxel, voxel_at
from TumorSegLib.images.volume import Mask
from TumorSegLib.parsing import check_keys
from TumorSegLib.prompts.constraints import MaskEdit
from TumorSegLib.prompts.encoding import PointPrompt


class Prompt(Protocol):
    """A user's statement about the tumour. Immutable and hashable; ``str`` names it in messages."""

    @property
    def engine(self) -> str:
        """Kind of the engine that answers the prompt, as in :class:`TumorSegLib.session.Session`: clicks or box."""

    @property
    def box(self) -> Box:
        """Half-open voxel box of the prompt."""

    def point_prompt(self) -> PointPrompt | None:
        """The prompt as points in voxels of the image; None if it is a region to be segmented."""

    def conflicts(self, edit: MaskEdit, /) -> bool:
        """Whether an edit of the mask contradicts the prompt."""

    def check_on(self, grid: Grid) -> None:
        """Raises :class:`ArgumentError` or :class:`GeometryError` unless the prompt lies in an image of this grid."""

    def to_json(self) -> dict[str, Any]:
        """The entry of the prompt in JSON, see :class:`Prompts`."""


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
    engine: ClassVar[str] = "clicks"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ijk", checked_voxel(self.ijk))
        object.__setattr__(self, "positive", bool(self.positive))

    def __str__(self) -> str:
        return f"click at voxel {self.ijk}"

    @classmethod
    def from_ras(cls, grid: Grid, ras: Sequence[float], positive: bool = True) -> Click:
        """The click on the voxel that contains a point.

        Args:
            grid: of the image.
            ras: point in RAS mm.
            positive: see the class.

        Raises:
            ArgumentError: the point is not three finite numbers, or lies outside the grid.
        """
        return cls(voxel_at(grid, ras, "click"), positive)

    @property
    def box(self) -> Box:
        """Half-open voxel box of the one voxel."""
        i, j, k = ((n, n + 1) for n in self.ijk)
        return i, j, k

    def point_prompt(self) -> PointPrompt:
        """The voxel as the only point."""
        return PointPrompt(np.array([self.ijk], dtype=np.float64), self.positive)

    def conflicts(self, edit: MaskEdit, /) -> bool:
        """See :class:`Prompt`."""
        return edit.contradicts(self.point_prompt())

    def check_on(self, grid: Grid) -> None:
        """Raises :class:`ArgumentError` unless the voxel is one of the grid's."""
        check_inside(self.ijk, grid)

    def to_json(self) -> dict[str, Any]:
        """See :class:`Prompt`."""
        return {"click": list(self.ijk), "positive": self.positive}


@dataclass(frozen=True)
class Scribble:
    """Brushed voxels that belong to the tumour, or that do not; made by :meth:`from_mask` or :meth:`in_box`.

    Attributes:
        grid: of the image.
        box: smallest half-open voxel box around the voxels.
        packed: the voxels of the box ``[k, j, i]``, one bit each, compressed by zlib: a scribble across a whole image
            takes a few kilobytes.
        positive: whether the voxels belong to the tumour.
    """

    grid: Grid
    box: Box
    packed: bytes = field(repr=False)
    positive: bool = True
    engine: ClassVar[str] = "clicks"

    def __str__(self) -> str:
        return f"scribble in box {self.box}"

    @classmethod
    def from_mask(cls, mask: Mask, positive: bool = True) -> Scribble:
        """The scribble of the voxels of a mask on the grid of the image that are not background.

        Raises:
            ArgumentError: the mask is empty.
        """
        return cls.in_box(mask.grid, full_box(mask.grid.shape), mask.array, positive)

    @classmethod
    def in_box(cls, grid: Grid, box: Box, values: UInt8Array, positive: bool = True) -> Scribble:
        """The scribble of the voxels of a box that are not 0, uint8 ``[k, j, i]``.

        Raises:
            ArgumentError: all are 0.
            GeometryError: the box leaves the grid, or the values do not fill it.
        """
        if values.shape != grid.crop(box).shape:
            raise GeometryError(f"values of shape {values.shape} do not fill the box {box}")
        inner = bounding_box(values)
        if inner is None:
            raise ArgumentError("a scribble needs at least one voxel, its mask is empty")
        packed = zlib.compress(np.packbits(values[slices(inner)] > 0).tobytes())
        return cls(grid, translate(inner, origin(box)), packed, bool(positive))

    @classmethod
    def of_voxels(cls, grid: Grid, voxels: IntArray, positive: bool = True) -> Scribble:
        """The scribble of some voxels ``[n, 3]`` as ``(i, j, k)``, one at least; raises as :meth:`in_box`."""
        low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
        values = np.zeros((high - low)[::-1], dtype=np.uint8)
        values[tuple((voxels - low).T[::-1])] = 1
        return cls.in_box(grid, from_corners(low, high), values, positive)

    @property
    def mask(self) -> Mask:
        """The scribble as 1 on the grid of the image."""
        shape = self.grid.crop(self.box).shape
        bits = np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8)
        array = np.zeros(self.grid.shape, dtype=np.uint8)
        array[slices(self.box)] = np.unpackbits(bits, count=math.prod(shape)).reshape(shape)
        return Mask(self.grid, array)

    def point_prompt(self) -> PointPrompt:
        """The voxels as points, one each."""
        packed = np.frombuffer(zlib.decompress(self.packed), dtype=np.uint8)
        some = np.flatnonzero(packed)  # a thin scribble across an image leaves most of its box empty
        byte, bit = np.nonzero(np.unpackbits(packed[some, None], axis=1))
        k, j, i = np.unravel_index(8 * some[byte] + bit, self.grid.crop(self.box).shape)
        return PointPrompt((np.stack([i, j, k], axis=1) + origin(self.box)).astype(np.float64), self.positive)

    def conflicts(self, edit: MaskEdit, /) -> bool:
        """See :class:`Prompt`."""
        return edit.contradicts(self.point_prompt())

    def check_on(self, grid: Grid) -> None:
        """Raises :class:`GeometryError` if the scribble was drawn on another grid."""
        if self.grid != grid:
            difference = grid.difference(self.grid)
            raise GeometryError(f"the scribble is not on the first image's grid ({grid}): {difference}")

    def to_json(self) -> dict[str, Any]:
        """See :class:`Prompt`."""
        packed = base64.b64encode(self.packed).decode("ascii")
        return {"scribble": packed, "box": [list(limits) for limits in self.box], "positive": self.positive}


@dataclass(frozen=True)
class BoxPrompt:
    """A box around the tumour, half-open voxel ranges; :class:`ArgumentError` where it is empty."""

    box: Box
    engine: ClassVar[str] = "box"

    def __post_init__(self) -> None:
        try:
            i, j, k = (_range(name, one) for name, one in zip("ijk", self.box, strict=True))
        except (TypeError, ValueError, OverflowError) as error:
            raise ArgumentError(f"a box is ((i0, i1), (j0, j1), (k0, k1)) in whole voxels, got {self.box}") from error
        object.__setattr__(self, "box", (i, j, k))

    def __str__(self) -> str:
        return f"box {self.box}"

    def thin_axis(self, grid: Grid) -> int | None:
        """The axis (0, 1 or 2 for i, j or k) of a box drawn on one slice; None for a box in 3D.

        A box is drawn on one slice if it is one voxel thick along one axis only and the image has more slices there.
        """
        thin = [axis for axis, (low, high) in enumerate(self.box) if high - low == 1]
        return thin[0] if len(thin) == 1 and grid.size[thin[0]] > 1 else None

    def point_prompt(self) -> None:
        """None: a box is a region, not points."""

    def conflicts(self, _edit: MaskEdit, /) -> bool:
        """False: a box does not say which of its voxels are tumour."""
        return False

    def check_on(self, grid: Grid) -> None:
        """Raises :class:`ArgumentError` if the box leaves the grid."""
        for name, (low, high), size in zip("ijk", self.box, grid.size):
            if low < 0 or high > size:
                one = f"; it has one slice along {name}, where a box is (0, 1)" if size == 1 else ""
                raise ArgumentError(f"{self} leaves the image of {grid.size} voxels (i, j, k){one}")

    def to_json(self) -> dict[str, Any]:
        """See :class:`Prompt`."""
        return {"box": [list(limits) for limits in self.box]}


@dataclass(frozen=True)
class Line:
    """The longest diameter of the tumour, as measured on one slice for RECIST.

    Attributes:
        ends: the voxels ``(i, j, k)`` of its ends.

    Raises:
        ArgumentError: not two times three whole numbers, or both the same.
    """

    ends: tuple[Voxel, Voxel]
    engine: ClassVar[str] = "clicks"

    def __post_init__(self) -> None:
        try:
            start, end = self.ends
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"a line needs the voxels of its two ends, got {self.ends!r}") from error
        start, end = checked_voxel(start, "a line"), checked_voxel(end, "a line")
        if start == end:
            raise ArgumentError(f"a line needs a length, both its ends are in voxel {start}")
        object.__setattr__(self, "ends", (start, end))

    def __str__(self) -> str:
        return f"line from voxel {self.ends[0]} to {self.ends[1]}"

    @classmethod
    def from_ras(cls, grid: Grid, start: Sequence[float], end: Sequence[float]) -> Line:
        """The line between the voxels that contain two points.

        Args:
            grid: of the image.
            start, end: points in RAS mm.

        Raises:
            ArgumentError: a point is not three finite numbers or lies outside the grid, or both are in one voxel.
        """
        first, last = (voxel_at(grid, point, "an end of a line") for point in (start, end))
        return cls((first, last))

    @property
    def box(self) -> Box:
        """Half-open voxel box of the line."""
        i, j, k = ((min(pair), max(pair) + 1) for pair in zip(*self.ends))
        return i, j, k

    def point_prompt(self) -> None:
        """None: a line measures a region; people are not sure of its ends."""

    def conflicts(self, _edit: MaskEdit, /) -> bool:
        """False: a line does not say which voxels are tumour."""
        return False

    def check_on(self, grid: Grid) -> None:
        """Raises :class:`ArgumentError` unless both ends are voxels of the grid."""
        for end in self.ends:
            check_inside(end, grid, "an end of a line")

    def to_json(self) -> dict[str, Any]:
        """See :class:`Prompt`."""
        return {"line": [list(end) for end in self.ends]}


Kind = TypeVar("Kind", Click, Scribble, BoxPrompt, Line)


@dataclass(frozen=True)
class Prompts:
    """Prompts in the order they were given; adding one returns a new object.

    ``to_json`` and ``from_json`` write and read ``{"prompts": [...]}`` with entries such as ``{"click": [i, j, k],
    "positive": true}``, ``{"box": [[i0, i1], [j0, j1], [k0, k1]]}`` and, for scribbles, the packed bits of their box.
    """

    items: tuple[Prompt, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def with_prompt(self, prompt: Prompt) -> Prompts:
        """These and one more."""
        return Prompts((*self.items, prompt))

    with_click = with_scribble = with_box = with_line = with_prompt

    def of(self, kind: type[Kind]) -> tuple[Kind, ...]:
        """The prompts of one kind, in order."""
        return tuple(item for item in self.items if isinstance(item, kind))

    def point_prompts(self) -> list[PointPrompt]:
        """Clicks and scribbles as points in voxels of the image, in order; boxes and lines are left out."""
        points = (item.point_prompt() for item in self.items)
        return [each for each in points if each is not None]

    def without_conflicts(self, edit: MaskEdit) -> Prompts:
        """Drops clicks and scribbles that an edit of the mask contradicts, see :class:`MaskEdit`."""
        return Prompts(tuple(item for item in self.items if not item.conflicts(edit)))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"prompts": [item.to_json() for item in self.items]}

    @classmethod
    def from_json(cls, data: Any, grid: Grid, source: str = "prompts") -> Prompts:
        """The reverse of :meth:`to_json`.

        An entry may also give ``{"ras": [r, a, s]}`` in mm in place of ``click``; ``positive`` defaults to true.

        Args:
            data: parsed JSON.
            grid: of the image.
            source: names the data in errors.

        Raises:
            ReadError: the data are not prompts, or have an unknown key, e.g. ``"postive"``.
            ArgumentError: a prompt lies outside the grid.
        """
        from TumorSegLib.prompts.storage import prompt_from_json  # which makes prompts of this module

        entries = data.get("prompts") if isinstance(data, Mapping) else None
        if not isinstance(entries, list):
            raise ReadError(f'{source}: must hold {{"prompts": [{{"click": [i, j, k], "positive": true}}, ...]}}')
        check_keys(data, ("prompts",), source)
        return cls(tuple(prompt_from_json(entry, grid, f"{source}: prompt {n}") for n, entry in enumerate(entries, 1)))


def _range(name: str, limits: Sequence[int]) -> tuple[int, int]:
    low, high = (int(n) for n in limits)
    if (low, high) != tuple(limits):
        raise ValueError(f"range {name} is not of whole voxels")
    if low >= high:
        raise ArgumentError(f"box range {name} = [{low}, {high}) is empty")
    return low, high
