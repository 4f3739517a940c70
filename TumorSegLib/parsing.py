"""JSON as people write it: a key that nobody would look at is refused, so that no wish is passed over in silence."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from TumorSegLib.errors import ReadError, TumorSegError

# As alike as "controlpoints" and "controlPoints", more alike than "position" and "positionStatus".
ALIKE = 0.85


def load_json(path: Path) -> Any:
    """Parsed JSON of a file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no JSON, is nested too deeply, or gives a key twice in one object.
    """
    try:
        # Editors on Windows put the mark first.
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_each_key_once)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice in one object")
    return entry


def check_keys(
    entry: Mapping[str, Any], known: Collection[str], origin: str, error: type[TumorSegError] = ReadError
) -> None:
    """Raises an error, :class:`ReadError` by default, where an object has a key that is not among those known.

    The error names the key, the known one that it resembles, and all that are known; ``origin`` says where it is.
    """
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise error(f"{origin}: unknown key {_in_words(unknown, known)}")


def check_spelling(entry: Mapping[str, Any], known: Collection[str], origin: str) -> None:
    """Raises :class:`ReadError` where a key is nearly one that is known: for objects that others add keys to."""
    for key in entry:
        if key not in known and (meant := _nearest(key, known, ALIKE)):
            raise ReadError(f"{origin}: unknown key {key!r}; {meant!r} may be meant")


def _in_words(unknown: Iterable[str], known: Collection[str]) -> str:
    meant = {key: _nearest(key, known, 0.6) for key in unknown}
    named = ", ".join(f"{key!r}" + (f" ({one!r} may be meant)" if one else "") for key, one in meant.items())
    return f"{named}; there are {', '.join(known)}"


def _nearest(key: str, known: Collection[str], cutoff: float) -> str | None:
    lower = {each.lower(): each for each in known}
    found = get_close_matches(str(key).lower(), lower, n=1, cutoff=cutoff)
    return lower[found[0]] if found else None
