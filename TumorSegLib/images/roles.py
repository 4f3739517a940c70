"""Roles of images: a family with an optional detail, as in ``mr_t1``."""

from __future__ import annotations

from TumorSegLib.errors import RoleError

CT, PET, MR, IMAGE = "ct", "pet", "mr", "image"
#: Families of images: what their values are.
FAMILIES = {
    CT: "HU",
    PET: "SUV (g/ml)",
    MR: "arbitrary units",
    IMAGE: "any units: ultrasound, SPECT, cone beam, maps, PET without SUV",
}


def family(role: str) -> str:
    """The family of a role: ``mr`` for ``mr_t1``, ``ct`` for ``ct``."""
    return role.partition("_")[0]


def check_role(role: str) -> None:
    """Raises :class:`RoleError` unless a role is of one of ``FAMILIES``, in lower case."""
    if family(role) not in FAMILIES or role != role.lower() or role.endswith("_"):
        known = ", ".join(FAMILIES)
        raise RoleError(f"role {role!r} is none: roles are a family ({known}) with an optional detail, as in mr_t1")


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


def channel_family(role: str) -> str:
    """The family whose channels show an image to a model of any image: CT, PET, and MR for all others."""
    name = family(role)
    return name if name in (CT, PET) else MR
