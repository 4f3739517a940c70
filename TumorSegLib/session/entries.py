"""JSON of the parts that saved sessions of all versions have: boxes of voxels, and steps."""

from __future__ import annotations

import base64
import math
import operator
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.jobs import Job
from TumorSegLib.parsing import check_keys
from TumorSegLib.prompts.types import Prompts
from TumorSegLib.session.history import Change, PromptChange, Step

#: Bytes compressed before a job is asked again, in at most 20 ms.
BLOCK = 1 << 18
#: By segment, the probability that it began with in a box, uint8 ``[k, j, i]``, 0 outside the box.
Begun: TypeAlias = dict[str, tuple[Box, UInt8Array]]


@dataclass(frozen=True, eq=False)
class Contents:
    """A saved session, read.

    Attributes:
        begun: by segment what it began with.
        steps: by number, in order.
        position: how many of them are done.
        last: the last number given to any step; 0 if no numbers were saved.
    """

    begun: Begun
    steps: Mapping[int, Step]
    position: int
    last: int = 0


def voxels_to_json(box: Box, values: UInt8Array, job: Job) -> dict[str, Any]:
    """The entry of voxels ``[k, j, i]`` in a box; raises :class:`Cancelled` as the job."""
    flat = np.ascontiguousarray(values).reshape(-1).data
    return {"box": [list(limits) for limits in box], "values": encoded(compressed(flat, job))}


def voxels_from_json(entry: Mapping[str, Any], grid: Grid) -> tuple[Box, UInt8Array]:
    """The reverse; the box lies in the grid."""
    check_keys(entry, ("box", "values"), "voxels")
    box = _box(entry["box"], grid)
    return box, _values(decoded(entry["values"]), box)


def step_to_json(step: Step) -> dict[str, Any]:
    """The entry of a step."""
    return {
        "segment": step.segment,
        "changes": [
            {
                "segment": change.segment,
                "box": [list(limits) for limits in change.box],
                "difference": encoded(change.difference),
                "outside": change.outside,
            }
            for change in step.changes
        ],
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


def step_from_json(entry: Mapping[str, Any], grid: Grid, names: Sequence[str]) -> Step:
    """The reverse; raises ValueError or TumorSegError for a step that segments of these names cannot have."""
    check_keys(entry, ("segment", "changes", "prompts"), "undo step")
    changes = [_change_from_json(each, grid) for each in entry["changes"]]
    prompts = [_prompt_change_from_json(each, grid) for each in entry["prompts"]]
    inside = [change.segment for change in changes if not change.outside]
    unknown = {entry["segment"], *inside, *(change.segment for change in prompts)} - set(names)
    if unknown:
        raise ValueError(f"undo steps are for segments that are not there: {', '.join(sorted(unknown))}")
    for each in ([(c.segment, c.outside) for c in changes], [c.segment for c in prompts]):
        if len(set(each)) < len(each):
            raise ValueError("an undo step changes a segment twice")
    return Step(entry["segment"], tuple(changes), tuple(prompts))


def checked_name(value: Any) -> str:
    """The name of a segment; raises TypeError if it is not text."""
    if not isinstance(value, str):
        raise TypeError(f"a segment's name is text, not {value!r}")
    return value


def compressed(data: bytes | memoryview, job: Job) -> bytes:
    """The data compressed by zlib; raises :class:`Cancelled` as the job, which is asked between blocks."""
    stream, parts = zlib.compressobj(1), []
    for start in range(0, len(data), BLOCK):
        if start:
            job.check()
        parts.append(stream.compress(data[start : start + BLOCK]))
    return b"".join([*parts, stream.flush()])


def encoded(data: bytes) -> str:
    """Base 64."""
    return base64.b64encode(data).decode("ascii")


def decoded(text: str) -> bytes:
    """The reverse of :func:`encoded`; raises ValueError or TypeError."""
    return base64.b64decode(text, validate=True)


def _change_from_json(entry: Mapping[str, Any], grid: Grid) -> Change:
    check_keys(entry, ("segment", "box", "difference", "outside"), "undo step, change")
    box, difference, outside = _box(entry["box"], grid), decoded(entry["difference"]), entry["outside"]
    values = _values(difference, box)
    if not isinstance(outside, bool) or (outside and values.max(initial=0) > 1):
        raise ValueError(f"the loss of segment {entry['segment']!r} outside the session is not of 0 and 1")
    return Change(checked_name(entry["segment"]), box, difference, outside)


def _prompt_change_from_json(entry: Mapping[str, Any], grid: Grid) -> PromptChange:
    check_keys(entry, ("segment", "kept", "removed", "added"), "undo step, prompts")
    removed, added = (Prompts.from_json(entry[key], grid, f"undo steps, {key}").items for key in ("removed", "added"))
    return PromptChange(entry["segment"], operator.index(entry["kept"]), removed, added)


def _values(compressed: bytes, box: Box) -> UInt8Array:
    (i0, i1), (j0, j1), (k0, k1) = box
    shape = (k1 - k0, j1 - j0, i1 - i0)
    stream = zlib.decompressobj()
    # At most what the box needs: a few bytes may expand to gigabytes of zeros.
    values = np.frombuffer(stream.decompress(compressed, math.prod(shape) + 1), dtype=np.uint8)
    if values.size != math.prod(shape) or not stream.eof:
        raise ValueError(f"the voxels do not fill the box {box}")
    return values.reshape(shape)


def _box(limits: Any, grid: Grid) -> Box:
    i, j, k = ((operator.index(low), operator.index(high)) for low, high in limits)
    if (i, j, k) != EMPTY_BOX and not all(0 <= low < high <= n for (low, high), n in zip((i, j, k), grid.size)):
        raise ValueError(f"box {limits} is not within the grid")
    return i, j, k
