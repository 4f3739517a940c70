"""The folder of a training run: checkpoint, log and configuration."""

from __future__ import annotations

import csv
import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.config.train import Configuration, differences, parse_configuration
from training.data.batches import BatchSource
from TumorSegLib.engines.weights import why_refused
from TumorSegLib.errors import ModelError
from TumorSegLib.files import make_folder, replacing, write_text

CHECKPOINT, LOG, CONFIGURATION = "last.pt", "log.csv", "config.toml"


@dataclass(frozen=True)
class State:
    """The state of a training run that is saved; ``average`` has the averaged weights."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: nn.Module

    def state_dict(self) -> dict[str, Any]:
        """Name to state of each part."""
        return {field.name: getattr(self, field.name).state_dict() for field in fields(self)}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave."""
        for field in fields(self):
            getattr(self, field.name).load_state_dict(values[field.name])


CONTENT = {"step", "configuration", "source", *(field.name for field in fields(State))}


def begin(run: Path, configuration: Configuration, first: int) -> None:
    """Makes the folder of a run, or updates the configuration of one that continues at step ``first``.

    Raises :class:`WriteError` where it cannot be written.
    """
    make_folder(run)
    write_text(run / CONFIGURATION, configuration.text)
    if first >= configuration.optimisation.steps:
        values = load_checkpoint(run)
        if values["configuration"] != configuration.text:  # an export reads the version there
            _write_checkpoint(run, {**values, "configuration": configuration.text})
        print(f"{run}: nothing left to do, {first} of {configuration.optimisation.steps} steps are done", flush=True)


def write_row(run: Path, row: dict[str, Any]) -> None:
    """Adds a row to the log and prints it; rows of its step or later ones, of an interrupted run, are replaced."""
    path = run / LOG
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    rows = [old for old in rows if int(old["step"]) < row["step"]]
    rows.append({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    names = list(dict.fromkeys(name for r in rows for name in r))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(", ".join(f"{key} {value}" for key, value in rows[-1].items() if value != ""), flush=True)


def save(run: Path, configuration: Configuration, step: int, state: State, source: BatchSource) -> None:
    """Writes the checkpoint after a number of steps."""
    values = {"step": step, "configuration": configuration.text, "source": source.state_dict(), **state.state_dict()}
    _write_checkpoint(run, values)


def _write_checkpoint(run: Path, values: dict[str, Any]) -> None:
    with replacing(run / CHECKPOINT, durable=True) as temporary:
        torch.save(values, temporary)


def resume(run: Path, configuration: Configuration, state: State, source: BatchSource) -> int:
    """Restores state and source from the checkpoint of a run, where there is one; returns the number of steps done.

    Raises :class:`ModelError` where it is damaged, or the run began with another configuration.
    """
    if not (run / CHECKPOINT).is_file():
        return 0
    values = load_checkpoint(run)
    differ = differences(parse_configuration(values["configuration"], str(run / CHECKPOINT)), configuration)
    if differ:
        raise ModelError(
            f"{run / CHECKPOINT} was trained with another configuration, which differs in {', '.join(differ)}; "
            "choose another --run-folder"
        )
    state.load_state_dict(values)
    source.load_state_dict(values["source"])
    return int(values["step"])


def load_checkpoint(run: Path) -> dict[str, Any]:
    """Reads the checkpoint of a run; raises :class:`ModelError` if there is none, or it is damaged."""
    path = run / CHECKPOINT
    if not path.is_file():
        raise ModelError(f"{run} has no checkpoint {CHECKPOINT}")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path}: damaged, or not a checkpoint: {why_refused(error)}") from error
    if not isinstance(values, dict) or not values.keys() >= CONTENT:
        raise ModelError(f"{path}: not the checkpoint of a training run; it must have {', '.join(sorted(CONTENT))}")
    return values
