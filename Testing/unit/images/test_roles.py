"""Roles: families, and names as users read them."""

from __future__ import annotations

import pytest

from TumorSegLib.errors import RoleError
from TumorSegLib.images.roles import (
    FAMILIES,
    PET_WITHOUT_SUV,
    channel_family,
    check_role,
    family,
    guess_role,
    is_ct,
    is_pet,
    role_label,
)


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
    [
        ("ct", "ct"),
        ("ct_wide", "ct"),
        ("pet_late", "pet"),
        ("mr", "mr"),
        ("mr_flair", "mr"),
        ("image", "mr"),
        ("image_pet", "pet"),
    ],
)
def test_channels_show_what_is_neither_ct_nor_pet_as_mr(role: str, shown_as: str) -> None:
    assert channel_family(role) == shown_as


@pytest.mark.parametrize(
    ("modality", "description", "role"),
    [
        ("CT", "", "ct"),
        ("CT", "PET-CT thorax", "ct"),
        ("PT", "AC CT", "pet"),
        ("MR", "", "mr"),
        ("MR", "localizer", "mr"),
        ("MR", "AX T1 SE", "mr_t1"),
        ("MR", "t1_mprage_sag_p2_iso", "mr_t1"),
        ("MR", "AX T1 POST", "mr_t1ce"),
        ("MR", "t1_mprage_tra_KM", "mr_t1ce"),
        ("MR", "T1 +C", "mr_t1ce"),
        ("MR", "T1 FS GADOLINIUM", "mr_t1ce"),
        ("MR", "T1 pre contrast", "mr_t1"),
        ("MR", "T1 without contrast", "mr_t1"),
        ("MR", "t1ce", "mr_t1ce"),
        ("MR", "4: t2_tse_tra", "mr_t2"),
        ("MR", "Ax T2 FLAIR", "mr_flair"),
        ("MR", "t2_spc_da-fl_dark-fluid", "mr_flair"),
        ("MR", "ep2d_diff_b1000_ADC", "mr_adc"),
        ("MR", "ep2d_diff_b1000", "mr_dwi"),
        ("MR", "Apparent Diffusion Coefficient (mm2/s)", "mr_adc"),
        ("US", "T1", "image"),
        ("NM", "SPECT CT", "image"),
        ("", "Phantom CT", "ct"),
        ("", "case_0001_ct", "ct"),
        ("", "4: PET AC", "pet"),
        ("", "BraTS_0001_flair", "mr_flair"),
        ("", "BraTS-GLI-00001-000-t1c", "mr_t1ce"),
        ("", "BraTS-GLI-00001-000-t2w", "mr_t2"),
        ("", "Phantom T1 MR", "mr_t1"),
        ("", "brain MRI", "mr"),
        ("", "petct", "image"),
        ("", "PET CT", "image"),  # either
        ("", "cbct", "image"),
        ("", "section 12", "image"),
        ("", "", "image"),
    ],
)
def test_the_role_is_guessed_from_what_dicom_or_a_name_says(modality: str, description: str, role: str) -> None:
    assert guess_role(modality, description) == role
    check_role(role)


def test_a_pet_without_suv_is_an_image_in_any_unit() -> None:
    check_role(PET_WITHOUT_SUV)
    assert family(PET_WITHOUT_SUV) == "image"
    assert not is_pet(PET_WITHOUT_SUV)
