"""Reading sessions of version 2, which had every segment as it is and every step in one document."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.parsing import check_keys
from TumorSegLib.prompts.types import Prompts
from TumorSegLib.session.entries import Begun, Contents, checked_name, step_from_json, voxels_from_json
from TumorSegLib.session.segments import Segments


def contents(data: Mapping[str, Any], grid: Grid) -> Contents:
    """What segments began with, and the steps, numbered from 1; raises ValueError and the like if damaged."""
    check_keys(data["history"], ("position", "steps"), "history")
    begun: Begun = {}
    for entry in data["segments"]:
        check_keys(entry, ("name", "prompts", "probability", "initial"), "segment")
        begun[checked_name(entry["name"])] = voxels_from_json(entry["initial"], grid)
    if len(begun) < len(data["segments"]):
        raise ValueError("two segments have one name")
    steps = {}
    for number, entry in enumerate(data["history"]["steps"], start=1):
        changes = [{**change, "outside": False} for change in entry["changes"]]
        steps[number] = step_from_json({**entry, "changes": changes}, grid, list(begun))
    return Contents(begun, steps, operator.index(data["history"]["position"]))


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
