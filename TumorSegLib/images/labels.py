"""Terminology and colours of tumour labels, the same in files, pictures and 3D Slicer."""

from __future__ import annotations

import colorsys

#: "Neoplasm" of DICOM CID 7159 (SNOMED CT), without an anatomical region, in the notation of 3D Slicer's terminology
#: entries and in its DICOM master list. Not "Neoplasm, Primary": no model here distinguishes a primary tumour from a
#: metastasis, and Slicer's list and DICOM's current edition have different codes for it.
TUMOUR_TERMINOLOGY = (
    "Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^108369006^Neoplasm~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)
#: Colours that can be distinguished on grey images, red, green and blue from 0 to 1.
TUMOUR_COLOURS = (
    (0.90, 0.30, 0.24),
    (0.95, 0.77, 0.06),
    (0.20, 0.60, 0.86),
    (0.18, 0.80, 0.44),
    (0.61, 0.35, 0.71),
    (0.90, 0.49, 0.13),
)


#: Hues so far apart, as shares of the circle, meet again late (golden angle).
HUE_STEP = 0.381966


def label_colour(number: int) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 1 of a label, or of the n-th segment, counted from 1; no colour comes twice."""
    if number <= len(TUMOUR_COLOURS):
        return TUMOUR_COLOURS[number - 1]
    return colorsys.hsv_to_rgb(number * HUE_STEP % 1, (0.85, 0.55)[number % 2], (0.95, 0.8, 0.65)[number % 3])
