"""The command ``tumorseg models optimise``: a copy of a model in int8 beside its weights."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from TumorSegLib.cli.common import require_network_memory
from TumorSegLib.errors import ArgumentError, ReadError, WriteError
from TumorSegLib.evaluation.agreement import check_precision, compare_automatic, compare_clicks, summarise_pairs
from TumorSegLib.geometry.arrays import BoolArray, Float32Array
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.volume import Images
from TumorSegLib.io.images import read_mask, read_volume
from TumorSegLib.jobs import progress_bar
from TumorSegLib.models.folder import ModelFolder, write_int8
from TumorSegLib.models.int8 import INT8_WEIGHTS, LEAST_AGREEMENT, Agreement
from TumorSegLib.models.registry import find_model
from TumorSegLib.models.spec import ImportedInput, ModelSpec, VolumeInput
from TumorSegLib.parsing import load_json
from TumorSegLib.phantom.patient import make_phantom
from TumorSegLib.prompts.simulated import random_correction

#: Windows that the ranges of the activations are taken from, in all cases together.
WINDOWS = 256
#: Every so many cases one is held out and measured.
HELD_OUT = 5
#: How many convolutions stay float at each end of the network: as few as suffice.
ENDS = (1, 2)
#: Synthetic cases, where there is no folder.
PHANTOMS = 10
CLICKS = 10
NOT_MEASURED = Agreement(0, 0.0, 0.0)
REFERENCE, SUFFIX = "gtv", ".nii.gz"


@dataclass(frozen=True)
class CasePlace:
    """Where a case is read from.

    Attributes:
        name: of the case.
        folder: that holds ``<name>_<role>.nii.gz``; None for a phantom, whose name is its seed.
        roles: that it has, of those of the model.
    """

    name: str
    folder: Path | None
    roles: tuple[str, ...]

    def read(self) -> tuple[Images, BoolArray | None]:
        """Its images, and the tumour on the grid of the first one; None where there is none, or on another grid."""
        if self.folder is None:
            phantom = make_phantom(int(self.name), region=("limb", "trunk")[int(self.name) % 2])
            return {role: phantom.images[role] for role in self.roles}, phantom.tumour.array > 0
        images = {role: read_volume(self.folder / f"{self.name}_{role}{SUFFIX}", role) for role in self.roles}
        contour = self.folder / f"{self.name}_{REFERENCE}{SUFFIX}"
        if not contour.is_file():
            return images, None
        mask = read_mask(contour)
        return images, mask.array > 0 if mask.grid == ImageSet(images).grid else None


def optimise(options: argparse.Namespace) -> None:
    """Makes, measures and writes the copy, and prints the figures."""
    model = find_model(options.name)
    if isinstance(model.spec.input, ImportedInput):
        raise ArgumentError(f"model {model.spec.name!r} was imported; only models trained with TumorSeg can be int8")
    if not isinstance(model.spec.input, VolumeInput):
        what = "boxes" if model.spec.kind == "box" else "any image"
        raise ArgumentError(
            f"model {model.spec.name!r} is for {what}; only models whose images have certain roles can be int8"
        )
    model.verified_weights()  # not the copy that is replaced
    _check_writable(model.path)
    places = find_cases(options.calibrate, model.spec)
    held_out = places[HELD_OUT - 1 :: HELD_OUT] or places[-1:]
    calibrating = [place for place in places if place not in held_out]
    require_network_memory()
    from TumorSegLib.engines.backends.int8 import made_with, quantised  # import torch, which takes seconds
    from TumorSegLib.engines.weights import load_network

    made_by, network = made_with(), load_network(model)
    windows = _windows(model.spec, network, calibrating)
    print(f"{model.spec.name}: making it int8 with {len(windows)} windows of {len(calibrating)} cases", flush=True)
    source = "phantoms, by seed" if options.calibrate is None else Path(options.calibrate).resolve().name
    calibration = {"windows": len(windows), "cases": [place.name for place in calibrating], "source": source}
    trials: list[_Trial] = []
    for ends in ENDS:
        trial = _tried(
            model, _Trial(quantised(model.spec, network, windows, ends), made_by, calibration, ends), held_out
        )
        trials.append(trial)
        print(f"held out, {ends} convolution(s) at each end float: {trial.agreement}", flush=True)
        if trial.agreement.mean >= LEAST_AGREEMENT:
            break
    best = max(trials, key=lambda trial: trial.agreement.mean)
    _print_written(best.write(model), best)


@dataclass(frozen=True)
class _Trial:
    """A copy that may be the one: its files, what made it, and how well it agrees with float32."""

    files: tuple[bytes, bytes]
    made_with: str
    calibration: Mapping[str, Any]
    ends: int
    agreement: Agreement = NOT_MEASURED

    def write(self, model: ModelFolder) -> ModelFolder:
        """Puts it into a model folder."""
        calibration = {**self.calibration, "ends": self.ends}
        return write_int8(model, *self.files, self.made_with, calibration=calibration, held_out=self.agreement)


def _tried(model: ModelFolder, trial: _Trial, places: Sequence[CasePlace]) -> _Trial:
    """The copy, measured as it will be used, before it is put in its place."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(shutil.copytree(model.path, Path(folder, model.path.name)))
        trial.write(ModelFolder(place, model.spec))
        return replace(trial, agreement=_measured(place, places))


def find_cases(folder: str | None, spec: ModelSpec) -> list[CasePlace]:
    """The cases of a folder that the model takes, without fold 0 of its ``splits.json``; phantoms without a folder.

    Raises:
        ReadError: it is no folder, or has too few cases.
    """
    if folder is None:
        names, has = [str(seed) for seed in range(PHANTOMS)], set(make_phantom(0).images)
        found = {name: [role for role in spec.roles if role in has] for name in names}
    else:
        found = _roles_of_cases(Path(folder), spec)
    needed = set(spec.roles) - set(spec.optional)
    root = None if folder is None else Path(folder)
    able = {name: tuple(roles) for name, roles in sorted(found.items()) if roles and needed <= set(roles)}
    places = [CasePlace(name, root, roles) for name, roles in able.items()]
    if len(places) < 2:
        raise ReadError(
            f"{folder or 'phantoms'}: {len(places)} cases for {spec.name!r}, at least 2 are needed: files "
            f"<case>_<role>{SUFFIX} of the roles {', '.join(spec.roles)} in the folder that --calibrate names"
        )
    return places


def _roles_of_cases(folder: Path, spec: ModelSpec) -> dict[str, list[str]]:
    if not folder.is_dir():
        raise ReadError(f"--calibrate {folder}: is not a folder")
    tested = _test_cases(folder / "splits.json")
    found: dict[str, list[str]] = defaultdict(list)
    for role in spec.roles:
        for file in folder.glob(f"*_{role}{SUFFIX}"):
            name = file.name.removesuffix(f"_{role}{SUFFIX}")
            if name not in tested:
                found[name].append(role)
    return found


def _test_cases(splits: Path) -> set[str]:
    """The cases of fold 0, which nothing may be learnt from."""
    if not splits.is_file():
        return set()
    try:
        return set(load_json(splits)["folds"][0])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ReadError(f'{splits}: must hold {{"folds": [[case, ...], ...]}}; the first is left out') from error


def _check_writable(folder: Path) -> None:
    """Before minutes of work."""
    for each in (folder, folder.parent):
        if not os.access(each, os.W_OK):
            raise WriteError(f"{folder}: int8 cannot be written, {each} is not writable; copy the model elsewhere")


def _windows(spec: ModelSpec, network: Any, places: Sequence[CasePlace]) -> list[Float32Array]:
    """Inputs of all cases, with all their images, and with a subset of them that the model takes too."""
    from TumorSegLib.engines.backends.calibration import example_inputs

    windows, subsets = [], cycle(spec.role_subsets)
    most = max(WINDOWS // (2 * len(places)), 1)
    with progress_bar("Collecting windows") as progress:
        for done, place in enumerate(places, start=1):
            images, truth = place.read()
            subset = next((roles for roles, _ in zip(subsets, spec.role_subsets) if {*roles} < {*images}), ())
            for roles in (tuple(images), subset)[: 1 + bool(subset)]:
                windows += example_inputs(spec, network, {role: images[role] for role in roles}, truth, most)
            progress(done, len(places), place.name)
    return windows


def _measured(folder: Path, places: Sequence[CasePlace]) -> Agreement:
    """Of the copy in a model folder, with the network in float32."""
    from TumorSegLib.engines.load import load_engine

    exact, copy = (load_engine(folder, "cpu", precision, "openvino") for precision in ("float32", "int8"))
    groups: dict[int, list[Any]] = defaultdict(list)
    with progress_bar("Measuring") as progress:
        for done, place in enumerate(places, start=1):
            images, truth = place.read()
            if exact.spec.kind == "auto":
                groups[0].append(compare_automatic(exact, copy, images, truth))
            elif truth is not None:
                clicker = partial(random_correction, rng=np.random.default_rng(0))
                for number, pair in enumerate(compare_clicks((exact, copy), images, truth, clicker, CLICKS)):
                    groups[number].append(pair)
            progress(done, len(places), place.name)
    check_precision(copy, "int8")
    return summarise_pairs(groups.values())


def _print_written(model: ModelFolder, trial: _Trial) -> None:
    size = (model.path / INT8_WEIGHTS).stat().st_size
    print(f"{model.spec.name}: copy in int8 of {size / 1e6:.1f} MB, ready in {model.path}; held out: {trial.agreement}")
    print(
        "It runs with --precision int8. Unasked it runs only where test cases show that nothing is lost, see "
        f"python -m training evaluate-int8 --model {model.spec.name} --fold 0 --record"
    )
