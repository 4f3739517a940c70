"""Sessions as JSON: segments, prompts and undo steps in one text, so that no part of a session can go missing."""

from __future__ import annotations

import base64
import math
import operator
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from TumorSegLib.errors import GeometryError, ReadError, ResourceError, RoleError, TumorSegError
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import UInt8Array
from TumorSegLib.parsing import check_keys
from TumorSegLib.prompts.types import Prompts
from TumorSegLib.session.history import Change, History, PromptChange, Step
from TumorSegLib.session.segments import Segments

FORMAT, VERSION = "tumorseg-session", 2
SESSION_KEYS = ("format", "version", "roles", "active", "grid", "overlap", "segments", "history")
#: Per segment what it began with: a box and the probability in it.
Initial = Mapping[str, tuple[Box, UInt8Array]]


def segments_to_json(segments: Segments, initial: Initial) -> dict[str, Any]:
    """Segments with their history, JSON-ready. Voxels are zlib-compressed uint8 ``[k, j, i]`` of a box, in base 64."""
    grid, history = segments.grid, segments.history
    entries = []
    for name in segments.names:
        probability = segments.probability(name)
        box = bounding_box(probability) or EMPTY_BOX
        entries.append(
            {
                "name": name,
                **segments.prompts(name).to_json(),
                "probability": _packed(box, probability[slices(box)]),
                "initial": _packed(*initial[name]),
            }
        )
    return {
        "format": FORMAT,
        "version": VERSION,
        "grid": {"shape": list(grid.shape), "affine": grid.affine.tolist()},
        "overlap": segments.overlap.value,
        "segments": entries,
        "history": {"position": history.position, "steps": [_step_to_json(step) for step in history.steps()]},
    }


def segments_from_json(
    data: Any, grid: Grid, roles: Sequence[str]
) -> tuple[Segments, dict[str, tuple[Box, UInt8Array]], str]:
    """The reverse, for images of a grid and roles: segments, what each began with, and the active one's name.

    Raises:
        ReadError: the data are no session, have a key that no session has, or parts contradict each other.
        GeometryError: the session's grid is another one.
        RoleError: the first role is another one.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise ReadError(f'no session: it must be a JSON object with "format": "{FORMAT}"')
    if data.get("version") != VERSION:
        raise ReadError(f"a session of version {data.get('version')!r} cannot be read; this program reads {VERSION}")
    try:
        check_keys(data, SESSION_KEYS, "session")
        check_keys(data["history"], ("position", "steps"), "history")
        _check_images(data, grid, roles)
        segments, initial = Segments(grid, data["overlap"]), {}
        for entry in data["segments"]:
            name = _name(entry["name"])
            check_keys(entry, ("name", "prompts", "probability", "initial"), f"segment {name!r}")
            segments.add(name, *_unpacked(entry["probability"], grid))
            segments.restore(name, Prompts.from_json({"prompts": entry["prompts"]}, grid, f"segment {name!r}"))
            initial[name] = _unpacked(entry["initial"], grid)
        active = _name(data["active"])
        segments.prompts(active)
        steps = [_step_from_json(step, grid, segments.names) for step in data["history"]["steps"]]
        position = operator.index(data["history"]["position"])
        if not 0 <= position <= len(steps):
            raise ValueError(f"position {position} is not within {len(steps)} steps")
        for name in segments.names:
            _check_voxels(segments, name, initial[name], steps[:position])
            _check_prompts(segments, name, steps, position)
        segments.history = History(steps, position)
    except (GeometryError, RoleError, ResourceError):
        raise
    except (TumorSegError, LookupError, TypeError, ValueError, AttributeError, OverflowError, zlib.error) as error:
        raise ReadError(f"the session is damaged: {type(error).__name__}: {error}") from error
    return segments, initial, active


def _check_images(data: Mapping[str, Any], grid: Grid, roles: Sequence[str]) -> None:
    check_keys(data["grid"], ("shape", "affine"), "grid")
    k, j, i = (operator.index(n) for n in data["grid"]["shape"])
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged numbers, which make the grids differ
        wanted = Grid((k, j, i), np.array(data["grid"]["affine"], dtype=float))
        difference = "" if wanted == grid else wanted.difference(grid)
    if difference:
        raise GeometryError(f"the session was made on another image, on {wanted}, not {grid}: {difference}")
    if data["roles"][:1] != list(roles[:1]):
        raise RoleError(f"the session's first image is {data['roles'][0]!r}, the first one given {roles[0]!r}")


def _packed(box: Box, values: UInt8Array) -> dict[str, Any]:
    return {"box": [list(limits) for limits in box], "values": _text(zlib.compress(values.tobytes()))}


def _unpacked(entry: Mapping[str, Any], grid: Grid) -> tuple[Box, UInt8Array]:
    check_keys(entry, ("box", "values"), "voxels")
    box = _box(entry["box"], grid)
    return box, _values(_bytes(entry["values"]), box)


def _values(compressed: bytes, box: Box) -> UInt8Array:
    (i0, i1), (j0, j1), (k0, k1) = box
    shape = (k1 - k0, j1 - j0, i1 - i0)
    stream = zlib.decompressobj()
    # No more than the box needs: a few bytes may hold gigabytes of zeros.
    values = np.frombuffer(stream.decompress(compressed, math.prod(shape) + 1), dtype=np.uint8)
    if values.size != math.prod(shape) or not stream.eof:
        raise ValueError(f"the voxels do not fill the box {box}")
    return values.reshape(shape)


def _box(limits: Any, grid: Grid) -> Box:
    i, j, k = ((operator.index(low), operator.index(high)) for low, high in limits)
    if (i, j, k) != EMPTY_BOX and not all(0 <= low < high <= n for (low, high), n in zip((i, j, k), grid.size)):
        raise ValueError(f"box {limits} is not within the grid")
    return i, j, k


def _step_to_json(step: Step) -> dict[str, Any]:
    return {
        "segment": step.segment,
        "changes": [_change_to_json(change) for change in step.changes],
        "prompts": [
            {
                "segment": change.segment,
                "kept": change.kept,
                "removed": Prompts(change.removed).to_json(),
                "added": Prompts(change.added).to_json(),
            }
            for change in step.prompts
        ],
    }


def _change_to_json(change: Change) -> dict[str, Any]:
    box = [list(limits) for limits in change.box]
    entry = {"segment": change.segment, "box": box, "difference": _text(change.difference)}
    return {**entry, "outside": True} if change.outside else entry


def _change_from_json(entry: Mapping[str, Any], grid: Grid) -> Change:
    check_keys(entry, ("segment", "box", "difference", "outside"), "undo step, change")
    box, difference, outside = _box(entry["box"], grid), _bytes(entry["difference"]), entry.get("outside", False)
    values = _values(difference, box)
    if not isinstance(outside, bool) or (outside and values.max(initial=0) > 1):
        raise ValueError(f"the loss of segment {entry['segment']!r} outside the session is not of 0 and 1")
    return Change(_name(entry["segment"]), box, difference, outside)


def _step_from_json(entry: Mapping[str, Any], grid: Grid, names: Sequence[str]) -> Step:
    check_keys(entry, ("segment", "changes", "prompts"), "undo step")
    changes = [_change_from_json(each, grid) for each in entry["changes"]]
    prompts = [_prompt_change_from_json(each, grid) for each in entry["prompts"]]
    unknown = {
        entry["segment"],
        *(change.segment for change in changes if not change.outside),
        *(change.segment for change in prompts),
    }
    unknown -= set(names)
    if unknown:
        raise ValueError(f"undo steps are for segments that are not there: {', '.join(sorted(unknown))}")
    for each in ([(c.segment, c.outside) for c in changes], [c.segment for c in prompts]):
        if len(set(each)) < len(each):
            raise ValueError("an undo step changes a segment twice")
    return Step(entry["segment"], tuple(changes), tuple(prompts))


def _prompt_change_from_json(entry: Mapping[str, Any], grid: Grid) -> PromptChange:
    check_keys(entry, ("segment", "kept", "removed", "added"), "undo step, prompts")
    removed, added = (Prompts.from_json(entry[key], grid, f"undo steps, {key}").items for key in ("removed", "added"))
    return PromptChange(entry["segment"], operator.index(entry["kept"]), removed, added)


def _check_voxels(segments: Segments, name: str, initial: tuple[Box, UInt8Array], done: Sequence[Step]) -> None:
    """Taking all steps back must lead to what the segment began with."""
    values = segments.probability(name).copy()
    for change in (change for step in done for change in step.changes if change.segment == name and not change.outside):
        values[slices(change.box)] ^= change.unpacked()
    box, began = initial
    values[slices(box)] ^= began
    if values.any():
        raise ValueError(f"the undo steps of segment {name!r} do not lead back to what it began with")


def _check_prompts(segments: Segments, name: str, steps: Sequence[Step], position: int) -> None:
    """Every step must find the prompts that the one before it, or after it, left."""
    held = segments.prompts(name)
    done = [change for step in steps[:position] for change in step.prompts if change.segment == name]
    to_come = [change for step in steps[position:] for change in step.prompts if change.segment == name]
    undone, redone = _followed(held, done[::-1], undo=True), _followed(held, to_come, undo=False)
    if undone != Prompts() or redone is None:  # a segment begins without any
        raise ValueError(f"the undo steps of segment {name!r} do not fit its prompts")


def _followed(prompts: Prompts, changes: Sequence[PromptChange], undo: bool) -> Prompts | None:
    """The prompts after changes were undone, or done again; None where one does not find those it takes away."""
    for change in changes:
        found = prompts.items[change.kept :] == (change.added if undo else change.removed)
        if not found or not 0 <= change.kept <= len(prompts):
            return None
        prompts = change.applied(prompts, undo)
    return prompts


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a segment's name is text, not {value!r}")
    return value


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
