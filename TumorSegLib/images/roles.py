"""Roles of images: a family (``ct``, ``pet``, ``mr``, or another name) with an optional detail, as in ``mr_t1``."""

from __future__ import annotations

CT, PET, MR = "ct", "pet", "mr"


def family(role: str) -> str:
    """The family of a role: ``mr`` for ``mr_t1``, ``ct`` for ``ct``."""
    return role.partition("_")[0]


def is_ct(role: str) -> bool:
    """Whether values of the role are in HU."""
    return family(role) == CT


def is_pet(role: str) -> bool:
    """Whether values of the role are in SUV (g/ml)."""
    return family(role) == PET


def role_label(role: str) -> str:
    """The role as users read it: CT, PET, T1 MR."""
    name, _, detail = role.partition("_")
    return f"{detail.replace('_', ' ')} {name}".strip().upper()
