"""What the commands of ``tumorseg`` share: reading the arguments, checking the outputs, showing progress."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from TumorSegLib.errors import ArgumentError, WriteError
from TumorSegLib.protocols import Progress
from TumorSegLib.volume_io import SEGMENTATION_SUFFIX, WRITABLE

MASK_SUFFIXES = (SEGMENTATION_SUFFIX, *WRITABLE)
INPUT_HELP = (
    "an image and its role, e.g. ct=CT_FOLDER or pet=pet.nii.gz; once per role. PATH is a NIfTI, NRRD or MHA file or a "
    "DICOM folder; FOLDER#SeriesInstanceUID picks one of several series. Results lie on the first one's grid"
)


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], help_: str
) -> argparse.ArgumentParser:
    """Adds a command, or an action of one, that runs a function."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_, description=help_)
    # No default here: it would undo a --debug before the command.
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show an error's traceback")
    parser.set_defaults(run=run)
    return parser


def parse_inputs(inputs: Sequence[str]) -> dict[str, str]:
    """Role to path."""
    paths: dict[str, str] = {}
    for text in inputs:
        role, separator, path = text.partition("=")
        if not (role and separator and path):
            raise ArgumentError(f"--input {text!r} is not of the form ROLE=PATH, e.g. ct=ct.nii.gz")
        if role in paths:
            raise ArgumentError(f"--input gives the role {role!r} twice")
        paths[role] = path
    return paths


def check_outputs(wanted: Sequence[tuple[Sequence[str | None], tuple[str, ...]]], inputs: Iterable[str]) -> None:
    """Finds out before the work, not after it, what could not be written or would overwrite another file.

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
    if not file.parent.is_dir():
        return f"the folder {file.parent} does not exist"
    if not os.access(file.parent, os.W_OK):
        return f"the folder {file.parent} is not writable"
    return None


@contextmanager
def progress_bar(title: str) -> Iterator[Progress | None]:
    """A progress bar on a terminal; nothing where standard error is a pipe or a file."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.TextColumn("{task.percentage:>3.0f} %"),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
