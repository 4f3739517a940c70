"""Cases to train and evaluate on.

Where a data folder has its files is in :mod:`training.data.layout`. An optional ``patients.json`` gives
``{case: {"jitter_window_xyz": [[i0, i1], [j0, j1], [k0, k1]]}}``, half-open voxel ranges inside which automatic results
are judged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from training.data.layout import PATIENTS, Layout, read_folds, read_json, read_layout
from TumorSegLib.errors import ArgumentError, GeometryError, ReadError
from TumorSegLib.geometry.boxes import full_box, slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.resample import average_blocks, resample
from TumorSegLib.images.roles import is_ct
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume
from TumorSegLib.parsing import check_spelling
from TumorSegLib.phantom.patient import make_phantom

#: Roles of the images of sarcomas, for models that take any.
SARCOMA_ROLES = ("ct", "pet", "mr_t1")
AIR_HU = -1000.0


@dataclass(frozen=True, eq=False)
class Case:
    """One patient: images by role and the reference contour, all on one grid.

    Attributes:
        name: as in the file names.
        images: role to image.
        reference: label map.
        jitter_window: half-open voxel box automatic results are judged in; the whole image where none is given.
        labels: value in the reference by name; empty where the data set names none.
    """

    name: str
    images: dict[str, Volume]
    reference: Mask
    jitter_window: Box
    labels: Mapping[str, int] = field(default_factory=dict)
    _fitted: dict[tuple[str, Normalisation], Normalisation] = field(default_factory=dict, repr=False)

    def fitted(self, role: str, rule: Normalisation) -> Normalisation:
        """The normalisation with the statistics of the whole image of a role, as inference has them."""
        if (role, rule) not in self._fitted:
            self._fitted[role, rule] = rule.fitted(self.images[role].array)
        return self._fitted[role, rule]

    @property
    def tumour(self) -> Mask:
        """The reference contour with 1 for every label."""
        return Mask(self.reference.grid, (self.reference.array > 0).astype(np.uint8))

    @property
    def tumour_box(self) -> Box:
        """The half-open voxel box of the tumour; raises :class:`ReadError` where the case has none."""
        box = self.reference.bounding_box()
        if box is None:
            raise ReadError(f"case {self.name!r} has no tumour, so no box; remove it from splits.json")
        return box

    def in_jitter_window(self) -> Case:
        """The case as automatic results are judged: as if nothing outside its window had been acquired."""
        return self.cropped(self.jitter_window)

    def cropped(self, box: Box) -> Case:
        """The case as if only the voxels of a box had been acquired."""
        grid, at = self.reference.grid.crop(box), slices(box)
        images = {role: Volume(grid, v.array[at], role) for role, v in self.images.items()}
        return Case(self.name, images, Mask(grid, self.reference.array[at]), full_box(grid.shape), self.labels)


def default_root() -> Path:
    """``$TUMORSEG_DATA``, or ``../shared/data`` beside the checkout."""
    return Path(os.environ.get("TUMORSEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def default_folder() -> Path:
    """The sarcomas in :func:`default_root`."""
    return default_root() / "sts"


def training_names(folds: Sequence[Sequence[str]], test_fold: int) -> list[str]:
    """All cases outside one fold; raises :class:`ArgumentError` if there is no such fold."""
    if not 0 <= test_fold < len(folds):
        raise ArgumentError(f"fold {test_fold} does not exist; there are folds 0 to {len(folds) - 1}")
    return [name for number, fold in enumerate(folds) if number != test_fold for name in fold]


def read_case(folder: Path, name: str, roles: Sequence[str]) -> Case:
    """Reads one case with those of the roles it has, on the grid of its contour.

    Raises:
        ReadError: the contour is missing, every role is, or a file is damaged.
        GeometryError: an image does not overlap the contour's grid, or the window leaves it.
    """
    return read_named(folder, [name], roles)[0]


def read_named(folder: Path, names: Sequence[str], roles: Sequence[str]) -> list[Case]:
    """Reads some cases, as :func:`read_case` does each."""
    layout = read_layout(folder)
    return [_read(layout, name, roles) for name in names]


def _read(layout: Layout, name: str, roles: Sequence[str]) -> Case:
    files = layout.files(name)
    reference = read_mask(files.labels)
    images = {
        role: on_grid(read_volume(files.images[role], role), reference.grid) for role in roles if role in files.images
    }
    if not images:
        raise ReadError(f"{layout.folder}: case {name!r} has none of the roles {', '.join(roles)}")
    return Case(name, images, reference, _window(layout.folder, name, reference), layout.labels)


def on_grid(volume: Volume, grid: Grid) -> Volume:
    """An image on the grid of a contour, air or 0 where it does not reach; raises :class:`GeometryError`."""
    return resample(volume, grid, AIR_HU if is_ct(volume.role) else 0.0)


def read_cases(folder: Path, fold: int | None, roles: Sequence[str]) -> list[Case]:
    """The cases of one fold of a data folder, or all, with those of the roles they have.

    Raises:
        ArgumentError: there is no such fold.
        ReadError: the data folder or a case cannot be read.
    """
    folds = read_folds(folder)
    if fold is not None and not 0 <= fold < len(folds):
        raise ArgumentError(f"fold {fold} does not exist; {folder} has folds 0 to {len(folds) - 1}")
    names = folds[fold] if fold is not None else [name for one in folds for name in one]
    return read_named(folder, names, roles)


def _window(folder: Path, name: str, reference: Mask) -> Box:
    path = folder / PATIENTS
    patients = read_json(path) if path.is_file() else {}
    try:
        entry = patients.get(name, {})
        check_spelling(entry, ("jitter_window_xyz", "patient"), f"{path}: {name}")
        ranges = entry.get("jitter_window_xyz")
        if ranges is None:
            return full_box(reference.grid.shape)
        (i0, i1), (j0, j1), (k0, k1) = [(int(low), int(high)) for low, high in ranges]
        box = (i0, i1), (j0, j1), (k0, k1)
        reference.grid.check_box(box)
    except (AttributeError, TypeError, ValueError) as error:
        raise ReadError(f"{path}: jitter_window_xyz of {name!r} is not [[i0, i1], [j0, j1], [k0, k1]]") from error
    except GeometryError as error:
        raise GeometryError(f"{path}: jitter_window_xyz of {name!r}: {error}") from error
    return box


def coarsened(case: Case, spacing_mm: Sequence[float]) -> Case:
    """The case as inference at a spacing sees it before it interpolates: blocks of voxels averaged.

    Args:
        case: its images in raw units (HU, SUV).
        spacing_mm: ``(i, j, k)`` of the model.

    Returns:
        The case on the grid of :func:`TumorSegLib.images.resample.average_blocks`. A block's label is the one most of
        its voxels have, the lower of two that tie; its window has every block that the window touched. The same
        object where no voxel is at least twice as fine as the spacing.
    """
    fine = case.reference.grid
    target = fine.with_spacing(spacing_mm)
    images = {role: average_blocks(volume, target) for role, volume in case.images.items()}
    if all(images[role] is volume for role, volume in case.images.items()):
        return case
    grid = ImageSet(images).grid
    labels = np.unique(np.append(case.reference.array, np.uint8(0)))
    maps = [Volume(fine, (case.reference.array == label).astype(np.float32)) for label in labels]
    shares = [average_blocks(volume, target).array for volume in maps]
    reference = Mask(grid, labels[np.argmax(shares, axis=0)])
    blocks = np.rint(np.divide(grid.spacing, fine.spacing)).astype(int)
    i, j, k = ((int(low // n), int(-(-high // n))) for (low, high), n in zip(case.jitter_window, blocks))
    return Case(case.name, images, reference, (i, j, k), case.labels)


def phantom_case(seed: int, roles: Sequence[str]) -> Case:
    """A synthetic case; regions of the body alternate with the seed.

    Raises:
        ArgumentError: phantoms have none of the roles.
    """
    phantom = make_phantom(seed, region=("limb", "trunk")[seed % 2])
    images = {role: phantom.images[role] for role in roles if role in phantom.images}
    if not images:
        raise ArgumentError(f"phantoms have {', '.join(phantom.images)}, none of the roles {', '.join(roles)}")
    return Case(f"phantom_{seed:03d}", images, phantom.tumour, full_box(phantom.tumour.grid.shape))
