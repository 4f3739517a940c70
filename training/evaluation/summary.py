"""Figures over cases, and what they hold for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from TumorSegLib import __version__
from TumorSegLib.models.spec import ModelSpec

RUN_SETTINGS = ("device", "precision", "backend", "overlap")


def summarise(rows: Sequence[Mapping[str, Any]], measure: str = "dice") -> dict[str, float | None]:
    """Mean, median and worst of a measure over cases.

    Of a distance, whose name ends in ``_mm``, the largest is the worst. An undefined one (None) counts as infinite;
    figures that are infinite become None, as JSON has no infinity.
    """
    values = [math.inf if row[measure] is None else float(row[measure]) for row in rows]
    worst = max(values) if measure.endswith("_mm") else min(values)
    figures = {"mean": float(np.mean(values)), "median": float(np.median(values)), "worst": worst}
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def run_settings(info: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings of an engine that a report notes, as far as the engine has them."""
    return {name: info[name] for name in RUN_SETTINGS if name in info}


def provenance(spec: ModelSpec, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the figures hold for: model, its version and weights, TumorSeg's version, and the settings of the rows.

    A setting that differs between rows is a list, since an engine short of memory goes to the CPU.
    """
    shared: dict[str, Any] = {
        "model": spec.name,
        "version": spec.version,
        "weights_sha256": spec.weights_sha256,
        "tumorseg_version": __version__,
    }
    for name in RUN_SETTINGS:
        values = list(dict.fromkeys(row["run"][name] for row in rows if name in row["run"]))
        if values:
            shared[name] = values[0] if len(values) == 1 else values
    return shared
