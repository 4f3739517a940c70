"""What the configuration files (TOML) of all kinds of training share: reading, sections, ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.parsing import check_keys, parse_dataclass, parse_toml

Section = TypeVar("Section")


def read_text(path: Path) -> str:
    """The text of a configuration file; raises :class:`ReadError`."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ReadError(f"{path}: not a TOML file: {error}") from error


def parse_sections(
    text: str, origin: str, required: Sequence[str], optional: Sequence[str] = (), lists: Sequence[str] = ()
) -> dict[str, Any]:
    """Parses a configuration into its sections.

    Args:
        text: TOML.
        origin: names it in errors.
        required, optional: sections.
        lists: further required keys that are not sections.

    Raises:
        ReadError: the text is not TOML.
        ArgumentError: a key is unknown or missing, or a section is not one.
    """
    try:
        values = parse_toml(text)
    except ValueError as error:
        raise ReadError(f"{origin}: not valid TOML: {error}") from error
    check_keys(values, (*lists, *required, *optional), origin, ArgumentError)
    for name, value in values.items():
        if name not in lists and not isinstance(value, Mapping):
            raise ArgumentError(f"{origin}: {name} = {value!r} must be a section [{name}]")
    for name in (*lists, *required):
        if name not in values:
            raise ArgumentError(f"{origin}: {repr(name) if name in lists else f'section [{name}]'} is missing")
    return values


def parse_section(kind: type[Section], values: Mapping[str, Any], name: str, origin: str) -> Section:
    """The settings of one section as a dataclass; raises :class:`ArgumentError` naming section and setting."""
    return parse_dataclass(kind, values.get(name, {}), f"{origin} [{name}]", ArgumentError)


def check_range(settings: object, low: float, high: float, *names: str) -> None:
    """Raises :class:`ArgumentError` unless the attributes named are finite and from ``low`` to ``high``."""
    for name in names:
        value = getattr(settings, name)
        if not (low <= value <= high and math.isfinite(value)):
            limits = f"from {low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
            raise ArgumentError(f"{name} = {value} must be {limits}")
