"""What the files of another program describe, asked for by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from TumorSegLib.errors import ModelError
from TumorSegLib.images.roles import IMAGE, guess_role

#: Of a licence or a source that the files do not name.
NOT_STATED = "not stated"


class Description:
    """A parsed JSON object whose values are asked for by name; what is missing or wrong is named in the error."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def get(self, key: str, *kinds: type) -> Any:
        """A value of one of the types; raises :class:`ModelError`."""
        if key not in self.values:
            raise ModelError(f"{self.where}: {key!r} is missing")
        value = self.values[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise ModelError(f"{self.where}: {key} = {str(value)[:60]!r} is not a {wanted}")
        return value

    def part(self, key: str) -> Description:
        """An object within this one."""
        return Description(self.get(key, dict), f"{self.where}, {key}")

    def numbers(self, key: str, kind: type = int) -> list[Any]:
        """A list of numbers."""
        found = self.get(key, list)
        kinds = (int, float) if kind is float else int
        if not all(isinstance(each, kinds) and not isinstance(each, bool) for each in found):
            raise ModelError(f"{self.where}: {key} = {str(found)[:60]} are not all numbers of type {kind.__name__}")
        return list(found)


def text_of(values: Mapping[str, Any], *keys: str) -> str:
    """The first of the values that is text, on one line; empty where none is."""
    found = (values.get(key) for key in keys)
    return next((" ".join(each.split())[:200] for each in found if isinstance(each, str) and each.strip()), "")


def roles_of(names: Sequence[str], modality: str = "") -> list[str]:
    """A role for each channel by its name, each another one: ``CT`` is ``ct``, ``T1`` is ``mr_t1``.

    What has no role by its name is ``image`` where it is the only such channel, else ``image_`` and its name.

    Args:
        names: of the channels.
        modality: of all, as DICOM writes it, for what has no role by its name; empty where it is not known.
    """
    guesses = [guess_role("", name) for name in names]
    guesses = [guess_role(modality, name) if guess == IMAGE else guess for guess, name in zip(guesses, names)]
    roles: list[str] = []
    for name, guess in zip(names, guesses):
        role = guess
        if guess == IMAGE and guesses.count(IMAGE) > 1:
            detail = "_".join(re.findall(r"[a-z0-9]+", name.lower()))
            role = f"{IMAGE}_{detail}" if detail else IMAGE
        number = 2
        while role in roles:
            role, number = f"{guess}_{number}", number + 1
        roles.append(role)
    return roles
