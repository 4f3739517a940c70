"""What a model's copy in int8 loses, by the evaluation protocol: beside the network in float32, on the same cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.clicks.simulate import next_click
from training.data.cases import Case
from training.evaluation.automatic import cases_of_subsets
from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import ModelError
from TumorSegLib.evaluation.agreement import Pair, check_precision, compare_automatic, compare_clicks, summarise_pairs
from TumorSegLib.geometry.arrays import BoolArray
from TumorSegLib.jobs import progress_bar
from TumorSegLib.models.folder import ModelFolder, write_description
from TumorSegLib.models.int8 import Agreement
from TumorSegLib.prompts.types import Click

#: Clicks of a case, from nothing.
CLICKS = 10
#: Of the engines that are compared.
PRECISIONS = ("float32", "int8")


def evaluate_int8(model: ModelFolder, data: Path, fold: int | None) -> dict[str, Agreement]:
    """Measures the copy on one fold of a data folder, or on all its cases, in the windows that hide the crop.

    Args:
        model: of kind ``auto``, or ``clicks``: then the simulated user corrects the mask of float32, and both get its
            clicks.
        data: the folder.
        fold: all cases where it is None.

    Returns:
        Per subset of roles, names joined with ``+``, the figures; for clicks those of the click where each is worst.

    Raises:
        ModelError: the model has no copy in int8, or a damaged one.
        ArgumentError: there is no such fold, or OpenVINO is not installed.
        ReadError: the data folder or a case cannot be read.
    """
    engines = tuple(load_engine(model.path, "cpu", precision, "openvino") for precision in PRECISIONS)
    pairs: dict[str, dict[int, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    able = cases_of_subsets(data, fold, model.spec, model.spec.role_subsets)
    with progress_bar("Evaluating") as progress:
        for done, (roles, case) in enumerate(able, start=1):
            for number, pair in enumerate(_compared(engines, case, roles)):
                pairs["+".join(roles)][number].append(pair)
            progress(done, len(able), f"{case.name} {'+'.join(roles)}")
    for engine, precision in zip(engines, PRECISIONS):
        check_precision(engine, precision)
    return {roles: summarise_pairs(groups.values()) for roles, groups in pairs.items()}


def record_int8(model: ModelFolder, command: str, figures: dict[str, Agreement]) -> None:
    """Notes in ``model.json`` what the copy loses: of each figure the worst, over subsets of roles or images."""
    copy, each = model.spec.int8, list(figures.values())
    if copy is None:
        raise ModelError(f"model {model.spec.name!r} has no copy in int8")
    losses = [one.dice_loss for one in each if one.dice_loss is not None]
    worst = Agreement(
        min(one.cases for one in each),
        min(one.mean for one in each),
        min(one.worst for one in each),
        max(losses, default=None),
    )
    copy = replace(copy, measured={**copy.measured, command: worst})
    write_description(model.path, replace(model.spec, int8=copy))


def format_int8(figures: dict[str, Agreement]) -> str:
    """The figures as lines of text."""
    return "\n".join(f"{roles:<16}{agreement}" for roles, agreement in figures.items())


def _compared(engines: Sequence[Any], case: Case, roles: Sequence[str]) -> Iterator[Pair]:
    part = case.in_jitter_window()
    images, truth = {role: part.images[role] for role in roles}, part.tumour.array > 0
    exact, copy = engines
    if exact.spec.kind == "auto":
        yield compare_automatic(exact, copy, images, truth)
        return

    def clicker(mask: BoolArray, wanted: BoolArray) -> Click | None:
        prompt = next_click(mask, wanted, part.reference.grid.spacing)
        if prompt is None:
            return None
        i, j, k = (int(n) for n in prompt.points[0])
        return Click((i, j, k), prompt.positive)

    yield from compare_clicks((exact, copy), images, truth, clicker, CLICKS)
