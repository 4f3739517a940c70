"""Measurements of a tumour as columns of a file and as rows to read: their names, units and decimals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from TumorSegLib.images.roles import is_ct, role_label
from TumorSegLib.measurements.tumour import Measurements
from TumorSegLib.measurements.uptake import Intensities, Uptake

# Column, name, heading of a narrow table, unit, decimals that are meaningful.
_SHAPE = (
    ("volume_ml", "Volume", "volume", "ml", 2),
    ("lesions", "Lesions", "lesions", "", 0),
    ("longest_axial_mm", "Longest axial diameter (RECIST 1.1)", "longest", "mm", 1),
    ("perpendicular_axial_mm", "Perpendicular diameter", "perpend.", "mm", 1),
    ("product_mm2", "Product of the diameters (WHO)", "product", "mm²", 0),
    ("maximum_3d_mm", "Longest diameter in 3D", "3D max.", "mm", 1),
)
_UPTAKE = (
    ("pet_suv_max", "SUVmax", "SUVmax", "g/ml", 2),
    ("pet_suv_mean", "SUVmean", "SUVmean", "g/ml", 2),
    ("pet_suv_peak", "SUVpeak (1 ml)", "SUVpeak", "g/ml", 2),
    ("pet_mtv_ml", "MTV", "MTV", "ml", 2),
    ("pet_tlg_g", "TLG", "TLG", "g", 1),
)


@dataclass(frozen=True)
class Row:
    """One measurement to read.

    Attributes:
        column: its name in :func:`columns`.
        name: in full, "SUVpeak (1 ml)".
        heading: in a narrow table, "SUVpeak".
        unit: "mm"; empty for numbers without one.
        text: the value with its meaningful decimals; empty where there is none.
    """

    column: str
    name: str
    heading: str
    unit: str
    text: str


def columns(found: Measurements) -> dict[str, Any]:
    """Column to value with all digits, units in the names; the same columns for the same roles, whatever was found."""
    axial, maximum = found.axial, found.maximum_diameter
    values: dict[str, Any] = {
        "volume_ml": found.volume_ml,
        "voxels": found.voxels,
        "lesions": found.lesions,
        "longest_axial_mm": axial.longest.length_mm if axial else None,
        "perpendicular_axial_mm": axial.perpendicular.length_mm if axial else None,
        "product_mm2": axial.product_mm2 if axial else None,
        "slice_axis": axial.axis if axial else None,
        "slice": axial.slice if axial else None,
        "maximum_3d_mm": maximum.length_mm if maximum else None,
    }
    values |= dict(zip(("centroid_r", "centroid_a", "centroid_s"), found.centroid_ras or (None,) * 3))
    ranges = found.box or ((None, None),) * 3
    values |= {f"box_{axis}{n}": limits[n] for axis, limits in zip("ijk", ranges) for n in (0, 1)}
    images: dict[str, Uptake | Intensities] = dict(found.intensities)
    if found.pet:
        images = {"pet": found.pet, **images}
    return values | {f"{role}_{name}": value for role, one in images.items() for name, value in asdict(one).items()}


def measurement_rows(found: Measurements) -> Iterator[Row]:
    """The measurements that are reported: volume, lesions, diameters, uptake, mean and deviation in other images."""
    values = columns(found)
    entries = [*_SHAPE, *(_UPTAKE if found.pet is not None else ())]
    for role in found.intensities:
        words, unit, decimals = role_label(role), *(("HU", 1) if is_ct(role) else ("", 2))
        entries.append((f"{role}_mean", f"{words} mean", f"{words} mean", unit, decimals))
        entries.append((f"{role}_standard_deviation", f"{words} standard deviation", f"{words} SD", unit, decimals))
    for column, name, heading, unit, decimals in entries:
        value = values[column]
        yield Row(column, name, heading, unit, "" if value is None else f"{value:.{decimals}f}")
