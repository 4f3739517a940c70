"""The images that objects are drawn from: sarcomas of the training folds, and what ``suite.json`` allows to train on.

Images and contours of kinds that the suite tests or validates are never read, nor are sets under a share-alike licence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_erosion

from training.data.cases import SARCOMA_ROLES, training_names
from training.data.layout import Layout, read_folds, read_layout
from TumorSegLib.errors import ReadError
from TumorSegLib.geometry.arrays import BoolArray, IntArray
from TumorSegLib.geometry.boxes import bounding_box, slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.pyramid import Pyramid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume
from TumorSegLib.parsing import load_json

# Contours of fewer voxels show no shape.
LEAST_VOXELS = 30
# HU of lungs, and the stride at which they are looked for.
LUNG_HU, LUNG_STRIDE = (-950.0, -650.0), 3


@dataclass(frozen=True, eq=False)
class Contour:
    """A contour, cut to its box.

    Attributes:
        array: bool ``[k, j, i]``.
        corner: the first voxel ``(i, j, k)`` of the cut.
        role: of the image it was found in; empty where people saw it in any.
    """

    array: BoolArray
    corner: tuple[int, int, int]
    role: str = ""

    def voxel(self, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """A random voxel ``(i, j, k)`` of the image inside it."""
        flat = np.flatnonzero(self.array)
        place = np.unravel_index(int(flat[int(rng.integers(flat.size))]), self.array.shape)
        return np.array(place[::-1], dtype=float) + self.corner


@dataclass(eq=False)
class TrainingCase:
    """Images of one case of a set, on one grid, by role, with contours of objects, if there are any."""

    name: str
    images: dict[str, Volume]
    contours: Sequence[Contour]
    set: str
    _pyramids: dict[str, Pyramid] = field(default_factory=dict, repr=False)
    _fitted: dict[tuple[str, Normalisation], Normalisation] = field(default_factory=dict, repr=False)

    @property
    def grid(self) -> Grid:
        """The grid of the images."""
        return next(iter(self.images.values())).grid

    @cached_property
    def lung(self) -> IntArray:
        """Some voxels ``[n, 3]``, as ``(i, j, k)``, of the lungs in a CT; none where it shows no lung."""
        if "ct" not in self.images:
            return np.zeros((0, 3), dtype=int)
        coarse = self.images["ct"].array[::LUNG_STRIDE, ::LUNG_STRIDE, ::LUNG_STRIDE]
        aerated = binary_erosion((coarse > LUNG_HU[0]) & (coarse < LUNG_HU[1]), iterations=2)
        return np.asarray(np.argwhere(aerated)[:, ::-1] * LUNG_STRIDE)

    def level(self, role: str, spacing_mm: float) -> Volume:
        """An image at a resolution for patches of a spacing, see :class:`TumorSegLib.images.pyramid.Pyramid`."""
        return self._pyramids.setdefault(role, Pyramid(self.images[role])).level(spacing_mm)

    def fitted(self, role: str, rule: Normalisation) -> Normalisation:
        """The normalisation with the statistics of the whole image, as inference has them."""
        if (role, rule) not in self._fitted:
            self._fitted[role, rule] = rule.fitted(self.images[role].array)
        return self._fitted[role, rule]


@dataclass(frozen=True)
class Library:
    """Cases of sarcomas, and others, with contours or without; and both with contours that a box model suggested."""

    sarcomas: Sequence[TrainingCase]
    contours: Sequence[TrainingCase]
    suggested: Sequence[TrainingCase] = ()


def read_library(root: Path, test_fold: int) -> Library:
    """Reads every case that may train.

    Args:
        root: folder with ``suite.json`` and the data folders it names, and ``sts``.
        test_fold: of ``sts``, left out.

    Raises:
        ReadError: a file is missing or damaged.
    """
    suite = read_suite(root)
    sts = root / "sts"
    layout = read_layout(sts)
    sarcomas = [_sarcoma(layout, name) for name in training_names(read_folds(sts), test_fold)]
    tasks = {(task["root"], task["set"], task["case"]) for task in suite["tasks"]}
    for entry in suite["train"]:
        if (entry["root"], entry["set"], entry["case"]) in tasks:
            raise ReadError(f"suite.json: {entry['case']!r} of {entry['set']!r} is a task, and may not train")
    held = {task["name"].split(" (")[0].replace(" CT", "").replace(" MR", "") for task in suite["tasks"]}
    others = [case for entry in suite["train"] for case in _read_entry(root, entry, held)]
    return Library(sarcomas, others)


def read_suite(root: Path) -> dict[str, Any]:
    """What ``suite.json`` of a data folder says; raises :class:`ReadError` where there is none."""
    try:
        return dict(load_json(root / "suite.json"))
    except (OSError, ValueError, TypeError) as error:
        raise ReadError(f"{root}: no suite.json that names what may train: {error}") from error


def _sarcoma(layout: Layout, name: str) -> TrainingCase:
    files = layout.files(name)
    roles = [role for role in SARCOMA_ROLES if role in files.images]
    images = {role: _light(read_volume(files.images[role], role)) for role in roles}
    return TrainingCase(name, images, _contours(read_mask(files.labels)), layout.folder.name)


def _read_entry(root: Path, entry: dict[str, Any], held: set[str]) -> Iterator[TrainingCase]:
    """The cases of one entry of the suite; images on different grids become cases of their own."""
    folder = root / entry["root"] / entry["set"]
    index = load_json(root / entry["root"] / "index.json")
    found = next((c for c in index["cases"] if (c["set"], c["case"]) == (entry["set"], entry["case"])), None)
    if found is None:
        raise ReadError(f"{root / entry['root'] / 'index.json'}: has no case {entry['case']!r} of {entry['set']!r}")
    if "SA" in found["licence"]:
        raise ReadError(f"suite.json: {entry['case']!r} has the licence {found['licence']}, and may not train")
    groups: list[dict[str, Volume]] = []
    for key, file in found["files"].items():
        if key in ("label", "readers", "negatives", "ptv"):
            continue
        role = role_of(key, found["modality"])
        volume = _light(read_volume(folder / file, role))
        group = next((g for g in groups if next(iter(g.values())).grid == volume.grid and role not in g), None)
        if group is None:
            groups.append({role: volume})
        else:
            group[role] = volume
    contours = _open_contours(folder, found, held) if entry["contours"] and "label" in found["files"] else None
    for images in groups:
        fits = contours is not None and contours.grid == next(iter(images.values())).grid
        found_here = _contours(contours) if fits and contours is not None else []
        yield TrainingCase(entry["case"], images, found_here, entry["set"])


def _open_contours(folder: Path, entry: dict[str, Any], held: set[str]) -> Mask:
    """The label map without the labels of kinds that the suite validates or tests."""
    mask = read_mask(folder / entry["files"]["label"])
    open_labels = [int(value) for value, name in entry["labels"].items() if not _is_held(name.replace("_", " "), held)]
    return Mask(mask.grid, np.where(np.isin(mask.array, open_labels), mask.array, 0).astype(np.uint8))


def _is_held(name: str, held: set[str]) -> bool:
    """Whether a structure is of a kind of the suite, or part of one, on either side of the body.

    As ``parotid right``, ``spinal cord`` and ``spinal cord grey matter`` are where ``parotid left`` and ``cord`` are.
    """
    plain = name.removesuffix(" left").removesuffix(" right").removeprefix("spinal ")
    return any(f"{plain} ".startswith(kind.removesuffix(" left").removesuffix(" right") + " ") for kind in held)


def role_of(key: str, modality: str) -> str:
    """The role of an image of the index, by its key there and its modality."""
    if key in ("ct", "pet"):
        return key
    if key in ("image", "mr"):
        return "ct" if modality.startswith("CT") else "mr"
    return f"mr_{key}"


def _light(volume: Volume) -> Volume:
    """The image as float32; one of raw values takes no more."""
    return Volume(volume.grid, volume.array.astype(np.float32, copy=False), volume.role)


def _contours(mask: Mask) -> list[Contour]:
    result = []
    for label in np.unique(mask.array[mask.array > 0]):
        one = mask.array == label
        box = bounding_box(one)
        if box is not None and int(one.sum()) >= LEAST_VOXELS:
            result.append(Contour(one[slices(box)].copy(), (box[0][0], box[1][0], box[2][0])))
    return result
