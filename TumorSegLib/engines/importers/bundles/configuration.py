"""What the configuration of a MONAI bundle says, read as data: nothing in it is executed.

MONAI evaluates texts that begin with ``$`` as Python and makes objects of any ``_target_`` (GHSA-873f-pvrv-4x83). Here
references are followed, and of the expressions a few forms are recognised by their text: a literal, a choice between
two, texts put together, the length of a list, a type of numbers. All else is refused where it is needed, by name.
"""

from __future__ import annotations

import ast
import json
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from TumorSegLib.engines.importers.bundles.files import CONFIGURATIONS, BundleFiles
from TumorSegLib.errors import ModelError
from TumorSegLib.parsing import parse_json

TARGET = "_target_"
# Of references one in the other, and in all: a few lines of YAML could name more than any memory holds.
DEEPEST, MOST_STEPS = 32, 20_000
LONGEST_TEXT = 300

_NAME = r"[A-Za-z_]\w*(?:(?:::|#)\w+)*"
_REFERENCE = re.compile(rf"[@%]({_NAME})")
_NUMBER_TYPE = re.compile(r"(?:torch|np|numpy)\.(float16|float32|float64|float|int16|int32|int64|uint8)")
_CHOICE = re.compile(rf"(.+?) if (not )?@({_NAME}) else (.+)")
_LENGTH = re.compile(rf"len\(@({_NAME})\)")
_TEXT_PART = re.compile(rf"(?:@{_NAME}|'[^'\\]*'|\"[^\"\\]*\"|str\(@{_NAME}\))")
_LITERAL = re.compile(r"[\w\s.,+\-'\"()\[\]{}:/]*")
# Beside the values of a component; another could execute code when the component is made.
_DESCRIBING = frozenset({TARGET, "_desc_", "_disabled_", "_mode_", "_meta_"})


@dataclass(frozen=True)
class Component:
    """An object that a configuration describes.

    Attributes:
        name: of its class, without the modules.
        arguments: as they stand in the configuration; :meth:`Configuration.value` gives the plain values.
        where: for errors.
    """

    name: str
    arguments: Mapping[str, Any]
    where: str


class Configuration:
    """The parsed configuration of a bundle."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.where, self._values, self._steps = where, values, 0

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def section(self, *keys: str) -> Any:
        """A part as it stands, by the first of the names that there is, ``a#b`` for b in a; references are followed.

        Raises:
            ModelError: there is none.
        """
        for key in keys:
            found = self._find(key)
            if found is not None:
                return self._followed(found, f"{self.where}, {key}")
        raise ModelError(f"{self.where}: {keys[0]!r} is missing")

    def value(self, raw: Any, where: str, depth: int = 0) -> Any:
        """The plain value of a part: numbers, texts, true, false, none, and lists and tables of them.

        Raises:
            ModelError: it needs code, or an object, or names itself.
        """
        self._count(where, depth)
        if isinstance(raw, str):
            return self._text(raw, where, depth)
        if isinstance(raw, Mapping):
            if TARGET in raw:
                raise ModelError(f"{where}: is an object, {shown(raw[TARGET])}; a plain value is needed")
            return {str(key): self.value(each, f"{where}, {key}", depth + 1) for key, each in raw.items()}
        if isinstance(raw, list):
            return [self.value(each, f"{where}, {number}", depth + 1) for number, each in enumerate(raw)]
        if raw is None or isinstance(raw, bool | int | float):
            return raw
        raise ModelError(f"{where}: {shown(raw)} is not a plain value")

    def component(self, raw: Any, where: str) -> Component | None:
        """The object that a part describes; None where it is disabled. It is not made.

        Raises:
            ModelError: it describes none, or asks for more than to be made with arguments.
        """
        raw = self._followed(raw, where)
        target = raw.get(TARGET) if isinstance(raw, Mapping) else None
        if not isinstance(target, str) or not isinstance(raw, Mapping):
            raise ModelError(f"{where}: {shown(raw)} describes no object with {TARGET}")
        for key in raw:
            if re.fullmatch(r"_.*_", str(key)) and key not in _DESCRIBING:
                raise ModelError(f"{where}: {key} is not supported, as it may execute code; nothing was executed")
        if raw.get("_mode_", "default") != "default":
            raise ModelError(f"{where}: _mode_ {shown(raw['_mode_'])} is not supported; nothing was executed")
        if self.value(raw.get("_disabled_", False), f"{where}, _disabled_") in (True, "true", "True"):
            return None
        modules, _, name = target.rpartition(".")
        if not re.fullmatch(r"[A-Za-z]\w*", name) or (modules and not re.fullmatch(r"monai(\.\w+)*", modules)):
            raise ModelError(f"{where}: {target[:80]!r} is not a class of MONAI; it was not executed")
        return Component(name, {str(k): v for k, v in raw.items() if k not in _DESCRIBING}, f"{where}, {name}")

    def _count(self, where: str, depth: int) -> None:
        self._steps += 1
        if depth > DEEPEST or self._steps > MOST_STEPS:
            raise ModelError(f"{where[:200]}: its references go in a circle, or there are too many")

    def _find(self, key: str) -> Any:
        found: Any = self._values
        for part in re.split(r"::|#", key):
            if isinstance(found, Mapping) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                return None
        return found

    def _followed(self, raw: Any, where: str) -> Any:
        """A part, or what a reference names."""
        for _ in range(DEEPEST):
            found = _REFERENCE.fullmatch(raw.removeprefix("$").strip()) if isinstance(raw, str) else None
            if found is None:
                return raw
            raw = self._named(found[1], where)
        raise ModelError(f"{where}: its references go in a circle")

    def _named(self, key: str, where: str) -> Any:
        found = self._find(key)
        if found is None:
            raise ModelError(f"{where}: refers to {key!r}, which is missing")
        return found

    def _text(self, text: str, where: str, depth: int) -> Any:
        if reference := _REFERENCE.fullmatch(text):
            return self.value(self._named(reference[1], where), where, depth + 1)
        if text.startswith("$"):
            return self._expression(text[1:].strip(), where, depth)
        if text.startswith(("@", "%")):
            raise ModelError(f"{where}: {text[:80]!r} is not a reference within the configuration")
        return text

    def _expression(self, text: str, where: str, depth: int) -> Any:
        """The value of an expression of one of the known forms."""
        self._count(where, depth)
        forms: Sequence[Callable[[str, str, int], Any]] = (self._known, self._choice, self._put_together, _literal)
        if len(text) <= LONGEST_TEXT:
            for form in forms:
                if (found := form(text, where, depth)) is not None:
                    return None if found is _NONE else found
        raise ModelError(f"{where}: {('$' + text)[:80]!r} is code, which is not executed; a plain value is needed")

    def _known(self, text: str, where: str, depth: int) -> Any:
        if _REFERENCE.fullmatch(text):
            return self._text(text, where, depth + 1)
        if (found := _LENGTH.fullmatch(text)) is not None:
            named = self._named(found[1], where)
            return len(named) if isinstance(named, list) else None
        number_type = _NUMBER_TYPE.fullmatch(text)
        return number_type[1] if number_type else None

    def _choice(self, text: str, where: str, depth: int) -> Any:
        if (found := _CHOICE.fullmatch(text)) is None:
            return None
        condition = self.value(self._named(found[3], where), where, depth + 1)
        if not isinstance(condition, bool):
            return None
        both = [self._expression(found[part], where, depth + 1) for part in (1, 4)]
        return both[0] if condition != bool(found[2]) else both[1]

    def _put_together(self, text: str, where: str, depth: int) -> Any:
        parts = [part.strip() for part in text.split(" + ")]
        if len(parts) < 2 or not all(_TEXT_PART.fullmatch(part) for part in parts):
            return None
        return "".join(
            part[1:-1] if part[0] in "'\"" else str(self._text(re.sub(r"str\((.*)\)", r"\1", part), where, depth + 1))
            for part in parts
        )


_NONE = object()
# Aliases of YAML may make a list of lists that has no end.
_SHOWN = reprlib.Repr()
_SHOWN.maxlevel, _SHOWN.maxstring, _SHOWN.maxother = 2, 80, 80


def shown(value: Any) -> str:
    """A value as a short text, for errors."""
    return _SHOWN.repr(value)


def _literal(text: str, _where: str, _depth: int) -> Any:
    """A literal of Python; none of its text can be a call, as parentheses after a name are no literal."""
    if not _LITERAL.fullmatch(text):
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return _NONE if found is None else list(found) if isinstance(found, tuple) else found


def read_configuration(files: BundleFiles) -> Configuration:
    """The configuration for inference of a bundle; raises :class:`ModelError` where there is none or it is damaged."""
    name = next((name for name in CONFIGURATIONS if files.has(name)), None)
    if name is None:
        raise ModelError(f"{files.where}: none of {', '.join(CONFIGURATIONS)} is there; not a complete MONAI bundle")
    return Configuration(read_table(files, name), f"{files.where}, {name}")


def read_table(files: BundleFiles, name: str) -> Mapping[str, Any]:
    """The object in a JSON or YAML file of a bundle; raises :class:`ModelError`."""
    text, where = files.text(name), f"{files.where}, {name}"
    try:
        values = parse_json(text) if name.endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{where}: cannot be read: {reason}") from error
    if not isinstance(values, Mapping):
        raise ModelError(f"{where}: does not hold an object")
    return values
