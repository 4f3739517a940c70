"""Measuring a refinement model by the evaluation protocol: simulated clicks, with Dice after each.

Every method reads the same case in the same window and gets the clicks of the same simulated user, who corrects that
method's own last answer (see :func:`training.clicks.simulate.next_click`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from training.clicks.simulate import next_click
from training.data.cases import Case
from training.evaluation.automatic import cases_of_subsets, check_subset
from training.evaluation.baselines import grow_cut, pet_threshold
from training.evaluation.summary import provenance, run_settings
from TumorSegLib.engines.clicks.any_image import AnyImageEngine
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.runtime import choose_runtime
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ArgumentError
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.evaluation.metrics import evaluate as compare
from TumorSegLib.images.volume import Images, Mask
from TumorSegLib.jobs import progress_bar, timed
from TumorSegLib.models.registry import find_model
from TumorSegLib.prompts.types import Click
from TumorSegLib.protocols import AutoSegmenter
from TumorSegLib.session.session import Session

#: What a case begins with.
AUTOMATIC, NOTHING = "automatic", "nothing"
#: The refinement model as a method; the others are baselines.
OWN = "refiner"
GOALS = (0.85, 0.90)


class Method(Protocol):
    """Answers clicks, one after the other."""

    def click(self, click: Click) -> Mask:
        """The mask after one click more."""


class BySession:
    """The click engine, through the session a user has."""

    def __init__(self, images: Images, engine: ClickEngine | AnyImageEngine, auto: AutoSegmenter | None) -> None:
        self.session = Session(images, auto=auto, clicks=engine)
        if auto is not None:
            self.session.segment()
        self.session.prepare()

    def click(self, click: Click) -> Mask:
        """As :class:`Method`."""
        self.session.add_click(click)
        return self.session.mask


@dataclass
class FromClicks:
    """A method that computes its answer from all clicks given so far."""

    images: Images
    answer: Callable[[Images, Sequence[Click]], Mask]
    clicks: tuple[Click, ...] = ()

    def click(self, click: Click) -> Mask:
        """As :class:`Method`."""
        self.clicks = (*self.clicks, click)
        return self.answer(self.images, self.clicks)


class WithoutMemory(nn.Module):
    """A refinement network whose channel of the previous answer is always empty."""

    def __init__(self, network: nn.Module, roles: int) -> None:
        super().__init__()
        self.network, self.roles = network, roles

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Channels ``[batch, roles + 3, k, j, i]``, of which the one after the roles is the previous answer."""
        channels = channels.clone()
        channels[:, self.roles] = 0
        answer: torch.Tensor = self.network(channels)
        return answer


@dataclass(frozen=True)
class ClickPlan:
    """What to measure: how many clicks, whether baselines too, and the engines."""

    clicks: int
    refiner: ClickEngine | AnyImageEngine
    auto: AutoSegmenter | None
    forgetful: ClickEngine | AnyImageEngine | None = None

    def starts(self) -> list[str]:
        """What a case begins with."""
        return [NOTHING] if self.auto is None else [AUTOMATIC, NOTHING]

    def methods(self, start: str, images: Images) -> dict[str, Callable[[], Method]]:
        """The methods by name; baselines that use clicks alone begin with nothing."""
        auto = self.auto if start == AUTOMATIC else None
        methods: dict[str, Callable[[], Method]] = {OWN: lambda: BySession(images, self.refiner, auto)}
        forgetful = self.forgetful
        if forgetful is None:
            return methods
        methods["without previous map"] = lambda: BySession(images, forgetful, auto)
        if start == NOTHING:
            methods["grow from seeds"] = lambda: FromClicks(images, grow_cut)
            if "pet" in images:
                methods["PET 41 %"] = lambda: FromClicks(images, pet_threshold)
        return methods


def load_forgetful(name: str, device: str, precision: str, refiner: ClickEngine | AnyImageEngine) -> ClickEngine:
    """The refiner without its memory, a baseline."""
    network = WithoutMemory(load_network(find_model(name)), len(refiner.spec.roles))
    return ClickEngine(refiner.spec, network, choose_runtime(device, precision))


def click_through(method: Method, mask: Mask, truth: Mask, clicks: int) -> dict[str, Any]:
    """Lets the simulated user click until the number is reached or nothing is left to correct.

    Returns:
        ``dice``: after 0, 1, ... clicks, the last repeated where nothing was left; ``seconds``: of each click;
        ``first`` and ``last``: all metrics before and after; ``clicks``: the clicks, ``[i, j, k, positive]``.
    """
    first = compare(mask, truth).to_dict()
    curve, seconds, clicked = [dice(mask.array, truth.array)], [], []
    for _ in range(clicks):
        prompt = next_click(mask.array > 0, truth.array > 0, truth.grid.spacing)
        if prompt is None:
            break
        i, j, k = (int(n) for n in prompt.points[0])
        mask, duration = timed(partial(method.click, Click((i, j, k), prompt.positive)))
        seconds.append(duration)
        clicked.append([i, j, k, prompt.positive])
        curve.append(dice(mask.array, truth.array))
    curve += curve[-1:] * (clicks + 1 - len(curve))
    last = compare(mask, truth).to_dict()
    return {"dice": curve, "seconds": seconds, "first": first, "last": last, "clicks": clicked}


def summarise_clicks(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of the protocol over cases, JSON-ready.

    Dice after 0, 1, ... clicks (mean, median, worst); median clicks to reach each goal and how many cases did, a case
    that never did counting as one click more than were given; area under the mean curve, 1 at best; seconds per click.
    """
    curves = np.array([row["dice"] for row in rows])
    given = curves.shape[1] - 1
    summary: dict[str, Any] = {
        "mean": curves.mean(axis=0).tolist(),
        "median": np.median(curves, axis=0).tolist(),
        "worst": curves.min(axis=0).tolist(),
        "area_under_curve": float(np.mean(curves[:, 1:] + curves[:, :-1]) / 2),
    }
    for goal in GOALS:
        reached = [int(np.argmax(curve >= goal)) if (curve >= goal).any() else given + 1 for curve in curves]
        within = sum(n <= given for n in reached)
        summary[f"clicks_to_{goal:.2f}"] = {"median": float(np.median(reached)), "cases": within}
    seconds = [second for row in rows for second in row["seconds"]]
    summary["seconds_per_click"] = float(np.median(seconds)) if seconds else None
    for name in ("hd95_mm", "nsd"):
        values = [np.inf if row["last"][name] is None else row["last"][name] for row in rows]
        median = float(np.median(values))
        summary[f"last_{name}"] = median if np.isfinite(median) else None
    return summary


def evaluate_clicks(plan: ClickPlan, data: Path, fold: int | None, subsets: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Evaluates a refinement model, in the windows that hide the crop, on one fold of a data folder or all its cases.

    Returns:
        JSON-ready: ``subsets``: per subset of roles, start and method ``summary`` and ``cases``; and what the figures
        hold for, as of :func:`training.evaluation.automatic.evaluate_folder`.

    Raises:
        ArgumentError: there is no such fold, or not at least one click.
        RoleError: a model cannot work from one of the subsets, or no case has all roles of any.
        ReadError: the data folder or a case cannot be read.
    """
    if plan.clicks < 1:
        raise ArgumentError(f"--clicks {plan.clicks} must be at least 1")
    for engine in (plan.refiner, plan.auto):
        for roles in subsets if engine is not None else ():
            check_subset(engine.spec, roles)  # type: ignore[union-attr]
    able = cases_of_subsets(data, fold, plan.refiner.spec, subsets)
    rows: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
    with progress_bar("Clicking") as progress:
        for done, (roles, case) in enumerate(able, start=1):
            for start in plan.starts():
                entry = rows.setdefault("+".join(roles), {}).setdefault(start, {})
                for name, row in _evaluate_case(plan, case, roles, start).items():
                    entry.setdefault(name, []).append(row)
            progress(done, len(able), f"{case.name} {'+'.join(roles)}")
    report = {
        roles: {
            start: {name: {"summary": summarise_clicks(some), "cases": some} for name, some in methods.items()}
            for start, methods in starts.items()
        }
        for roles, starts in rows.items()
    }
    runs = [row for starts in rows.values() for methods in starts.values() for row in methods[OWN]]
    return {
        **provenance(plan.refiner.spec, runs),
        "first_stage": plan.auto.spec.name if plan.auto else None,
        "fold": fold,
        "clicks": plan.clicks,
        "subsets": report,
    }


def _evaluate_case(plan: ClickPlan, case: Case, roles: Sequence[str], start: str) -> dict[str, dict[str, Any]]:
    part = case.in_jitter_window()
    images = {role: part.images[role] for role in roles}
    truth = part.tumour
    rows = {}
    for name, make in plan.methods(start, images).items():
        method = make()
        mask = method.session.mask if isinstance(method, BySession) else Mask(truth.grid, np.zeros_like(truth.array))
        row = click_through(method, mask, truth, plan.clicks)
        rows[name] = {"case": case.name, "run": run_settings(plan.refiner.info), **row}
    return rows


def format_clicks(report: Mapping[str, Any]) -> str:
    """The report of :func:`evaluate_clicks` as lines of text: median Dice after clicks, and the worst at the end."""
    clicks = report["clicks"]
    columns = sorted({0, 1, 2, 3, 5, 7, 10, clicks} & set(range(clicks + 1)))
    rows = {
        f"{roles}, from {start}: {name}": entry["summary"]
        for roles, starts in report["subsets"].items()
        for start, methods in starts.items()
        for name, entry in methods.items()
    }
    title = "Median Dice after clicks"
    width = max(len(text) for text in (title, *rows))
    head = "".join(f"{n:>7}" for n in columns)
    lines = [f"{title:<{width}}{head}{'worst':>8}{'AUC':>7}{'to .85':>8}{'to .90':>8}{'s/click':>9}"]
    for text, figures in rows.items():
        medians = "".join(f"{figures['median'][n]:>7.3f}" for n in columns)
        to = "".join(f"{figures[f'clicks_to_{goal:.2f}']['median']:>8.1f}" for goal in GOALS)
        lines.append(
            f"{text:<{width}}{medians}{figures['worst'][-1]:>8.3f}"
            f"{figures['area_under_curve']:>7.3f}{to}{figures['seconds_per_click'] or 0:>9.2f}"
        )
    return "\n".join(lines)
