"""Roles of images: a family with an optional detail, as in ``mr_t1``."""

from __future__ import annotations

import re

from TumorSegLib.errors import RoleError

CT, PET, MR, IMAGE = "ct", "pet", "mr", "image"
#: Families of images: what their values are.
FAMILIES = {
    CT: "HU",
    PET: "SUV (g/ml)",
    MR: "arbitrary units",
    IMAGE: "any units: ultrasound, SPECT, cone beam, maps, PET without SUV",
}
#: A PET whose values are not known to be SUV.
PET_WITHOUT_SUV = "image_pet"
# Families by DICOM modality (0008,0060), and by words of a description where that is not known.
_OF_MODALITY = {"CT": CT, "PT": PET, "MR": MR}
_WORDS = {CT: r"ct", PET: r"pet|pt|suv|fdg", MR: r"mri?|t[12](w|n|c|f|ce|gd)?|flair|dwi|adc|mp2?rage"}
# Sequences of MR by words, the first that fits; a T1 is another role where it is told to have contrast medium.
_SEQUENCES = (
    ("mr_adc", r"adc|apparent"),
    ("mr_dwi", r"dwi|diff\w*|tracew?|b\d{3,4}"),
    ("mr_flair", r"\w*flair\w*|t2f|dark fluid|darkfluid"),
    ("mr_t1ce", r"t1(ce|c|gd|gad|post|km|\+c)"),
    ("mr_t1", r"t1\w*|mp2?rage"),
    ("mr_t2", r"t2\w*"),
)
_CONTRAST, _NO_CONTRAST = r"gd|gad\w*|contrast|ce|post|km|\+?c\+?", r"pre|non|no|without|native|plain"


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
    """The family whose channels show an image to a model of any image: CT, PET, and MR for all others.

    A PET without SUV is shown as PET, brought to the range of SUV.
    """
    name = PET if role == PET_WITHOUT_SUV else family(role)
    return name if name in (CT, PET) else MR


def guess_role(modality: str, description: str) -> str:
    """The role that an image probably has, by what DICOM, or its name, says of it.

    Args:
        modality: of DICOM (0008,0060), e.g. ``MR``; empty where it is not known.
        description: of the series, or the name of the file; case and separators do not matter.

    Returns:
        ``ct``, ``pet``, ``mr`` or, where the sequence is told, e.g. ``mr_flair``; ``image`` for what is none of them or
        may be several.
    """
    text = " ".join(re.findall(r"[a-z0-9+]+", description.lower()))
    told = [name for name, words in _WORDS.items() if _has(text, words)]
    name = _OF_MODALITY.get(modality, IMAGE) if modality else told[0] if len(told) == 1 else IMAGE
    return _sequence(text) if name == MR else name


def _sequence(text: str) -> str:
    role = next((role for role, words in _SEQUENCES if _has(text, words)), MR)
    with_contrast = role == "mr_t1" and _has(text, _CONTRAST) and not _has(text, _NO_CONTRAST)
    return "mr_t1ce" if with_contrast else role


def _has(text: str, words: str) -> bool:
    """Whether one of the words, a regular expression, is among those of a text, which spaces separate."""
    return re.search(rf"(?<!\S)({words})(?!\S)", text) is not None
