"""Roles: families, and names as users read them."""

from __future__ import annotations

import pytest

from TumorSegLib.errors import RoleError
from TumorSegLib.images.roles import FAMILIES, channel_family, check_role, family, is_ct, is_pet, role_label


@pytest.mark.parametrize(
    ("role", "of_family", "words"),
    [("ct", "ct", "CT"), ("pet", "pet", "PET"), ("mr_t1", "mr", "T1 MR"), ("image", "image", "IMAGE")],
)
def test_role_family_and_words(role: str, of_family: str, words: str) -> None:
    assert (family(role), role_label(role)) == (of_family, words)
    assert (is_ct(role), is_pet(role)) == (role == "ct", role == "pet")


def test_role_with_detail_keeps_the_unit_of_its_family() -> None:
    assert is_ct("ct_venous")
    assert is_pet("pet_late")
    assert not is_pet("petrous")
    assert role_label("ct_late_venous") == "LATE VENOUS CT"


@pytest.mark.parametrize("role", [*FAMILIES, "mr_t1", "mr_flair", "ct_late_venous", "image_us"])
def test_a_family_with_or_without_a_detail_is_a_role(role: str) -> None:
    check_role(role)


@pytest.mark.parametrize("role", ["", "us", "MR_t1", "mr_T1", "mr_", "_t1", "ctvenous", " ct", "mr-t1"])
def test_what_is_no_role_is_named(role: str) -> None:
    with pytest.raises(RoleError, match=f"role {role!r} is none: roles are a family .ct, pet, mr, image."):
        check_role(role)


@pytest.mark.parametrize(
    ("role", "shown_as"),
    [("ct", "ct"), ("ct_wide", "ct"), ("pet_late", "pet"), ("mr", "mr"), ("mr_flair", "mr"), ("image", "mr")],
)
def test_channels_show_what_is_neither_ct_nor_pet_as_mr(role: str, shown_as: str) -> None:
    assert channel_family(role) == shown_as
