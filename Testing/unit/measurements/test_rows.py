"""Measurements as rows and columns: the same names, units and decimals wherever they are read."""

from __future__ import annotations

import numpy as np

from Testing.fakes import noise_volume
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.measurements.rows import columns, measurement_rows
from TumorSegLib.measurements.tumour import measure

GRID = Grid.from_spacing((8, 10, 12), (2, 2, 3))


def test_every_row_is_a_rounded_column_with_its_unit() -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[2:5, 2:7, 3:8] = 1
    found = measure(Mask(GRID, array), {role: noise_volume(GRID, role) for role in ("pet", "ct", "mr_t1")})
    values, listed = columns(found), {row.column: row for row in measurement_rows(found)}
    for row in listed.values():
        decimals = len(row.text.partition(".")[2])
        assert row.text == f"{values[row.column]:.{decimals}f}"
    units = {"volume_ml": "ml", "product_mm2": "mm²", "pet_suv_peak": "g/ml", "pet_tlg_g": "g", "ct_mean": "HU"}
    assert {column: listed[column].unit for column in units} == units
    assert [listed[f"{role}_mean"].name for role in ("ct", "mr_t1")] == ["CT mean", "T1 MR mean"]
    assert listed["volume_ml"].text == f"{75 * 12 / 1000:.2f}"


def test_measurements_missing_for_an_empty_mask_have_no_text() -> None:
    found = measure(Mask(GRID, np.zeros(GRID.shape, np.uint8)), {"ct": noise_volume(GRID, "ct")})
    texts = {row.column: row.text for row in measurement_rows(found)}
    assert (texts["volume_ml"], texts["lesions"], texts["longest_axial_mm"], texts["ct_mean"]) == ("0.00", "0", "", "")
    assert "pet_suv_max" not in texts
