"""Body weight over the other measures of the body that a PET series can be normalised by (DICOM PS3.3 C.8.9.1.1.3).

Formulas: James 1976 with 128 in the one for men, as Kelly et al. (J Nucl Med 2011;52 Suppl 1:2001) put it right; plain
LBM is the form with 120 of Morgan and Bray (J Nucl Med Technol 1994;22:79), DICOM code 126402; Janmahasatian et al.
(Clin Pharmacokinet 2005;44:1051); ideal body weight as Sugawara et al. (Radiology 1999;213:521); body surface area of
Du Bois (Arch Intern Med 1916;17:863).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from pydicom.dataset import Dataset

from TumorSegLib.errors import SuvError
from TumorSegLib.io.dicom.suv.tags import check_present, number, tag, text

# Outside these ranges a value is in a wrong unit (g for kg, cm for m) rather than true.
WEIGHT_KG = (0.01, 500.0)
HEIGHT_M = (0.2, 2.6)

#: Weight in kg and height in m to a mass in kg.
Formula: TypeAlias = Callable[[float, float], float]


def _james(slope: float, square: float) -> Formula:
    return lambda weight, height: slope * weight - square * (weight / height) ** 2


def _janmahasatian(constant: float, slope: float) -> Formula:
    return lambda weight, height: 9270 * weight / (constant + slope * weight / height**2)


def _sugawara(constant: float, slope: float) -> Formula:
    return lambda _weight, height: constant + slope * (100 * height - 152)


#: SUVType to what it is, and the formulas for men and women.
MASSES = {
    "LBM": ("lean body mass (Morgan)", _james(1.10, 0.0120), _james(1.07, 0.0148)),
    "LBMJAMES128": ("lean body mass (James)", _james(1.10, 0.0128), _james(1.07, 0.0148)),
    "LBMJANMA": ("lean body mass (Janmahasatian)", _janmahasatian(6680, 216), _janmahasatian(8780, 244)),
    "IBW": ("ideal body weight (Sugawara)", _sugawara(48.0, 1.06), _sugawara(45.5, 0.91)),
}


def weight_kg(dataset: Dataset) -> float:
    """PatientWeight in kg; SuvError where it is missing or implausible."""
    check_present([(dataset, "PatientWeight")])
    return number(dataset, "PatientWeight", WEIGHT_KG, "kg")


def from_mass(dataset: Dataset, kind: str) -> tuple[float, str]:
    """What turns SUV by lean body mass or ideal body weight into SUV by body weight, and a sentence about it.

    Args:
        dataset: tags of a slice: PatientWeight (kg), PatientSize (m), PatientSex. For sex ``O`` the mean of the masses
            of a man and a woman counts.
        kind: SUVType: ``LBM``, ``LBMJAMES128``, ``LBMJANMA`` or ``IBW``.

    Raises:
        SuvError: tags are missing, or implausible.
    """
    name, man, woman = MASSES[kind]
    weight, height = _size(dataset, "PatientSex")
    sex = text(dataset, "PatientSex").upper()
    shares = {"M": (1.0, 0.0), "F": (0.0, 1.0), "O": (0.5, 0.5)}.get(sex)
    if shares is None:
        raise SuvError(f"PatientSex {tag('PatientSex')} is {sex}; {kind} needs M, F or O")
    mass = shares[0] * man(weight, height) + shares[1] * woman(weight, height)
    if mass <= 0:
        raise SuvError(f"the {name} of {weight:g} kg and {height:g} m would be {mass:.1f} kg; it must be positive")
    return weight / mass, (
        f"SUV by {name} was converted to SUV by body weight: times {weight:g} kg / {mass:.2f} kg"
        f" ({height:g} m, sex {sex})"
    )


def from_surface(dataset: Dataset) -> tuple[float, str]:
    """What turns SUV by body surface area (cm2/ml) into SUV by body weight (g/ml), and a sentence about it.

    Args:
        dataset: tags of a slice: PatientWeight (kg) and PatientSize (m).

    Raises:
        SuvError: tags are missing, or implausible.
    """
    weight, height = _size(dataset)
    square_metres = 0.007184 * weight**0.425 * (100 * height) ** 0.725
    return weight * 1000 / (square_metres * 1e4), (
        f"SUV by body surface area was converted to SUV by body weight: times {weight:g} kg / {square_metres:.3f} m2"
        " (Du Bois)"
    )


def _size(dataset: Dataset, *more: str) -> tuple[float, float]:
    check_present((dataset, name) for name in ("PatientWeight", "PatientSize", *more))
    return weight_kg(dataset), number(dataset, "PatientSize", HEIGHT_M, "m")
