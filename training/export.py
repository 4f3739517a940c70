"""From a training run to a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.config.train import parse_configuration
from training.loop.checkpoint import CHECKPOINT, load_checkpoint
from TumorSegLib.engines.networks.unets import build_network, check_patch
from TumorSegLib.engines.weights import write_weights
from TumorSegLib.errors import ModelError
from TumorSegLib.models.folder import ModelFolder, write_description, write_model_folder

RECORDED = ("dice", "hd95_mm", "nsd")
DTYPES = {"float16": torch.float16, "float32": torch.float32}


def export(run: Path, output: Path, dtype: str = "float16") -> Path:
    """Writes the averaged weights of a run as a model folder, all at once or not at all.

    Files of an older model at ``output`` that this function does not write, its card, are kept.

    Args:
        run: folder with a checkpoint.
        output: the model folder; folders above it are made.
        dtype: ``float16`` halves the file and changes Dice by less than 0.001; ``float32`` is exact.

    Raises:
        ModelError: there is no checkpoint, it is damaged, or a weight is not finite, e.g. too large for float16.
        WriteError: the folder cannot be written; what was there before is unchanged.
    """
    state = load_checkpoint(run)
    spec = parse_configuration(state["configuration"], str(run / CHECKPOINT)).model
    check_patch(spec)
    network = build_network(spec)
    network.load_state_dict(state["average"])
    network.to(DTYPES[dtype])
    _check_finite(network, run, dtype)
    return write_model_folder(output, spec, partial(write_weights, network)).path


def record_results(model: ModelFolder, command: str, report: Mapping[str, Any]) -> None:
    """Notes the summary of an evaluation in ``model.json``, under the command that repeats it.

    Args:
        model: its folder must be writable.
        command: key of the figures; an older entry of the same command is replaced.
        report: of :func:`training.evaluation.automatic.evaluate_folder`.
    """
    figures = {}
    for roles, entry in report["subsets"].items():
        figures[roles] = {"cases": len(entry["cases"]), **_chosen(entry["summary"])}
        if "labels" in entry:
            figures[roles]["labels"] = {name: _chosen(summary) for name, summary in entry["labels"].items()}
    _record(model, command, figures)


def _chosen(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in RECORDED}


def record_clicks(model: ModelFolder, command: str, report: Mapping[str, Any]) -> None:
    """The same for a report of :func:`training.evaluation.clicks.evaluate_clicks`."""
    figures = {
        roles: {
            start: {
                method: {"cases": len(entry["cases"]), **_rounded(entry["summary"])}
                for method, entry in methods.items()
            }
            for start, methods in starts.items()
        }
        for roles, starts in report["subsets"].items()
    }
    _record(model, command, figures)


def record_suite(model: ModelFolder, command: str, measured: Mapping[str, Any]) -> None:
    """The same for one method of a report of :func:`training.evaluation.suite.evaluate_suite`."""
    _record(model, command, {"cases": len(measured["cases"]), **_rounded(measured["summary"])})


def record_negatives(model: ModelFolder, command: str, report: Mapping[str, Any]) -> None:
    """The same for a report of :func:`training.evaluation.negatives.evaluate_negatives`, in ml."""
    _record(model, command, {"cases": len(report["cases"]), **_rounded(report["summary"])})


def _record(model: ModelFolder, command: str, figures: Mapping[str, Any]) -> None:
    write_description(model.path, replace(model.spec, results={**model.spec.results, command: figures}))


def _rounded(value: Any) -> Any:
    """Four digits: eight cases do not support more."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return {name: _rounded(one) for name, one in value.items()} if isinstance(value, dict) else value


def _check_finite(network: nn.Module, run: Path, dtype: str) -> None:
    wrong = [name for name, value in network.state_dict().items() if not value.isfinite().all()]
    if wrong:
        advice = "use --dtype float32" if dtype == "float16" else "train again with a lower learning_rate"
        raise ModelError(f"{run}: weights of {wrong[0]} are not finite as {dtype}; {advice}")
