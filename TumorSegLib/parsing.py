"""JSON and TOML as people write them; unknown keys are errors, so that no misspelt setting is ignored."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from TumorSegLib.errors import ReadError, TumorSegError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Parsed = TypeVar("Parsed")
# In place of a value that is not of its field's type.
UNFIT = object()

# As alike as "controlpoints" and "controlPoints", more alike than "position" and "positionStatus".
ALIKE = 0.85


def load_json(path: Path) -> Any:
    """Parsed JSON of a file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no JSON, is nested too deeply, or gives a key twice in one object.
    """
    return parse_json(path.read_text(encoding="utf-8-sig"))  # editors on Windows put the mark first


def parse_json(text: str) -> Any:
    """Parsed JSON; raises :class:`ValueError` where it is none, is nested too deeply, or gives a key twice."""
    try:
        return json.loads(text, object_pairs_hook=_each_key_once)
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

    The error names the key, the most similar known key and all known keys; ``origin`` is the prefix of the message.
    """
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise error(f"{origin}: unknown key {_named_with_suggestion(unknown, known)}")


def check_spelling(entry: Mapping[str, Any], known: Collection[str], origin: str) -> None:
    """Raises :class:`ReadError` where a key is a misspelt known one, in objects that may have further keys."""
    for key in entry:
        if key not in known and (meant := _nearest(key, known, ALIKE)):
            raise ReadError(f"{origin}: unknown key {key!r}; did you mean {meant!r}?")


def _named_with_suggestion(unknown: Iterable[str], known: Collection[str]) -> str:
    meant = {key: _nearest(key, known, 0.6) for key in unknown}
    named = ", ".join(f"{key!r}" + (f" (did you mean {one!r}?)" if one else "") for key, one in meant.items())
    return f"{named}; there are {', '.join(known)}"


def _nearest(key: str, known: Collection[str], cutoff: float) -> str | None:
    lower = {each.lower(): each for each in known}
    found = get_close_matches(str(key).lower(), lower, n=1, cutoff=cutoff)
    return lower[found[0]] if found else None


def parse_toml(text: str) -> dict[str, Any]:
    """Parsed TOML; raises :class:`ValueError` where the text is not TOML."""
    return tomllib.loads(text)


def parse_dataclass(
    kind: type[Parsed], values: Mapping[str, Any], origin: str, error: type[TumorSegError] = ReadError
) -> Parsed:
    """Builds a dataclass, and those its fields hold, from parsed JSON or TOML; lists become tuples.

    Raises an error, :class:`ReadError` by default, that begins with ``origin`` and names the key: it is unknown or
    missing, or its value is not of the field's type. What the dataclass itself refuses is reported the same way.
    """
    annotations = get_type_hints(kind)
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    check_keys(values, list(known), origin, error)
    needed = [name for name, each in known.items() if each.default is MISSING and each.default_factory is MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise error(f"{origin}: missing {', '.join(map(repr, missing))}")
    arguments = {key: _converted(value, annotations[key], f"{origin}, {key}", error) for key, value in values.items()}
    for key in (key for key, value in arguments.items() if value is UNFIT):
        raise error(f"{origin}: {key} = {values[key]!r} does not fit, {_needed(annotations[key])} is needed")
    try:
        return kind(**arguments)
    except TumorSegError as problem:
        raise error(f"{origin}: {problem}") from problem


def _converted(value: Any, annotation: Any, origin: str, error: type[TumorSegError]) -> Any:
    """A parsed value as a field's type; ``UNFIT`` where it is of another."""
    parts = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        converted = (_converted(value, part, origin, error) for part in parts)
        return next((each for each in converted if each is not UNFIT), UNFIT)
    if get_origin(annotation) is tuple and isinstance(value, list | tuple):
        parts = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        items = tuple(_converted(each, part, origin, error) for each, part in zip(value, parts))
        return items if len(parts) == len(value) and UNFIT not in items else UNFIT
    if get_origin(annotation) is Mapping and isinstance(value, Mapping):
        table = {key: _converted(each, parts[1], f"{origin} of {key!r}", error) for key, each in value.items()}
        return table if all(each is not UNFIT for each in table.values()) else UNFIT
    if is_dataclass(annotation) and isinstance(value, Mapping):
        return parse_dataclass(annotation, value, origin, error)  # type: ignore[arg-type]
    if annotation is Any or _is_of(value, annotation):
        return value
    return UNFIT


def _is_of(value: Any, kind: Any) -> bool:
    if get_origin(kind) is not None or (isinstance(value, bool) and kind is not bool):  # True is an int to Python
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _needed(annotation: Any) -> str:
    """A field's type as text."""
    parts = [part for part in get_args(annotation) if part not in (NoneType, Ellipsis)]
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_needed, parts)))
    if get_origin(annotation) is tuple:
        return "a list" if Ellipsis in get_args(annotation) else f"a list of {len(parts)}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return words.get(annotation, "a table")
