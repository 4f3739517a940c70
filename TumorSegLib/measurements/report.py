"""Summary of a segmentation for ``--info`` and the demo's ``report.json``, and warnings on implausible results."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import number_text
from TumorSegLib.measurements.shape import connected_components, shape_measures
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.protocols import Result


def make_report(result: Result) -> dict[str, Any]:
    """Volume, components and shape of a result, with the model, device and timings that it comes from.

    Returns:
        JSON-ready. Volumes in ml, lengths in mm, centroids in RAS mm, boxes as half-open voxel ranges (i, j, k),
        times in seconds. ``shape`` is None where nothing was marked. ``version`` is the model's.
    """
    grid = result.mask.grid
    components = connected_components(result.mask)
    return {
        "notice": DISCLAIMER,
        "volume_ml": result.mask.volume_ml,
        "components": [_plain(asdict(component)) for component in components],
        "shape": _plain(asdict(shape_measures(result.mask))) if components else None,
        "highest_probability": float(result.probability.array.max()),
        "grid": {"size_ijk": list(grid.size), "spacing_mm": list(grid.spacing), "affine_ras": grid.affine.tolist()},
        **result.info,
    }


def marked(spec: ModelSpec, volume_ml: float) -> str:
    """The marked volume and the model's purpose: "marked 342.0 ml; it was made for soft-tissue sarcoma: check it".

    No model recognises whether an image shows the part of the body that it was trained on, so users are reminded.
    """
    purpose = f"it was made for {spec.made_for}" if spec.made_for else "its purpose is not stated"
    volume = f"{number_text(volume_ml)} ml" if volume_ml else "nothing"
    return f"marked {volume}; {purpose}: check it"


def volume_warning(spec: ModelSpec, volume_ml: float) -> str:
    """A warning where the volume lies outside the range that the model was trained on, else an empty text."""
    if not volume_ml or spec.plausible_volume_ml is None:
        return ""
    low, high = spec.plausible_volume_ml
    if low <= volume_ml <= high:
        return ""
    return f"{number_text(volume_ml)} ml is outside the volumes that {spec.name} was trained on, {low:g} to {high:g} ml"


def length_warning(spec: ModelSpec, grid: Grid) -> str:
    """A warning where the image is longer, head to foot, than those of the model's training, else an empty text."""
    length = float(np.ptp(grid.corners_ras()[:, 2]))
    if spec.trained_length_mm is None or length <= spec.trained_length_mm:
        return ""
    return (
        f"the image is {length:.0f} mm long from head to foot, the training images of {spec.name} at most"
        f" {spec.trained_length_mm:.0f} mm; crop it to the region of the tumour"
    )


def to_json(report: dict[str, Any]) -> str:
    """Indented JSON text, ending with a line feed."""
    return json.dumps(report, indent=2) + "\n"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in values.items()}
