"""Images without a sarcoma: those that ``suite.json`` names to validate and test, and samples of those it lets train.

``negatives`` in ``suite.json`` has lists ``train``, ``validate`` and ``test`` of ``ROOT/SET/CASE`` or, where a set has
one image, ``ROOT/SET``; remarks in brackets are ignored. The folder ``other`` has no index: ``other: NAME`` is one of
``OTHER``, and any other text after ``other:`` means those that no list names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.config.negatives import PHANTOMS, SARCOMAS, NegativeSettings
from training.data.cases import AIR_HU, Case, coarsened
from training.objects.lesions import insert_lesion
from training.objects.library import role_of
from training.objects.synthetic import synthetic_pet
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.geometry.boxes import full_box
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.resample import resample
from TumorSegLib.images.roles import channel_family, is_ct
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_volume
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.parsing import load_json
from TumorSegLib.phantom.patient import make_phantom

#: Images of the folder ``other``, by name: set, file and role.
OTHER = {
    "example_ct": ("totalsegmentator", "example_ct.nii.gz", "ct"),
    "CRLM-CT-1004": ("crlm", "CRLM-CT-1004_ct.nii.gz", "ct"),
}
# Files of the index that are no images.
NO_IMAGES = ("label", "readers", "negatives", "ptv")
# Synthetic PETs of each CT.
PETS = 2
# Trunks of phantoms (k, j, i) at 3 mm, tall enough for several organs.
PHANTOM_SHAPE, PHANTOM_MM = (112, 120, 128), 3.0
# Edges of the random field of view in mm: from a crop around a tumour to the whole trunk.
FIELD_MM = (180.0, 450.0)
# Radii of synthetic lesions in mm: 14 ml to 1.4 litres.
LESION_RADII_MM = (15.0, 70.0)
# Parts of patients thinner than this show too little.
THINNEST_MM = 30.0


@dataclass(frozen=True)
class Negative:
    """One image without a sarcoma: its set, and the case with an empty reference."""

    set: str
    case: Case


def read_negatives(root: Path, use: str, roles: Sequence[str]) -> list[Negative]:
    """The images of one list of ``suite.json`` that have any of the roles; to ``train``, further sets of its ``train``.

    Args:
        root: folder with ``suite.json`` and the data folders it names.
        use: ``train``, ``validate`` or ``test``.
        roles: of the model.

    Raises:
        ReadError: a file is missing or damaged, or an image is named twice, or may not train.
    """
    path = root / "suite.json"
    try:
        suite = load_json(path)
        lists = {name: _places(root, suite["negatives"][name], suite["negatives"]) for name in ("validate", "test")}
        if use != "train":
            places = lists[use]
        else:
            held = {(task["root"], task["set"], task["case"]) for task in suite["tasks"]}
            places = _training_places(root, suite, {*lists["validate"], *lists["test"]}, held)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ReadError(f"{path}: has no lists of negatives: {error}") from error
    found = [_read(root, place, roles, use) for place in places]
    return [negative for negative in found if negative is not None]


Place = tuple[str, str, str]


def _training_places(root: Path, suite: Mapping[str, Any], reserved: set[Place], tasks: set[Place]) -> list[Place]:
    named = _places(root, suite["negatives"]["train"], suite["negatives"])
    for place in named:
        if place in reserved:
            raise ReadError(f"{root / 'suite.json'}: negative {'/'.join(place)} is named for training and evaluation")
    others = [(entry["root"], entry["set"], entry["case"]) for entry in suite["train"]]
    return list(dict.fromkeys(place for place in (*named, *others) if place not in reserved | tasks))


def _places(root: Path, entries: Sequence[str], lists: Mapping[str, Any]) -> list[Place]:
    """Root, set and case of each entry."""
    places: list[Place] = []
    for entry in entries:
        text = entry.split(" (")[0].strip()
        if text.startswith("other:"):
            name = text.removeprefix("other:").strip()
            elsewhere = " ".join(text for key in ("validate", "test") for text in lists[key])
            names = [name] if name in OTHER else [one for one in OTHER if one not in elsewhere]
            places += [("other", OTHER[one][0], one) for one in names]
            continue
        folder, set_, *case = text.split("/")
        places.append((folder, set_, case[0] if case else _index(root / folder, set_, None)["case"]))
    return places


def _index(folder: Path, set_: str, case: str | None) -> dict[str, Any]:
    """The entry of a case in a folder's index; of the first case of the set where none is named."""
    entries = load_json(folder / "index.json")["cases"]
    for entry in entries:
        if entry["set"] == set_ and case in (None, entry["case"]):
            return dict(entry)
    raise ReadError(f"{folder / 'index.json'}: has no case {case or ''!r} of {set_!r}")


def _read(root: Path, place: Place, roles: Sequence[str], use: str) -> Negative | None:
    folder, set_, name = place
    if folder == "other":
        _, file, role = OTHER[name]
        files = {role: file}
    else:
        entry = _index(root / folder, set_, name)
        if use == "train" and "SA" in entry["licence"]:
            raise ReadError(f"suite.json: {name!r} has the licence {entry['licence']}, and may not train")
        keys = [key for key in entry["files"] if key not in NO_IMAGES]
        files = {role_of(key, entry["modality"]): entry["files"][key] for key in keys}
    wanted = [role for role in roles if role in files]
    if not wanted:
        return None
    images: dict[str, Volume] = {}
    for role in wanted:
        volume = read_volume(root / folder / set_ / files[role], role)
        grid = next(iter(images.values())).grid if images else volume.grid
        images[role] = resample(volume, grid, AIR_HU if is_ct(role) else 0.0)
    return Negative(set_, _case(name, images))


def _case(name: str, images: dict[str, Volume]) -> Case:
    grid = next(iter(images.values())).grid
    return Case(name, images, Mask(grid, np.zeros(grid.shape, np.uint8)), full_box(grid.shape))


class NegativeCases:
    """Cases without a tumour by source, to draw from."""

    def __init__(self, settings: NegativeSettings, spec: ModelSpec, root: Path, sarcomas: Sequence[Case]) -> None:
        """Reads them.

        Args:
            settings: sources.
            spec: of the model that is trained.
            root: folder with ``suite.json``.
            sarcomas: the cases that train.

        Raises:
            ReadError: a file is missing or damaged.
            ArgumentError: a source has no image.
        """
        self._settings, self._spec = settings, spec
        pools: dict[str, list[Case]] = {PHANTOMS: [], SARCOMAS: list(sarcomas)}
        for negative in read_negatives(root, "train", spec.roles):
            pools.setdefault(negative.set, []).append(coarsened(negative.case, spec.volume_input.spacing_mm))
        if settings.sources.get(PHANTOMS, 0) > 0:
            pools[PHANTOMS] = [_trunk(seed, spec.roles) for seed in range(settings.phantoms)]
        for name, frequency in settings.sources.items():
            if frequency > 0 and not pools.get(name):
                raise ArgumentError(f"[negatives] sources: {name!r} has no image; sets are {', '.join(pools)}")
        self._pools = {name: pools[name] for name, frequency in settings.sources.items() if frequency > 0}
        self._pets: dict[str, list[Volume]] = {}
        if settings.synthetic_pet > 0:
            cts = [case for pool in self._pools.values() for case in pool if set(case.images) == {"ct"}]
            rng = np.random.default_rng(0)
            self._pets = {case.name: [synthetic_pet(case.images["ct"], rng) for _ in range(PETS)] for case in cts}

    def draw(self, rng: np.random.Generator) -> Case:
        """A case without a tumour in a random field of view, sometimes with a synthetic lesion in it."""
        names = list(self._pools)
        weights = np.array([self._settings.sources[name] for name in names])
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        pool = self._pools[name]
        case = pool[int(rng.integers(len(pool)))]
        pets = self._pets.get(case.name)
        if pets and rng.random() < self._settings.synthetic_pet:
            images = {**case.images, "pet": pets[int(rng.integers(len(pets)))]}
            case = Case(case.name, images, case.reference, case.jitter_window)
        if name == SARCOMAS:
            case = case.cropped(beside_tumour(case, rng))
        case = case.cropped(field_of_view(case, rng))
        return self._with_lesion(case, rng) if rng.random() < self._settings.lesion_share else case

    def _with_lesion(self, case: Case, rng: np.random.Generator) -> Case:
        """The case with a lesion in the middle; without where none can be seen there, in air for example."""
        rules = {channel_family(role): rule for role, rule in self._spec.volume_input.normalisation.items()}
        arrays = {role: volume.array.astype(np.float32) for role, volume in case.images.items()}
        grid = case.reference.grid
        radius = np.exp(rng.uniform(*np.log(LESION_RADII_MM)))
        radii = radius * rng.uniform(0.65, 1.5, 3) / np.array(grid.spacing[::-1])
        truth = insert_lesion(arrays, case, rules, rng, radii, hot=True)
        if truth is None:
            return case
        images = {role: Volume(grid, array, role) for role, array in arrays.items()}
        return Case(f"{case.name} with a lesion", images, Mask(grid, truth.astype(np.uint8)), case.jitter_window)


def field_of_view(case: Case, rng: np.random.Generator) -> Box:
    """A random box of the image, each edge of a length between those of ``FIELD_MM``, or all of it."""
    ranges = []
    for n, step in zip(case.reference.grid.size, case.reference.grid.spacing):
        length = min(max(int(rng.uniform(*FIELD_MM) / step), 1), n)
        low = int(rng.integers(0, n - length + 1))
        ranges.append((low, low + length))
    return ranges[0], ranges[1], ranges[2]


def beside_tumour(case: Case, rng: np.random.Generator) -> Box:
    """The part of an image on one side of the tumour, thicker ones more often; the whole image where it has none."""
    size, spacing = case.reference.grid.size, case.reference.grid.spacing
    whole = full_box(case.reference.grid.shape)
    tumour = case.reference.bounding_box()
    if tumour is None:
        return whole
    parts, thickness = [], []
    for axis, (low, high) in enumerate(tumour):
        for one in ((0, low), (high, size[axis])):
            length = (one[1] - one[0]) * spacing[axis]
            if length >= THINNEST_MM:
                parts.append((*whole[:axis], one, *whole[axis + 1 :]))
                thickness.append(length)
    if not parts:
        raise ArgumentError(f"case {case.name!r} has no part of {THINNEST_MM:g} mm beside its tumour")
    i, j, k = parts[int(rng.choice(len(parts), p=np.array(thickness) / sum(thickness)))]
    return i, j, k


def _trunk(seed: int, roles: Sequence[str]) -> Case:
    """A synthetic trunk without a tumour."""
    phantom = make_phantom(seed, shape=PHANTOM_SHAPE, spacing_mm=(PHANTOM_MM,) * 3, region="trunk", tumours=0)
    return _case(f"trunk_{seed:03d}", {role: phantom.images[role] for role in roles if role in phantom.images})
