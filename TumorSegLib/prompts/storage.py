"""Reading prompts from the entries that :meth:`TumorSegLib.prompts.Prompts.to_json` writes."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from TumorSegLib.errors import ArgumentError, GeometryError, ReadError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.parsing import check_keys
from TumorSegLib.prompts.types import BoxPrompt, Click, Line, Prompt, Scribble


def prompt_from_json(entry: Any, grid: Grid, source: str) -> Prompt:
    """The prompt of one entry.

    Args:
        entry: parsed JSON.
        grid: of the image.
        source: names the entry in errors.

    Raises:
        ReadError: the entry is not a prompt, or has an unknown key.
        ArgumentError: the prompt lies outside the grid.
    """
    kind = next((kind for kind in READERS if isinstance(entry, Mapping) and kind in entry), None)
    if kind is None:
        raise ReadError(f'{source} is {entry!r}; it must be an object with "click", "ras", "scribble", "box" or "line"')
    keys, read = READERS[kind]
    check_keys(entry, keys, source)
    positive = entry.get("positive", True)
    if not isinstance(positive, bool):
        raise ReadError(f'{source}: "positive" is {positive!r}; it must be true or false')
    try:
        return read(entry, grid, positive)
    except (ArgumentError, GeometryError) as error:
        raise ArgumentError(f"{source}: {error}") from error
    except (TypeError, ValueError, KeyError, binascii.Error, zlib.error) as error:
        raise ReadError(f"{source} cannot be understood: {error}") from error


def _read_ras_click(entry: Mapping[str, Any], grid: Grid, positive: bool) -> Click:
    return Click.from_ras(grid, entry["ras"], positive)


def _read_click(entry: Mapping[str, Any], grid: Grid, positive: bool) -> Click:
    click = Click(entry["click"], positive)
    click.check_on(grid)
    return click


def _read_box(entry: Mapping[str, Any], grid: Grid, _positive: bool = True) -> BoxPrompt:
    box = BoxPrompt(tuple(tuple(limits) for limits in entry["box"]))  # type: ignore[arg-type]  # checked by the box
    box.check_on(grid)
    return box


def _read_line(entry: Mapping[str, Any], grid: Grid, _positive: bool = True) -> Line:
    line = Line(tuple(tuple(end) for end in entry["line"]))  # type: ignore[arg-type]  # checked by the line
    line.check_on(grid)
    return line


def _read_scribble(entry: Mapping[str, Any], grid: Grid, positive: bool) -> Scribble:
    box = _read_box(entry, grid).box
    shape = grid.crop(box).shape
    size, stream = -(-math.prod(shape) // 8), zlib.decompressobj()
    packed = base64.b64decode(entry["scribble"], validate=True)
    # At most what the box needs: a few bytes may expand to gigabytes of zeros.
    bits = np.frombuffer(stream.decompress(packed, size + 1), dtype=np.uint8)
    if bits.size != size or not stream.eof:
        raise ValueError(f"the voxels do not fill its box {box}")
    scribble = Scribble.in_box(grid, box, np.unpackbits(bits, count=math.prod(shape)).reshape(shape), positive)
    # Another build of zlib may pack the same voxels into other bytes, but checksums of sessions need the same ones.
    return replace(scribble, packed=packed) if scribble.box == box else scribble


#: The key that names a kind of prompt, to the keys of its entry and the function that reads it; a scribble has a box.
READERS: Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any], Grid, bool], Prompt]]] = {
    "scribble": (("scribble", "box", "positive"), _read_scribble),
    "click": (("click", "positive"), _read_click),
    "ras": (("ras", "positive"), _read_ras_click),
    "box": (("box",), _read_box),
    "line": (("line",), _read_line),
}
