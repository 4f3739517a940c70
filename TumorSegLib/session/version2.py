"""Reading sessions of version 2, which had every segment as it is and every step in one document."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import EMPTY
from TumorSegLib.parsing import check_keys
from TumorSegLib.prompts.types import Prompts
from TumorSegLib.session.entries import Begun, Contents, checked_name, step_from_json, voxels_from_json
from TumorSegLib.session.history import Change, Step
from TumorSegLib.session.segments import Segments


def contents(data: Mapping[str, Any], grid: Grid) -> Contents:
    """What segments began with, and the steps, numbered from 1; raises ValueError and the like if damaged.

    What a segment after the first one began with becomes a step before the others: later versions save only what the
    first segment began with.
    """
    check_keys(data["history"], ("position", "steps"), "history")
    begun: Begun = {}
    for entry in data["segments"]:
        check_keys(entry, ("name", "prompts", "probability", "initial"), "segment")
        begun[checked_name(entry["name"])] = voxels_from_json(entry["initial"], grid)
    if len(begun) < len(data["segments"]):
        raise ValueError("two segments have one name")
    names = list(begun)
    steps = [_initial_step(name, *begun[name]) for name in names[1:] if begun[name][1].any()]
    position = operator.index(data["history"]["position"])
    if position < 0:
        raise ValueError(f"position {position} is negative")
    position += len(steps)
    begun |= dict.fromkeys(names[1:], (EMPTY_BOX, EMPTY))
    for entry in data["history"]["steps"]:
        changes = [{**change, "outside": False} for change in entry["changes"]]
        steps.append(step_from_json({**entry, "changes": changes}, grid, names))
    return Contents(begun, dict(enumerate(steps, start=1)), position)


def _initial_step(name: str, box: Box, values: UInt8Array) -> Step:
    return Step(name, (Change.between(name, box, np.zeros_like(values), values),), ())


def check_result(data: Mapping[str, Any], segments: Segments) -> None:
    """Raises ValueError unless the steps lead to the voxels and prompts that were saved beside them."""
    for entry, name in zip(data["segments"], segments.names):
        values = segments.probability(name).copy()
        box, saved = voxels_from_json(entry["probability"], segments.grid)
        values[slices(box)] ^= saved
        if values.any():
            raise ValueError(f"the undo steps of segment {name!r} do not lead to its voxels")
        prompts = Prompts.from_json({"prompts": entry["prompts"]}, segments.grid, f"segment {name!r}")
        if segments.prompts(name) != prompts:
            raise ValueError(f"the undo steps of segment {name!r} do not lead to its prompts")
