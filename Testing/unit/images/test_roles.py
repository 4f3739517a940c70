"""Roles: families, and names as users read them."""

from __future__ import annotations

import pytest

from TumorSegLib.images.roles import family, is_ct, is_pet, role_label


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
