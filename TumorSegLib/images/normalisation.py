"""From the units of an image to the numbers a network takes; the same code serves training and inference."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ModelError
from TumorSegLib.geometry.arrays import Float32Array

METHODS = ("linear", "log1p", "zscore", "fitted_zscore")
# MR tissue is what exceeds this share of the 99th percentile; air and the noise floor lie well below. In images with
# values so far below 0 as this share of it, e.g. logarithms and maps, both are counted from the 1st percentile.
MR_TISSUE_SHARE = 0.1
# In place of the deviation of an image without tissue: its noise divided by this is 0.
NOTHING_TO_SEE = 1e30


@dataclass(frozen=True)
class Normalisation:
    """How one role becomes network input.

    Attributes:
        method: ``linear``: ``(x - offset) / scale``; ``log1p``: ``(log(1 + x) - offset) / scale``, for SUV;
            ``zscore``: zero mean and unit variance over tissue (voxels above 10 % of the 99th percentile), limited to
            +-5, for MR, whose units are arbitrary; ``fitted_zscore``: the same with ``offset`` for the mean and
            ``scale`` for the deviation, see :meth:`fitted`.
        low, high: the raw values are limited to these first (HU, SUV or a.u.).
        offset, scale: see ``method``; without meaning for ``zscore``.
        outside: raw value where there is no image: padding, and what an MR holds outside its field of view. An image
            with values far below 0 is taken to hold its lowest one there.

    Raises:
        ModelError: the method is unknown or a number impossible.
    """

    method: str
    low: float = -math.inf
    high: float = math.inf
    offset: float = 0.0
    scale: float = 1.0
    outside: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ModelError(f"normalisation method {self.method!r} is not one of {', '.join(METHODS)}")
        if not self.low < self.high or not self.scale > 0:
            raise ModelError(f"normalisation needs low < high and scale > 0, got {self}")
        if not all(math.isfinite(number) for number in (self.offset, self.scale, self.outside)):
            raise ModelError(f"normalisation needs a finite offset, scale and outside, got {self}")
        if self.method == "log1p" and self.low < 0:
            raise ModelError(f"normalisation log1p needs low >= 0, got {self.low}")

    def __call__(self, array: npt.NDArray[Any]) -> Float32Array:
        """Raw values to network input, float32 of the same shape."""
        values: Float32Array = np.clip(array, self.low, self.high, dtype=np.float32)
        if self.method in ("zscore", "fitted_zscore"):
            return self._zscore(values)
        if self.method == "log1p":
            np.log1p(values, out=values)
        values -= np.float32(self.offset)
        values /= np.float32(self.scale)
        return values

    def fitted(self, array: npt.NDArray[Any]) -> Normalisation:
        """The rule with mean and standard deviation taken from a whole image, to be applied to parts of it."""
        if self.method != "zscore":
            return self
        values = np.clip(array, self.low, self.high, dtype=np.float32)
        mean, deviation = _tissue_statistics(values)
        outside = float(values.min()) if _floor(values) < 0 else self.outside
        return replace(self, method="fitted_zscore", offset=mean, scale=deviation, outside=outside)

    def _zscore(self, values: Float32Array) -> Float32Array:
        if self.method == "zscore":
            return self.fitted(values)(values)
        mean, deviation = np.float32(self.offset), np.float32(self.scale)
        result: Float32Array = np.clip((values - mean) / deviation, -5, 5, dtype=np.float32)
        result[values == self.outside] = 0
        return result

    @property
    def fill(self) -> float:
        """Network input for a voxel that lies outside the image."""
        if self.method in ("zscore", "fitted_zscore"):
            return 0.0
        return float(self(np.array([self.outside]))[0])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; limits that are infinite are left out."""
        return {key: value for key, value in asdict(self).items() if value not in (math.inf, -math.inf)}


def mr_tissue_threshold(values: npt.NDArray[Any]) -> float:
    """MR intensity above which a voxel counts as tissue, same unit as ``values``."""
    if values.size == 0:
        return 0.0
    floor = _floor(values)
    return floor + MR_TISSUE_SHARE * (_percentile(values, 99) - floor)


def _floor(values: npt.NDArray[Any]) -> float:
    """0, or the 1st percentile of an image with values far below 0."""
    if values.size == 0:
        return 0.0
    lowest = _percentile(values, 1)
    return lowest if lowest < -MR_TISSUE_SHARE * abs(_percentile(values, 99)) else 0.0


def _percentile(values: npt.NDArray[Any], percent: float) -> float:
    # A stride keeps it cheap on large images; a million samples give it to four digits.
    step = max(1, values.size // 1_000_000)
    return float(np.percentile(values.reshape(-1)[::step], percent))


def _tissue_statistics(values: Float32Array) -> tuple[float, float]:
    """Mean and standard deviation of the tissue; a huge deviation, so that all becomes 0, where there is none."""
    inside = values[values > mr_tissue_threshold(values)]
    if inside.size < 2:
        return 0.0, NOTHING_TO_SEE
    return float(inside.mean()), max(float(inside.std()), 1e-6)
