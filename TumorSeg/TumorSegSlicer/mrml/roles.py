"""Roles of images as users read them."""

from __future__ import annotations


def inWords(role: str) -> str:
    """A role (``ct``, ``pet``, ``mr_t1``) in words: CT, PET, T1 MR."""
    kind, _, sequence = role.partition("_")
    return f"{sequence} {kind}".strip().upper()
