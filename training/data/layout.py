"""Where a data set has its files: in our layout, or as nnU-Net keeps its raw data.

Ours has per case ``<case>_<role>.nii.gz`` (any subset of roles) and the contour ``<case>_gtv.nii.gz``, or
``<case>_label.nii.gz``. nnU-Net's has ``dataset.json``, ``imagesTr/<case>_0000.nii.gz`` and so on, one number per
channel, and ``labelsTr/<case>.nii.gz`` (https://github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md).

Both may have folds: ours ``splits.json`` with ``{"folds": [[case, ...], ...]}``, nnU-Net's ``splits_final.json`` with
``[{"train": [...], "val": [...]}, ...]``. Without them, patients are dealt to five folds at random, always the same
way. ``patients.json`` may say which cases are of one patient: ``{case: {"patient": name}}``.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from TumorSegLib.engines.importers.descriptions import roles_of, text_of
from TumorSegLib.errors import ReadError, RoleError
from TumorSegLib.images.roles import check_role
from TumorSegLib.parsing import load_json

#: Ends of the names of contours in our layout, before the suffix of the file.
REFERENCES = ("gtv", "label")
SPLITS, NNUNET_SPLITS, NNUNET_DATASET, PATIENTS = "splits.json", "splits_final.json", "dataset.json", "patients.json"
SUFFIX = ".nii.gz"
# Folds of a data set that has none, and the seed of the random number that deals patients to them.
FOLDS, SEED = 5, 12345


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case: of the images by role, and of the contour."""

    images: Mapping[str, Path]
    labels: Path


@dataclass(frozen=True)
class Layout:
    """What a folder of data holds.

    Attributes:
        folder: of the data set.
        roles: of all images, in the order of the channels, or of the alphabet.
        labels: name to value; empty where no file names them.
        cases: files by case.
        channels: what the data set calls the image of each role; empty where no file says.
        about: licence, reference and name, as far as they are stated.
        unlabelled: cases that have an image, but no contour.
    """

    folder: Path
    roles: tuple[str, ...]
    labels: Mapping[str, int]
    cases: Mapping[str, CaseFiles]
    channels: Mapping[str, str]
    about: Mapping[str, str]
    unlabelled: tuple[str, ...] = ()

    def files(self, name: str) -> CaseFiles:
        """The files of a case; raises :class:`ReadError` where there is no such case."""
        if name not in self.cases:
            raise ReadError(f"{self.folder}: there is no case {name!r} with a contour")
        return self.cases[name]


def read_layout(folder: Path) -> Layout:
    """Finds the files of a data set.

    Raises:
        ReadError: the folder is missing, has no case, or its ``dataset.json`` cannot be read or is not one of nnU-Net.
    """
    if not folder.is_dir():
        raise ReadError(f"{folder}: is not a folder of data")
    layout = _nnunet(folder) if (folder / NNUNET_DATASET).is_file() else _ours(folder)
    if not layout.cases:
        wanted = "labelsTr/<case>" if layout.labels else "<case>_gtv"
        raise ReadError(f"{folder}: has no case, which is a contour {wanted}{SUFFIX} with an image")
    return layout


def read_folds(folder: Path) -> list[list[str]]:
    """Case names by fold.

    Raises:
        ReadError: the file with the folds cannot be read or is not one, a case or a patient is in two folds, or there
            is neither such a file nor a case.
    """
    nnunet = (folder / NNUNET_DATASET).is_file()
    path = folder / (NNUNET_SPLITS if nnunet else SPLITS)
    if not path.is_file():
        return _dealt(list(read_layout(folder).cases), patients_of(folder))
    folds = _validated(path) if nnunet else _listed(path)
    repeated = [name for name, count in Counter(name for fold in folds for name in fold).items() if count > 1]
    if repeated:
        raise ReadError(f"{path}: {', '.join(repeated)} must be in one fold, once; else training would see the test")
    patients = patients_of(folder)
    torn = Counter(patient for fold in folds for patient in {patients.get(name, name) for name in fold})
    if torn and max(torn.values()) > 1:
        names = ", ".join(patient for patient, count in torn.items() if count > 1)
        raise ReadError(f"{path}: cases of patient {names} must be in one fold; else training would see the test")
    return folds


def patients_of(folder: Path) -> dict[str, str]:
    """The patient of each case that ``patients.json`` names one for; raises :class:`ReadError`."""
    path, entries = folder / PATIENTS, _patients(folder)
    found = {name: entry["patient"] for name, entry in entries.items() if "patient" in entry}
    wrong = [name for name, patient in found.items() if not isinstance(patient, str)]
    if wrong:
        raise ReadError(f"{path}: patient of {wrong[0]!r} is {found[wrong[0]]!r}, not a name in quotes")
    return found


def has_windows(folder: Path) -> bool:
    """Whether ``patients.json`` has windows, as for images cropped around what is sought; raises :class:`ReadError`."""
    return any("jitter_window_xyz" in entry for entry in _patients(folder).values())


def _patients(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / PATIENTS
    entries = read_json(path) if path.is_file() else {}
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ReadError(f"{path}: must hold {{case: {{...}}, ...}}")
    return entries


def _dealt(names: Sequence[str], patients: Mapping[str, str]) -> list[list[str]]:
    """The cases in folds of about as many patients each."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(patients.get(name, name), []).append(name)
    order = sorted(groups)
    random.Random(SEED).shuffle(order)
    folds = [sorted(name for patient in order[n::FOLDS] for name in groups[patient]) for n in range(FOLDS)]
    return [fold for fold in folds if fold]


def _listed(path: Path) -> list[list[str]]:
    splits = read_json(path)
    folds = splits.get("folds") if isinstance(splits, dict) else None
    if not folds or not isinstance(folds, list) or not all(_are_names(fold) for fold in folds):
        raise ReadError(f'{path}: must hold {{"folds": [[case, ...], ...]}}, names in quotes')
    return [list(fold) for fold in folds]


def _validated(path: Path) -> list[list[str]]:
    splits = read_json(path)
    folds = [each.get("val") if isinstance(each, dict) else None for each in splits] if isinstance(splits, list) else []
    if not folds or not all(_are_names(fold) for fold in folds):
        raise ReadError(f'{path}: must hold [{{"train": [case, ...], "val": [case, ...]}}, ...], names in quotes')
    return [list(fold) for fold in folds if fold is not None]


def _are_names(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _ours(folder: Path) -> Layout:
    names = _names(folder)
    contours: dict[str, Path] = {}
    ends = tuple(f"_{reference}" for reference in REFERENCES)
    for end in ends:
        for name in names:
            if name.endswith(end):
                contours.setdefault(name.removesuffix(end), folder / f"{name}{SUFFIX}")
    images: dict[str, dict[str, Path]] = {case: {} for case in contours}
    unlabelled = []
    for name in (name for name in names if not name.endswith(ends)):
        parts = name.split("_")
        readings = [("_".join(parts[:n]), "_".join(parts[n:])) for n in range(1, len(parts))]
        readings = [(case, role) for case, role in readings if _is_role(role)]
        for case, role in readings:
            if case in contours:
                images[case][role] = folder / f"{name}{SUFFIX}"
        if readings and not any(case in contours for case, _ in readings):
            unlabelled.append(readings[0][0])
    cases = {case: CaseFiles(images[case], contours[case]) for case in sorted(contours)}
    roles = sorted({role for files in cases.values() for role in files.images})
    return Layout(folder, tuple(roles), {}, cases, {}, {"name": folder.name}, tuple(sorted(set(unlabelled))))


def _names(folder: Path) -> list[str]:
    """The images in a folder without their suffix; without the files ``._<name>`` that macOS puts beside others."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    return [path.name.removesuffix(SUFFIX) for path in paths if not path.name.startswith(".")]


def _is_role(text: str) -> bool:
    try:
        check_role(text)
    except RoleError:
        return False
    return True


def _nnunet(folder: Path) -> Layout:
    path = folder / NNUNET_DATASET
    values = read_json(path)
    if not isinstance(values, dict):
        raise ReadError(f"{path}: is not a JSON object")
    channels = _numbered(values.get("channel_names", values.get("modality")), f"{path}: channel_names")
    ending = values.get("file_ending", SUFFIX)
    if ending != SUFFIX:
        raise ReadError(f"{path}: file_ending {ending!r} is not read; convert the images to {SUFFIX}")
    roles, images = roles_of(channels), folder / "imagesTr"
    cases = {
        case: CaseFiles(
            {role: images / f"{case}_{number:04d}{SUFFIX}" for number, role in enumerate(roles)},
            folder / "labelsTr" / f"{case}{SUFFIX}",
        )
        for case in _names(folder / "labelsTr")
    }
    about = {
        "name": text_of(values, "name") or folder.name,
        "licence": text_of(values, "licence", "license"),
        "reference": text_of(values, "reference"),
    }
    first = [name.removesuffix("_0000") for name in _names(images) if name.endswith("_0000")]
    return Layout(
        folder,
        tuple(roles),
        _labels(values.get("labels"), path),
        cases,
        dict(zip(roles, channels)),
        about,
        tuple(case for case in first if case not in cases),
    )


def _numbered(values: Any, where: str) -> list[str]:
    if not isinstance(values, dict) or set(values) != {str(n) for n in range(len(values))} or not values:
        raise ReadError(f'{where} {values!r} are not {{"0": name, "1": name, ...}}')
    return [str(values[str(n)]) for n in range(len(values))]


def _labels(values: Any, path: Path) -> dict[str, int]:
    """Name to value, lowest first, without the background; nnU-Net 2 gives it so, the decathlon the other way round."""
    if not isinstance(values, dict) or not values:
        raise ReadError(f"{path}: labels {values!r} are not {{name: value, ...}}")
    pairs = {str(b): int(a) for a, b in values.items()} if all(_is_digits(key) for key in values) else values
    regions = [name for name, value in pairs.items() if isinstance(value, list)]
    if regions:
        raise ReadError(f"{path}: label {regions[0]!r} is a region of several values; give each value a label")
    if "ignore" in pairs:
        raise ReadError(f"{path}: label 'ignore' of voxels that nobody labelled cannot be trained on; remove it")
    wrong = [name for name, value in pairs.items() if not isinstance(value, int) or isinstance(value, bool)]
    if wrong:
        raise ReadError(f"{path}: label {wrong[0]!r} has the value {pairs[wrong[0]]!r}, not a whole number")
    found = {name: value for name, value in pairs.items() if value != 0}
    if sorted(found.values()) != list(range(1, len(found) + 1)):
        raise ReadError(f"{path}: labels {found} do not count up from 1")
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def _is_digits(key: Any) -> bool:
    return str(key).isdigit()


def read_json(path: Path) -> Any:
    """What a JSON file of a data set holds; raises :class:`ReadError`."""
    try:
        return load_json(path)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ReadError(f"{path}: not valid JSON: {error}") from error
