"""Contours that a box model suggested, one file per case: how ``suggest-objects`` keeps them, and training reads them.

A file is an npz with the name of the case, the grid of its images, the model and the checksum of its weights, how many
slabs were searched, and of every contour the first voxel ``(i, j, k)``, the shape ``(k, j, i)``, the role of the image
it was found in, and its voxels as bits.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from training.objects.library import Contour, Library, TrainingCase
from TumorSegLib.errors import ArgumentError, GeometryError, ReadError
from TumorSegLib.files import replacing
from TumorSegLib.geometry.arrays import IntArray, UInt8Array
from TumorSegLib.geometry.grid import Grid

FORMAT = 1


class PackedContours(Sequence[Contour]):
    """Contours kept as bits, an eighth of the memory, and unpacked when they are asked for."""

    def __init__(self, contours: Sequence[Contour] = ()) -> None:
        self.corners: IntArray = np.array([c.corner for c in contours], dtype=np.int64).reshape(-1, 3)
        self.shapes: IntArray = np.array([c.array.shape for c in contours], dtype=np.int64).reshape(-1, 3)
        self.roles = [contour.role for contour in contours]
        packed = [np.packbits(contour.array) for contour in contours]
        self.bits: UInt8Array = np.concatenate(packed) if packed else np.zeros(0, dtype=np.uint8)

    @classmethod
    def of(cls, corners: IntArray, shapes: IntArray, roles: Sequence[str], bits: UInt8Array) -> PackedContours:
        """Contours of their parts; raises :class:`ValueError` where these do not go together."""
        packed = cls()
        packed.corners, packed.shapes, packed.roles, packed.bits = corners, shapes, list(roles), bits
        count = (len(roles), 3)
        if (
            corners.shape != count
            or shapes.shape != count
            or bool((shapes < 1).any())
            or packed._ends()[-1] != bits.size
        ):
            raise ValueError("its arrays do not go together")
        return packed

    def __len__(self) -> int:
        return len(self.roles)

    @overload
    def __getitem__(self, number: int) -> Contour: ...
    @overload
    def __getitem__(self, number: slice) -> list[Contour]: ...
    def __getitem__(self, number: int | slice) -> Contour | list[Contour]:
        """A contour, or some."""
        if isinstance(number, slice):
            return [self[n] for n in range(len(self))[number]]
        n = range(len(self))[number]
        ends, shape = self._ends(), self.shapes[n]
        bits = np.unpackbits(self.bits[ends[n] : ends[n + 1]], count=int(shape.prod()))
        i, j, k = (int(value) for value in self.corners[n])
        return Contour(bits.reshape(shape).astype(bool), (i, j, k), self.roles[n])

    def _ends(self) -> npt.NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum((self.shapes.prod(axis=1) + 7) // 8)]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Suggestions:
    """What was found in the images of one case.

    Attributes:
        case: its name.
        grid: of its images.
        model, weights: name of the box model, and SHA-256 of its weights.
        slabs: how many slabs were searched.
        contours: on the grid, each with the role of the image it was found in.
    """

    case: str
    grid: Grid
    model: str
    weights: str
    slabs: int
    contours: PackedContours


def suggestion_files(folder: Path, cases: Sequence[TrainingCase]) -> list[Path]:
    """The file of each case; cases of one name (images on several grids) are numbered."""
    names = [case.name for case in cases]
    numbers = [names[:n].count(name) for n, name in enumerate(names)]
    return [folder / (f"{name}_{number + 1}.npz" if number else f"{name}.npz") for name, number in zip(names, numbers)]


def write_suggestions(path: Path, found: Suggestions) -> None:
    """Writes the file of one case in one step; raises :class:`WriteError`."""
    contours = found.contours
    with replacing(path) as temporary:
        np.savez(
            temporary,
            format=FORMAT,
            case=found.case,
            shape=found.grid.shape,
            affine=found.grid.affine,
            model=found.model,
            weights=found.weights,
            slabs=found.slabs,
            corners=contours.corners,
            shapes=contours.shapes,
            roles=np.array(contours.roles, dtype=np.str_),
            bits=contours.bits,
        )


def read_suggestions(path: Path, case: TrainingCase) -> Suggestions:
    """Reads the file of a case.

    Raises:
        ReadError: it is missing or damaged, of another case or grid, or has contours outside the grid or of other
            images.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            values: dict[str, Any] = {name: file[name] for name in file.files}
        if int(values["format"]) != FORMAT:
            raise ValueError(f"its format is {int(values['format'])}, not {FORMAT}")
        parts = values["corners"], values["shapes"], [str(role) for role in values["roles"]], values["bits"]
        grid = Grid(tuple(values["shape"]), values["affine"])
        words = (str(values[name]) for name in ("case", "model", "weights"))
        name, model, weights = words
        found = Suggestions(name, grid, model, weights, int(values["slabs"]), PackedContours.of(*parts))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, GeometryError) as error:
        raise ReadError(f"{path}: no file of suggested objects ({error}); delete it, and make it again") from error
    if found.case != case.name:
        raise ReadError(f"{path}: is of the case {found.case!r}, not of {case.name!r}")
    if found.grid != case.grid:
        raise ReadError(f"{path}: has a grid of {found.grid}, the images of {case.name!r} have {case.grid}")
    ends = found.contours.corners + found.contours.shapes[:, ::-1]
    if (found.contours.corners < 0).any() or (ends > case.grid.size).any():
        raise ReadError(f"{path}: has contours outside the images of {case.name!r}")
    unknown = sorted(set(found.contours.roles) - set(case.images))
    if unknown:
        raise ReadError(f"{path}: has contours of the image {unknown[0]!r}; {case.name!r} has {', '.join(case.images)}")
    return found


def with_suggestions(library: Library, folder: Path) -> Library:
    """A library with the contours of a folder.

    Raises:
        ArgumentError: there is no such folder, or no contour in it.
        ReadError: a file is damaged, or does not fit its case, or there is no such case.
    """
    if not folder.is_dir():
        raise ArgumentError(f"[objects] suggested = {str(folder)!r}: there is no such folder; see 'suggest-objects'")
    cases = [*library.sarcomas, *library.contours]
    files = suggestion_files(folder, cases)
    strange = sorted(set(folder.glob("[!.]*.npz")) - set(files))  # hidden ones are being written
    if strange:
        raise ReadError(f"{strange[0]}: is of no case that may train")
    found = [
        replace(case, contours=read_suggestions(file, case).contours)
        for case, file in zip(cases, files)
        if file.exists()
    ]
    suggested = [case for case in found if case.contours]
    if not suggested:
        raise ArgumentError(f"[objects] suggested = {str(folder)!r}: has no suggested objects; see 'suggest-objects'")
    return replace(library, suggested=suggested)
