"""Dataclasses from parsed JSON and TOML: what is converted, and how wrong entries are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.parsing import parse_dataclass, parse_toml


@dataclass(frozen=True)
class Part:
    size: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ReadError(f"size {self.size} is negative")


@dataclass(frozen=True)
class Whole:
    name: str
    spacing: tuple[float, float] = (1.0, 1.0)
    names: tuple[str, ...] = ()
    limit: float | None = None
    on: bool = False
    parts: Mapping[str, Part] = field(default_factory=dict)
    source: str | Part | None = None
    free: Mapping[str, Any] = field(default_factory=dict)


def test_lists_become_tuples_and_tables_the_dataclasses_of_the_fields():
    text = """
        name = "a"
        spacing = [1, 2.5]
        names = ["b", "c"]
        limit = 3
        on = true
        parts = { x = { size = 2 } }
        source = { size = 4, scale = 2 }
        free = { y = [1, "z"] }
    """
    expected = Whole("a", (1, 2.5), ("b", "c"), 3, True, {"x": Part(2)}, Part(4, 2), {"y": [1, "z"]})
    assert parse_dataclass(Whole, parse_toml(text), "here") == expected
    assert parse_dataclass(Whole, {"name": "a", "source": "b", "limit": None}, "here") == Whole("a", source="b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nmae": "b"}, r"^here: unknown key 'nmae' \(did you mean 'name'\?\); there are name, spacing"),
        ({"name": 3}, "^here: name = 3 does not fit, text is needed"),
        ({"spacing": [1]}, r"^here: spacing = \[1\] does not fit, a list of 2 is needed"),
        ({"spacing": [1, "b"]}, "^here: spacing = .* a list of 2 is needed"),
        ({"names": "b"}, "^here: names = 'b' does not fit, a list is needed"),
        ({"limit": True}, "^here: limit = True does not fit, a number is needed"),
        ({"on": 1}, "^here: on = 1 does not fit, true or false is needed"),
        ({"parts": [1]}, r"^here: parts = \[1\] does not fit, a table is needed"),
        ({"parts": {"x": {"size": 1.5}}}, "^here, parts of 'x': size = 1.5 does not fit, a whole number is needed"),
        ({"parts": {"x": {"size": -1}}}, "^here, parts of 'x': size -1 is negative"),
        ({"parts": {"x": {}}}, "^here, parts of 'x': missing 'size'"),
        ({"source": 3}, "^here: source = 3 does not fit, text or a table is needed"),
        ({"source": {"scale": 3}}, "^here, source: missing 'size'"),
    ],
)
def test_a_wrong_entry_is_named_with_its_place(changes, message):
    with pytest.raises(ArgumentError, match=message):
        parse_dataclass(Whole, {"name": "a", **changes}, "here", ArgumentError)
