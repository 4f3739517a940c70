"""What a data set holds, measured once over all its cases, and what is wrong with it.

After the fingerprint of nnU-Net (Isensee et al., Nat Methods 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label as components_of

from training.data.cases import on_grid
from training.data.layout import SUFFIX, CaseFiles, Layout, read_folds
from TumorSegLib.errors import ReadError, TumorSegError
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume
from TumorSegLib.jobs import progress_bar

# So many voxels of the labels are drawn from each image for its statistics.
SAMPLES = 10_000
#: Percentiles of the values within the labels.
PERCENTILES = (0.5, 50.0, 99.5)


@dataclass(frozen=True)
class CasePrint:
    """One case.

    Attributes:
        size, spacing_mm: of its contour, ``(i, j, k)``.
        length_mm: from head to foot.
        roles: of its images.
        voxels: by label value.
        volumes_ml: of the connected parts of each label value, the largest first.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    length_mm: float
    roles: tuple[str, ...]
    voxels: Mapping[int, int]
    volumes_ml: Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class Intensities:
    """Values of the images of one role within the labels, in their units: ``percentiles`` are ``PERCENTILES``."""

    mean: float
    deviation: float
    least: float
    largest: float
    percentiles: tuple[float, float, float]


@dataclass(frozen=True)
class Fingerprint:
    """A data set.

    Attributes:
        name: of the data set.
        cases: by name.
        intensities: by role.
        folds: names of cases.
        labels: name to value.
        notes: what a user should know, but need not change.
    """

    name: str
    cases: Mapping[str, CasePrint]
    intensities: Mapping[str, Intensities]
    folds: Sequence[Sequence[str]]
    labels: Mapping[str, int]
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the share of each label among the voxels of all cases."""
        total = sum(int(np.prod(case.size)) for case in self.cases.values())
        counts = {name: self.voxels_of(value) for name, value in self.labels.items()}
        return {**asdict(self), "label_shares": {name: count / total for name, count in counts.items()}}

    def voxels_of(self, value: int) -> int:
        """Voxels of a label in all cases."""
        return sum(case.voxels.get(value, 0) for case in self.cases.values())


@dataclass
class _Found:
    """What was found so far."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cases: dict[str, CasePrint] = field(default_factory=dict)
    samples: dict[str, list[npt.NDArray[np.float32]]] = field(default_factory=dict)


def take_fingerprint(layout: Layout) -> Fingerprint:
    """Reads all cases of a data set, and checks them.

    Raises:
        ReadError: something is wrong with the data: all that is, one line each.
    """
    found = _Found()
    with progress_bar("Reading") as progress:
        for done, (name, files) in enumerate(layout.cases.items(), start=1):
            _take(layout, name, files, found)
            progress(done, len(layout.cases), name)
    found.notes += [f"case {name} has an image, but no contour; it is left out" for name in layout.unlabelled]
    labels = dict(layout.labels) or _numbered(found.cases, found.problems)
    if found.cases:
        empty = [name for name, value in labels.items() if not any(c.voxels.get(value) for c in found.cases.values())]
        found.problems += [f"label {name!r} is in no case; remove it from the labels" for name in empty]
    unseen = [role for role, samples in sorted(found.samples.items()) if not any(map(np.size, samples))]
    found.problems += [f"the images of role {role!r} show no label; remove them" for role in unseen]
    folds = _folds(layout, found)
    if found.problems:
        count = len(found.problems)
        lines = "\n".join(f"  {problem}" for problem in found.problems)
        raise ReadError(f"{layout.folder}: {count} {'thing is' if count == 1 else 'things are'} wrong:\n{lines}")
    intensities = {role: _intensities(np.concatenate(found.samples[role])) for role in sorted(found.samples)}
    return Fingerprint(layout.about["name"], found.cases, intensities, folds, labels, found.notes)


def _take(layout: Layout, name: str, files: CaseFiles, found: _Found) -> None:
    """Reads one case; adds what is wrong with it."""
    problems = _missing(layout, name, files)
    if problems:
        found.problems += problems
        return
    try:
        mask = read_mask(files.labels)
    except TumorSegError as error:
        found.problems.append(str(error) if str(files.labels) in str(error) else f"{files.labels}: {error}")
        return
    values, counts = np.unique(mask.array[mask.array > 0], return_counts=True)
    voxels = {int(value): int(count) for value, count in zip(values, counts)}
    unknown = sorted(set(voxels) - set(layout.labels.values())) if layout.labels else []
    if unknown:
        found.problems.append(f"{files.labels}: has the value {unknown[0]}, which is no label of dataset.json")
    if not voxels:
        found.notes.append(f"case {name} has no label; it serves as an image without a finding")
    for role, path in files.images.items():
        try:
            volume = read_volume(path, role)
        except TumorSegError as error:
            found.problems.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        if not (volume.grid == mask.grid if layout.channels else volume.grid.overlaps(mask.grid)):
            found.problems.append(f"{path}: its grid ({volume.grid}) is not that of the contour ({mask.grid})")
        else:
            found.samples.setdefault(role, []).append(_drawn(on_grid(volume, mask.grid), mask))
    volumes = {value: _volumes_ml(mask, value) for value in voxels}
    down = np.abs(mask.grid.direction[2])
    length = float(down @ np.multiply(mask.grid.size, mask.grid.spacing))
    found.cases[name] = CasePrint(mask.grid.size, mask.grid.spacing, length, tuple(files.images), voxels, volumes)


def _missing(layout: Layout, name: str, files: CaseFiles) -> list[str]:
    if not layout.channels:
        return [] if files.images else [f"case {name!r} has a contour, but no image {name}_<role>.nii.gz"]
    count, images = len(layout.channels), layout.folder / "imagesTr"
    channels = f"{count} channel{'' if count == 1 else 's'}"
    decathlon, further = images / f"{name}{SUFFIX}", images / f"{name}_{count:04d}{SUFFIX}"
    problems = [
        f"{path}: is missing; dataset.json names {channels}" for path in files.images.values() if not path.is_file()
    ]
    if problems and decathlon.is_file():
        return [f"{decathlon}: is named as in the decathlon; nnU-Net has one file per channel, {name}_0000{SUFFIX} ..."]
    if further.is_file():
        problems.append(f"{further}: is one channel more than the {count} that dataset.json names")
    return problems


def _drawn(volume: Volume, mask: Mask) -> npt.NDArray[np.float32]:
    inside = volume.array[mask.array > 0].astype(np.float32)
    if inside.size <= SAMPLES:
        return inside
    return np.random.default_rng(0).choice(inside, SAMPLES, replace=False)


def _volumes_ml(mask: Mask, value: int) -> list[float]:
    parts, _ = components_of(mask.array == value)
    return sorted((np.bincount(parts.ravel())[1:] * float(np.prod(mask.grid.spacing)) / 1000).tolist(), reverse=True)


def _intensities(values: npt.NDArray[np.float32]) -> Intensities:
    low, middle, high = (float(value) for value in np.percentile(values, PERCENTILES))
    mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return Intensities(mean, deviation, float(values.min()), float(values.max()), (low, middle, high))


def _numbered(cases: Mapping[str, CasePrint], problems: list[str]) -> dict[str, int]:
    """Labels of a data set that names none."""
    values = sorted({value for case in cases.values() for value in case.voxels})
    if cases and values != list(range(1, len(values) + 1)):
        problems.append(f"the contours have the values {values}, which do not count up from 1")
    return {"tumour": 1} if values == [1] else {f"label_{value}": value for value in values}


def _folds(layout: Layout, found: _Found) -> list[list[str]]:
    try:
        folds = read_folds(layout.folder)
    except ReadError as error:
        found.problems.append(str(error))
        return []
    named = {name for fold in folds for name in fold}
    found.problems += [f"case {name!r} is in a fold, but has no contour" for name in sorted(named - set(layout.cases))]
    if len(folds) < 2:
        found.problems.append("all cases are in one fold; at least two are needed, one to train on and one to test on")
    left_out = sorted(set(layout.cases) - named)
    if left_out:
        found.notes.append(f"{', '.join(left_out)}: in no fold, so neither trained nor tested on")
    return folds
