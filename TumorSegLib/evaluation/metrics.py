"""Agreement of a segmentation with a reference: overlap, surface distance and volume.

Every label other than 0 is foreground. The surface of a mask is its set of boundary voxels: foreground voxels with at
least one of their 6 face neighbours in the background, everything outside the image counting as background, so a mask
cut off by the image border has a surface there. Distances are Euclidean between voxel centres in mm, exact for any
spacing, and need no direction because grids are orthonormal. Every boundary voxel counts once, as by
default in MONAI, whose figures are the same. DeepMind's ``surface-distance`` (Nikolov et al.) weights surface elements
by their area instead, so its figures differ somewhat; nsd is their surface Dice counted in voxels.

Where a mask is empty:

===========================  ==========================================  =====================
case                         dice, iou, nsd, sensitivity, precision      distances (mm)
===========================  ==========================================  =====================
both masks empty             1                                           0
only one mask empty          0                                           infinite
===========================  ==========================================  =====================

The relative volume error is 0 when both are empty and infinite when only the reference is. Infinity becomes None in
:meth:`Metrics.to_dict`, since JSON has no infinity; a mean over cases must decide what to do with it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.geometry.arrays import BoolArray, Float64Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, slices, union

if TYPE_CHECKING:
    from TumorSegLib.images.volume import Mask


# Rounding of the spacing must not move a distance that equals the tolerance beyond it.
_ROUNDING_MM = 1e-6


@dataclass(frozen=True)
class Metrics:
    """How a prediction compares with a reference; conventions for empty masks in the module's docstring.

    Attributes:
        dice: 2 |P and R| / (|P| + |R|), Dice 1945.
        iou: |P and R| / |P or R|, Jaccard 1912.
        hd95_mm: the larger of the two directed 95th percentiles (linear interpolation) of surface distance.
        assd_mm: average symmetric surface distance, the mean over the points of both surfaces together.
        nsd: normalised surface Dice, the voxel-count form of Nikolov et al. 2021 (doi:10.2196/26151): share of the
            points of both surfaces that lie within the tolerance of the other.
        balanced_average_hausdorff_mm: the two directed sums of surface distance, both divided by the number of points
            of the reference surface, averaged (Aydin et al. 2021, doi:10.1186/s41747-020-00200-2).
        sensitivity: |P and R| / |R|.
        precision: |P and R| / |P|.
        volume_ml: volume of the prediction.
        reference_volume_ml: volume of the reference.
        volume_error_ml: volume of the prediction less that of the reference, signed.
        relative_volume_error: that error as a share of the reference's volume, signed.
    """

    dice: float
    iou: float
    hd95_mm: float
    assd_mm: float
    nsd: float
    balanced_average_hausdorff_mm: float
    sensitivity: float
    precision: float
    volume_ml: float
    reference_volume_ml: float
    volume_error_ml: float
    relative_volume_error: float

    def to_dict(self) -> dict[str, float | None]:
        """Name to value, ready for JSON: infinity is None."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


class _SurfaceScores(NamedTuple):
    hd95_mm: float
    assd_mm: float
    nsd: float
    balanced_average_hausdorff_mm: float


def evaluate(prediction: Mask, reference: Mask, *, nsd_tolerance_mm: float = 3.0) -> Metrics:
    """Compares two masks on the same grid.

    Args:
        prediction: uint8 ``[k, j, i]``; every label other than 0 is foreground.
        reference: the same, on the same grid.
        nsd_tolerance_mm: distance up to which surfaces count as the same, inclusive, mm.

    Raises:
        GeometryError: the grids differ.
        ArgumentError: the tolerance is negative or not finite.
    """
    if prediction.grid != reference.grid:
        raise GeometryError(
            f"prediction and reference lie on different grids ({prediction.grid} and {reference.grid}): "
            f"{prediction.grid.difference(reference.grid)}; "
            "resample one of them first"
        )
    if not (math.isfinite(nsd_tolerance_mm) and nsd_tolerance_mm >= 0):
        raise ArgumentError(f"nsd_tolerance_mm must be a finite distance of at least 0 mm, got {nsd_tolerance_mm}")
    # Nothing outside the box round both masks takes part in any metric.
    boxes = [box for box in (prediction.bounding_box(), reference.bounding_box()) if box is not None]
    window = slices(union(boxes) if boxes else EMPTY_BOX)
    found, wanted = prediction.array[window] != 0, reference.array[window] != 0
    surface = _surface_scores(found, wanted, prediction.grid.spacing[::-1], nsd_tolerance_mm)
    overlap = _overlap_scores(found, wanted)
    return Metrics(**surface._asdict(), **overlap, **_volume_scores(prediction.volume_ml, reference.volume_ml))


def dice(prediction: npt.NDArray[Any], reference: npt.NDArray[Any]) -> float:
    """The Dice coefficient of two arrays of one shape, alone; what is not 0 is foreground. 1 where both are empty."""
    found, wanted = prediction != 0, reference != 0
    total = int(np.count_nonzero(found)) + int(np.count_nonzero(wanted))
    return 2 * int(np.count_nonzero(found & wanted)) / total if total else 1.0


def _overlap_scores(found: BoolArray, wanted: BoolArray) -> dict[str, Any]:
    """Dice, IoU, sensitivity and precision of two arrays of one shape."""
    both = int(np.count_nonzero(found & wanted))
    in_prediction, in_reference = int(np.count_nonzero(found)), int(np.count_nonzero(wanted))
    if in_prediction + in_reference == 0:
        return {"dice": 1.0, "iou": 1.0, "sensitivity": 1.0, "precision": 1.0}
    return {
        "dice": dice(found, wanted),
        "iou": both / (in_prediction + in_reference - both),
        "sensitivity": both / in_reference if in_reference else 0.0,
        "precision": both / in_prediction if in_prediction else 0.0,
    }


def _volume_scores(volume_ml: float, reference_volume_ml: float) -> dict[str, Any]:
    error = volume_ml - reference_volume_ml
    relative = error / reference_volume_ml if reference_volume_ml else math.inf
    return {
        "volume_ml": volume_ml,
        "reference_volume_ml": reference_volume_ml,
        "volume_error_ml": error,
        "relative_volume_error": relative if error else 0.0,
    }


def _surface_scores(
    found: BoolArray, wanted: BoolArray, spacing_kji: tuple[float, ...], tolerance_mm: float
) -> _SurfaceScores:
    """Scores from the distances between the surfaces of two arrays of one shape; spacing ``(k, j, i)`` in mm."""
    # A k-d tree over the surface voxels gives the same distances as a Euclidean distance transform of the volume, 5 to
    # 8 times faster (0.46 s against 3.8 s on 250^3 voxels).
    from scipy.spatial import cKDTree

    found_points, wanted_points = _surface_points(found, spacing_kji), _surface_points(wanted, spacing_kji)
    if not len(found_points) and not len(wanted_points):
        return _SurfaceScores(hd95_mm=0.0, assd_mm=0.0, nsd=1.0, balanced_average_hausdorff_mm=0.0)
    if not len(found_points) or not len(wanted_points):
        return _SurfaceScores(hd95_mm=math.inf, assd_mm=math.inf, nsd=0.0, balanced_average_hausdorff_mm=math.inf)
    to_reference = cKDTree(wanted_points).query(found_points)[0]
    to_prediction = cKDTree(found_points).query(wanted_points)[0]
    distances = np.concatenate([to_reference, to_prediction])
    return _SurfaceScores(
        hd95_mm=float(max(np.percentile(to_reference, 95), np.percentile(to_prediction, 95))),
        assd_mm=float(distances.mean()),
        nsd=float(np.mean(distances <= tolerance_mm + _ROUNDING_MM)),
        balanced_average_hausdorff_mm=float(distances.sum() / len(to_prediction) / 2),
    )


def _surface_points(foreground: BoolArray, spacing_kji: tuple[float, ...]) -> Float64Array:
    """Centres of the boundary voxels, ``(n, 3)`` as ``(k, j, i)`` in mm from the centre of the first voxel."""
    from scipy.ndimage import binary_erosion

    # border_value=0: outside the image is background.
    interior = binary_erosion(foreground, border_value=0) if foreground.size else foreground
    return np.asarray(np.argwhere(foreground & ~interior) * np.asarray(spacing_kji))
