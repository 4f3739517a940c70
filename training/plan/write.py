"""The plan of a data set as files: a configuration with a comment for every decision, and the fingerprint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config.train import parse_configuration
from training.data.layout import Layout, has_windows, read_layout
from training.plan.cost import machine_gb, seconds_per_step
from training.plan.decisions import MEMORY_SHARE, Decisions, choose_steps, decide
from training.plan.fingerprint import Fingerprint, take_fingerprint
from TumorSegLib.engines.importers.descriptions import NOT_STATED
from TumorSegLib.errors import ArgumentError, WriteError
from TumorSegLib.files import write_text
from TumorSegLib.images.normalisation import Normalisation

LOSS, LEARNING_RATE = "dice_ce", 2e-3


@dataclass(frozen=True)
class Planned:
    """The files of a plan, and what a user should know of the data."""

    configuration: Path
    fingerprint: Path
    notes: Sequence[str]


def write_plan(folder: Path, output: Path, memory_gb: float | None = None, minutes: float | None = None) -> Planned:
    """Plans a model for a data set.

    Args:
        folder: of the data set, see :mod:`training.data.layout`.
        output: configuration to write, ``.toml``; its name without this is the model's. The fingerprint goes beside
            it, as ``.fingerprint.json``.
        memory_gb: that training may take; most of what this machine has by default.
        minutes: how long training may take on this machine; it decides the steps, which follow from the number of cases
            by default.

    Raises:
        ReadError: something is wrong with the data: every line names one thing.
        ArgumentError: the name, the memory or the minutes are impossible.
        WriteError: the files cannot be written; where there is no such folder, the data is not read.
    """
    if output.suffix != ".toml":
        raise ArgumentError(f"--output {output}: the name must end in .toml")
    if not output.parent.is_dir():
        raise WriteError(f"--output {output}: the folder {output.parent} does not exist")
    for option, value in (("memory", memory_gb), ("minutes", minutes)):
        if value is not None and not 0 < value < float("inf"):
            raise ArgumentError(f"--{option} {value:g} must be above 0")
    layout = read_layout(folder)
    fingerprint = take_fingerprint(layout)
    decisions = decide(output.stem, fingerprint, memory_gb or MEMORY_SHARE * machine_gb())
    seconds = seconds_per_step(decisions.spec, decisions.batch, LOSS)
    steps = choose_steps(len(fingerprint.cases)) if minutes is None else max(int(minutes * 60 / seconds), 1)
    text = configuration_text(layout, fingerprint, decisions, steps, seconds)
    parse_configuration(text, str(output))
    beside = output.with_suffix(".fingerprint.json")
    write_text(beside, json.dumps(fingerprint.to_dict(), indent=1, allow_nan=False) + "\n")
    write_text(output, text)
    return Planned(output, beside, fingerprint.notes)


def configuration_text(
    layout: Layout, fingerprint: Fingerprint, decisions: Decisions, steps: int, seconds: float
) -> str:
    """The configuration, a comment for every decision; ``seconds`` is what a step takes here."""
    head = [
        f"# Planned from {len(fingerprint.cases)} cases of {layout.folder.name}. Change what you know better.",
        *(f"# Note: {note}" for note in fingerprint.notes),
    ]
    sections = head, _model(fingerprint, decisions), _input(decisions), _source(layout, fingerprint)
    return "\n\n".join("\n".join(lines) for lines in (*sections, _optimisation(decisions, steps, seconds))) + "\n"


def _model(fingerprint: Fingerprint, decisions: Decisions) -> list[str]:
    spec, cases = decisions.spec, fingerprint.cases.values()
    volumes = [sum(sum(parts) for parts in case.volumes_ml.values()) for case in cases if case.voxels]
    shares = ", ".join(f"{name} {share:.2%}" for name, share in fingerprint.to_dict()["label_shares"].items())
    return [
        "[model]",
        f"name = {_text(spec.name)}",
        'version = "0.1.0"',
        'licence = "" # of the weights; state it before you give them to others',
        f"description = {_text(', '.join(spec.labels) + ' on ' + ', '.join(spec.roles))}",
        *_plausible(volumes),
        f"trained_length_mm = {max(case.length_mm for case in cases):.1f} # longest image from head to foot",
        f"network = {_text(spec.network)}",
        f"arguments = {_table(spec.arguments)} # {decisions.reasons['filters']}",
        f"labels = {_table(spec.labels)} # {shares} of all voxels",
    ]


def _input(decisions: Decisions) -> list[str]:
    spec, why = decisions.spec, decisions.reasons
    return [
        "[model.input]",
        'type = "volume"',
        f"roles = {_list(spec.roles)}",
        f"optional = {_list(spec.optional)} # {'some cases lack them' if spec.optional else 'all cases have all'}",
        f"spacing_mm = {_list(spec.volume_input.spacing_mm)} # {why['spacing']}",
        f"patch = {_list(spec.patch)} # {why['patch']}",
        "",
        "[model.input.normalisation]",
        *(f"{role} = {_rule(rule)} # {why[role]}" for role, rule in spec.volume_input.normalisation.items()),
    ]


def _source(layout: Layout, fingerprint: Fingerprint) -> list[str]:
    about = layout.about
    return [
        "[[model.training_data]]",
        f"name = {_text(about['name'] + f', {len(fingerprint.cases)} cases')}",
        f"licence = {_text(about.get('licence') or NOT_STATED)}",
        f"attribution = {_text(about.get('reference') or NOT_STATED)}",
        "",
        "[data]",
        f"folder = {_text(str(layout.folder.absolute()))}",
        f"test_fold = 0 # of {len(fingerprint.folds)}; train --fold chooses another",
        "",
        "[augmentation]",
        *_windows(has_windows(layout.folder)),
    ]


def _windows(cropped: bool) -> list[str]:
    if cropped:
        return [
            "window_margin_mm = 5.0 # patients.json has windows: random ones hide where the images were cropped",
            "cut_share = 0.1",
        ]
    return [
        "window_margin_mm = 1000.0 # images are shown whole; 5.0 where they are cropped around what is sought",
        "cut_share = 0.0",
    ]


def _optimisation(decisions: Decisions, steps: int, seconds: float) -> list[str]:
    return [
        "[optimisation]",
        f"steps = {steps} # about {steps * seconds / 60:.0f} minutes here, {seconds:.2f} s each",
        f"batch = {decisions.batch} # {decisions.reasons['batch']}",
        f"learning_rate = {LEARNING_RATE:g}",
        f"warm_up = {min(200, max(steps // 10, 1))}",
        f"loss = {_text(LOSS)}",
        f"checkpoint_every = {max(min(100, steps // 4), 1)}",
    ]


def _plausible(volumes: list[float]) -> list[str]:
    if not volumes or not min(volumes) < max(volumes):
        return []
    low, high = min(volumes), max(volumes)
    return [f"plausible_volume_ml = [{low:.4g}, {high:.4g}] # smallest and largest of the cases, all labels together"]


def _rule(rule: Normalisation) -> str:
    return _table({key: value for key, value in rule.to_dict().items() if key == "method" or rule.method != "zscore"})


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(values: Iterable[Any]) -> str:
    return json.dumps(list(values))


def _table(values: Any) -> str:
    return "{ " + ", ".join(f"{_key(key)} = {json.dumps(value)}" for key, value in values.items()) + " }"


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").replace("-", "").isalnum() else _text(name)
