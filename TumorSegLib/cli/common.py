"""What the commands of ``tumorseg`` share: reading the arguments, checking the outputs, showing progress."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from TumorSegLib.cli.process import LEAST_NETWORK_GB, require_memory, say
from TumorSegLib.errors import ArgumentError, SuvError, WriteError
from TumorSegLib.images.labels import Segmentation
from TumorSegLib.images.roles import IMAGE, check_role
from TumorSegLib.images.volume import Images, Mask, number_text
from TumorSegLib.io.images import SEGMENTATION_SUFFIX, WRITABLE, read_segmentation, read_volume, write_segmentation
from TumorSegLib.measurements.report import marked, volume_warning
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.prompts.types import Prompt
from TumorSegLib.protocols import RunInfo
from TumorSegLib.session.edit import Edit

MASK_SUFFIXES = (SEGMENTATION_SUFFIX, *WRITABLE)
INPUT_HELP = (
    "an image and its role, e.g. ct=CT_FOLDER, pet=pet.nii.gz or mr_flair=flair.nii.gz; once per role. A role is ct, "
    "pet, mr or image (anything else), with an optional detail. PATH is a NIfTI, NRRD or MHA file or a DICOM folder; "
    "FOLDER#SeriesInstanceUID picks one of several series. Results lie on the first one's grid"
)


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--input`` and ``--output`` of the commands that segment."""
    parser.add_argument("--input", action="append", required=True, metavar="ROLE=PATH", help=INPUT_HELP)
    parser.add_argument(
        "--output", action="append", required=True, metavar="FILE", help=f"mask, {', '.join(MASK_SUFFIXES)}; repeatable"
    )


def parse_inputs(inputs: Sequence[str]) -> dict[str, str]:
    """Role to path; raises :class:`ArgumentError` for a text that does not give them."""
    paths: dict[str, str] = {}
    for text in inputs:
        role, separator, path = text.partition("=")
        if not (role and separator and path):
            raise ArgumentError(f"--input {text!r} is not of the form ROLE=PATH, e.g. ct=ct.nii.gz")
        if role != role.lower():  # PET would be measured without SUV, and CT windowed as MR
            raise ArgumentError(f"--input {text!r}: roles are written in lower case, {role.lower()}={path}")
        check_role(role)
        if role in paths:
            raise ArgumentError(f"--input gives the role {role!r} twice")
        paths[role] = path
    return paths


def read_images(inputs: Mapping[str, str], pet_without_suv: bool = False) -> Images:
    """Reads an image per role; prints notes on how they were read to standard error.

    Args:
        inputs: role to path.
        pet_without_suv: take a PET that is not in SUV, and cannot be converted, as ``image_pet``, and say so.
    """
    images = {}
    for role, path in inputs.items():
        try:
            volume = read_volume(path, role)
        except SuvError as error:
            other = f"{IMAGE}_{role}"
            if not pet_without_suv or other in inputs:
                raise
            print(f"note: {error}; it is taken as an image in any unit, {other}", file=sys.stderr)
            volume = read_volume(path, other)
        images[volume.role] = volume
        _say_notes(path, volume.notes)
    return images


def read_segments(path: str) -> Segmentation:
    """Reads a mask or segmentation; prints notes on how it was read to standard error."""
    found = read_segmentation(path)
    _say_notes(path, found.notes)
    return found


def _say_notes(path: str, notes: Iterable[str]) -> None:
    for note in notes:
        print(f"note: {path}: {note}", file=sys.stderr)


def check_outputs(wanted: Sequence[tuple[Sequence[str | None], tuple[str, ...]]], inputs: Iterable[str]) -> None:
    """Checks before the work that all outputs can be written and that none overwrites an input or another output.

    Args:
        wanted: paths, None where nothing is to be written, each time with the suffixes they may have.
        inputs: paths that are read.

    Raises:
        WriteError: an output cannot be written, is given twice or is an input.
    """
    taken = {Path(path).resolve(): "it is an input" for path in inputs}
    for paths, suffixes in wanted:
        for path in (p for p in paths if p is not None):
            place = Path(path).resolve()
            problem = _problem(Path(path), suffixes) or taken.get(place)
            if problem:
                raise WriteError(f"{path}: cannot be written, {problem}")
            taken[place] = "another output goes there"


def _problem(file: Path, suffixes: tuple[str, ...]) -> str | None:
    """Why a file cannot be written, if so."""
    mask_only = file.name.lower().endswith(SEGMENTATION_SUFFIX) and SEGMENTATION_SUFFIX not in suffixes
    if mask_only or not file.name.endswith(suffixes) or file.name in suffixes:
        return f"the name must be NAME{' or NAME'.join(suffixes)}, the suffix in lower case"
    if file.is_dir():
        return "it is a folder"
    if file.exists() and not file.is_file():
        return "it is a device or a pipe"
    if not file.parent.is_dir():
        return f"the folder {file.parent} does not exist"
    if not os.access(file.parent, os.W_OK):
        return f"the folder {file.parent} is not writable"
    return None


def write_segments(segmentation: Segmentation, outputs: Sequence[str]) -> None:
    """Writes segments to files; a warning on standard error says what label maps among these lack."""
    for path in outputs:
        write_segmentation(segmentation, path)
    maps = [path for path in outputs if not path.endswith(SEGMENTATION_SUFFIX)]
    if maps and segmentation.overlapping_voxels:
        labels, lacking = segmentation.label_map(), []
        for segment in segmentation.segments:
            whole = segmentation.mask_of_segment(segment)
            kept = Mask(whole.grid, (labels.array == segment.label).view(np.uint8))
            if not np.array_equal(kept.array, whole.array):
                lacking.append(f"{segment.name} has {number_text(kept.volume_ml)} of {number_text(whole.volume_ml)} ml")
        say(
            f"warning: {', '.join(maps)}: with one label per voxel, parts that other labels cover are missing: "
            f"{', '.join(lacking)}; {SEGMENTATION_SUFFIX} has all"
        )


def open_engine(name: str, options: argparse.Namespace, kind: str) -> Any:
    """Loads a model of a kind; device, precision and back end are those of the options.

    It imports torch, which takes seconds and memory: to be called once the input is read.
    """
    require_network_memory()
    from TumorSegLib.engines.load import load_engine

    return load_engine(name, options.device, options.precision, options.backend, kind=kind)  # type: ignore[call-overload]


def require_network_memory() -> None:
    """To be called before torch is imported; raises :class:`ResourceError` where the memory does not suffice."""
    require_memory(LEAST_NETWORK_GB, "a command with a neural network")


def print_notes(infos: Iterable[RunInfo], images: Images) -> None:
    """Prints on standard error what the runs of engines note, each sentence once; notes on images were printed before.

    Args:
        infos: of results, edits or refinements.
        images: those that were read.
    """
    printed = {f"{role}: {note}" for role, volume in images.items() for note in volume.notes}
    for info in infos:
        for note in [*info.notes, *info.details.get("refined", {}).get("notes", ())]:
            if note not in printed:
                say(f"note: {note}")
                printed.add(note)


def print_nothing_found(edits: Iterable[tuple[Prompt, Edit]], empty: bool) -> None:
    """Says on standard error at which prompts the engine found nothing, and what may help; also if all is empty."""
    notes = [f"{prompt}: the model found nothing there" for prompt, edit in edits if edit.nothing_found]
    if empty and not notes:
        notes = ["the mask is empty"]
    for note in notes:
        say(f"note: {note}; click in the middle of the lesion, or give a line across it (refine --line)")


def print_marked(spec: ModelSpec, volume_ml: float, outputs: Sequence[str], how: str = "") -> None:
    """Says what a model marked and where it was written, and on standard error where the volume gives doubt.

    ``how`` goes before, e.g. ``"3 prompt(s): "``.
    """
    print(f"{how}{spec.name} {marked(spec, volume_ml)}")
    print(f"written to {', '.join(outputs)}")
    if doubted := volume_warning(spec, volume_ml):
        say(f"warning: {doubted}")
