"""The curve of an evaluation by clicks as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from TumorSegLib.files import replacing

COLOURS = ("#0b6e99", "#e4572e", "#2e933c", "#8e44ad", "#d4a017", "#c2185b", "#5d6d7e")
DASHES = {"refiner": "-", "without previous map": "--", "grow from seeds": ":", "PET 41 %": "-."}


def write_curve(report: Mapping[str, Any], path: Path) -> None:
    """Draws mean Dice over clicks, one panel per start and one colour per subset of roles.

    The band is one standard deviation over cases to either side; the axis begins at 0.5. Baselines are drawn in the
    colour of their subset, without a band.

    Args:
        report: of :func:`training.evaluation.clicks.evaluate_clicks`.
        path: PNG file.

    Raises:
        WriteError: it cannot be written.
    """
    starts = list(dict.fromkeys(start for entry in report["subsets"].values() for start in entry))
    figure = Figure(figsize=(6.2 * len(starts), 5.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(starts), squeeze=False, sharey=True)[0]
    for axis, start in zip(axes, starts):
        _panel(axis, report, start)
    axes[0].set_ylabel("Dice, mean and standard deviation over cases")
    cases = max(len(entry["cases"]) for one in report["subsets"].values() for m in one.values() for entry in m.values())
    fold = "all folds" if report["fold"] is None else f"fold {report['fold']}"
    figure.suptitle(f"{report['model']} {report['version']}, {fold}, {cases} cases, simulated clicks")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def write_suite_curve(report: Mapping[str, Any], path: Path) -> None:
    """Draws mean Dice over kinds and clicks, one line per method, lesions and structures apart.

    Args:
        report: of :func:`training.evaluation.suite.evaluate_suite`.
        path: PNG file.

    Raises:
        WriteError: it cannot be written.
    """
    figure = Figure(figsize=(12.4, 5.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, key in zip(axes, ("lesions", "structures")):
        for (method, entry), colour in zip(report["methods"].items(), cycle(COLOURS)):
            curve = entry["summary"][key]
            if curve is not None:
                axis.plot(range(len(curve)), curve, color=colour, label=method, lw=2)
        axis.set(title=f"{key} no model was trained on", xlabel="clicks", ylim=(0, 1), xlim=(0, report["clicks"]))
        axis.set_xticks(range(report["clicks"] + 1))
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8, loc="lower right")
    axes[0].set_ylabel("Dice, mean over kinds")
    figure.suptitle(f"General suite ({report['use']}), one image each, simulated clicks from nothing")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _panel(axis: Axes, report: Mapping[str, Any], start: str) -> None:
    for (roles, entry), colour in zip(report["subsets"].items(), cycle(COLOURS)):
        for method, measured in entry.get(start, {}).items():
            dice = np.array([case["dice"] for case in measured["cases"]])
            clicks, mean, spread = np.arange(dice.shape[1]), dice.mean(axis=0), dice.std(axis=0)
            own = method == "refiner"
            name = roles if own else f"{roles}, {method}"
            axis.plot(clicks, mean, DASHES.get(method, "--"), color=colour, label=name, lw=2 if own else 1.2)
            if own:
                axis.fill_between(clicks, mean - spread, np.minimum(mean + spread, 1), color=colour, alpha=0.1, lw=0)
    axis.set(title=f"from {start}", xlabel="clicks", ylim=(0.5, 1), xlim=(0, report["clicks"]))
    axis.set_xticks(range(report["clicks"] + 1))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="lower right")
