"""Metrics against hand-computed cases and MONAI."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from Testing.unit.cases.grids import mask_of
from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.evaluation.metrics import Metrics, evaluate
from TumorSegLib.images.volume import Mask

torch = pytest.importorskip("torch")
monai_metrics = pytest.importorskip("monai.metrics")


def blob(shape, seed, threshold) -> np.ndarray:
    """Smooth random shapes that also touch the image border."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0, mode="wrap")
    return noise > threshold * noise.std()


@st.composite
def mask_pairs(draw) -> tuple[Mask, Mask]:
    shape = tuple(draw(st.integers(6, 20)) for _ in range(3))
    spacing = tuple(draw(st.sampled_from([0.5, 0.97, 1.0, 1.7, 3.0, 5.0])) for _ in range(3))
    seed, threshold = draw(st.integers(0, 10**6)), draw(st.sampled_from([-0.5, 0.3, 1.0]))
    first = blob(shape, seed, threshold)
    second = blob(shape, seed + 1, threshold) if draw(st.booleans()) else np.roll(first, draw(st.integers(-3, 3)), 1)
    first[shape[0] // 2, 0, 0] = second[0, shape[1] // 2, 1] = True  # never empty
    return mask_of(first, spacing), mask_of(second, spacing)


def as_one_hot(mask: Mask):
    foreground = torch.from_numpy((mask.array != 0).astype(np.float32))
    return torch.stack([1 - foreground, foreground])[None]


def with_monai(prediction: Mask, reference: Mask, tolerance: float) -> dict[str, float]:
    p, r, spacing = as_one_hot(prediction), as_one_hot(reference), prediction.grid.spacing[::-1]
    options = {"include_background": False, "spacing": spacing}
    return {
        "dice": monai_metrics.compute_dice(p, r, include_background=False).item(),
        "iou": monai_metrics.compute_iou(p, r, include_background=False).item(),
        "hd95_mm": monai_metrics.compute_hausdorff_distance(p, r, percentile=95, **options).item(),
        "assd_mm": monai_metrics.compute_average_surface_distance(p, r, symmetric=True, **options).item(),
        "nsd": monai_metrics.compute_surface_dice(p, r, class_thresholds=[tolerance], **options).item(),
    }


@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@settings(max_examples=40, deadline=None, derandomize=True)
@given(pair=mask_pairs())
def test_agrees_with_monai(pair):
    torch.set_num_threads(1)
    # No distance between lattice points of these spacings lies within rounding of 2.9 mm.
    ours = evaluate(*pair, nsd_tolerance_mm=2.9).to_dict()
    for name, value in with_monai(*pair, tolerance=2.9).items():
        assert ours[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_two_voxels_by_hand():
    a, b = np.zeros((4, 5, 6)), np.zeros((4, 5, 6))
    a[0, 0, 0] = 1
    b[3, 2, 1] = 1
    got = evaluate(mask_of(a, (1.0, 2.0, 3.0)), mask_of(b, (1.0, 2.0, 3.0)), nsd_tolerance_mm=9.0)
    distance = math.sqrt((3 * 3.0) ** 2 + (2 * 2.0) ** 2 + 1.0**2)  # k 3 mm, j 2 mm, i 1 mm
    assert got.hd95_mm == pytest.approx(distance)
    assert got.assd_mm == pytest.approx(distance)
    assert got.balanced_average_hausdorff_mm == pytest.approx(distance)
    assert (got.dice, got.iou, got.sensitivity, got.precision, got.nsd) == (0, 0, 0, 0, 0)
    assert got.volume_ml == pytest.approx(0.006)


def test_unequal_rows_by_hand():
    """Reference: voxels 0-1 of a row; prediction: voxels 0-3; 2 mm apart, so distances 0 0 2 4 and 0 0."""
    reference, prediction = np.zeros((1, 1, 8)), np.zeros((1, 1, 8))
    reference[..., :2] = 1
    prediction[..., :4] = 1
    got = evaluate(mask_of(prediction, (2.0, 1, 1)), mask_of(reference, (2.0, 1, 1)), nsd_tolerance_mm=2.0)
    assert got.dice == pytest.approx(2 * 2 / 6)
    assert got.iou == pytest.approx(0.5)
    assert (got.sensitivity, got.precision) == (1.0, 0.5)
    assert got.assd_mm == pytest.approx(6 / 6)
    assert got.nsd == pytest.approx(5 / 6)  # the tolerance itself is within
    assert got.hd95_mm == pytest.approx(2 + 0.85 * 2)  # 95 % of the way through (0, 0, 2, 4)
    assert got.balanced_average_hausdorff_mm == pytest.approx((0 / 2 + 6 / 2) / 2)
    assert got.volume_error_ml == pytest.approx(0.004)
    assert got.relative_volume_error == pytest.approx(1.0)


def test_balanced_average_hausdorff_divides_by_the_reference_both_ways():
    """Swapping the masks keeps ASSD and changes the balanced distance by the ratio of the surface sizes."""
    reference, prediction = np.zeros((1, 1, 8)), np.zeros((1, 1, 8))
    reference[..., :4] = 1
    prediction[..., :2] = 1
    got = evaluate(mask_of(prediction, (2.0, 1, 1)), mask_of(reference, (2.0, 1, 1)))
    assert got.assd_mm == pytest.approx(1.0)
    assert got.balanced_average_hausdorff_mm == pytest.approx(6 / 4 / 2)


def test_surface_lies_at_the_image_border_too():
    """A mask that fills the image has its surface at the border: the only interior voxel is the centre."""
    full, centre = np.ones((3, 3, 3)), np.zeros((3, 3, 3))
    centre[1, 1, 1] = 1
    got = evaluate(mask_of(full), mask_of(centre))
    corner, edge, face = 8 * math.sqrt(3), 12 * math.sqrt(2), 6
    assert got.assd_mm == pytest.approx((corner + edge + face + 1) / 27)  # 26 points out, 1 point back


def test_tolerance_is_inclusive_under_rounding():
    array = np.zeros((1, 1, 12))
    moved = array.copy()
    array[..., 0] = moved[..., 3] = 1  # 3 * 0.1 = 0.30000000000000004
    assert evaluate(mask_of(array, (0.1, 1, 1)), mask_of(moved, (0.1, 1, 1)), nsd_tolerance_mm=0.3).nsd == 1.0
    assert evaluate(mask_of(array, (0.1, 1, 1)), mask_of(moved, (0.1, 1, 1)), nsd_tolerance_mm=0.29).nsd == 0.0


def test_identical_masks_and_any_label_is_foreground():
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:4, 1:5, 2:4] = 1
    other = labels.copy()
    other[2] *= 7
    got = evaluate(mask_of(labels, (0.7, 0.9, 3.3)), mask_of(other, (0.7, 0.9, 3.3)))
    assert (got.dice, got.iou, got.nsd, got.sensitivity, got.precision) == (1, 1, 1, 1, 1)
    assert (got.hd95_mm, got.assd_mm, got.balanced_average_hausdorff_mm) == (0, 0, 0)
    assert (got.volume_error_ml, got.relative_volume_error) == (0, 0)


def test_direction_and_origin_do_not_matter():
    first, second = blob((10, 11, 12), 3, 0.3), blob((10, 11, 12), 4, 0.3)
    angle = 0.4
    turn = [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, -1]]
    oblique = {"direction": turn, "origin": (-40.0, 12.0, 7.0)}
    spacing = (0.8, 1.1, 4.0)
    plain = evaluate(mask_of(first, spacing), mask_of(second, spacing)).to_dict()
    turned = evaluate(mask_of(first, spacing, **oblique), mask_of(second, spacing, **oblique)).to_dict()
    assert turned == pytest.approx(plain)


def test_empty_masks():
    empty = mask_of(np.zeros((3, 4, 5)))
    some = np.zeros((3, 4, 5))
    some[1, 1, 1:3] = 1
    both = evaluate(empty, empty)
    assert both == Metrics(1, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0)
    missed = evaluate(empty, mask_of(some))
    assert missed == Metrics(0, 0, math.inf, math.inf, 0, math.inf, 0, 0, 0, 0.002, -0.002, -1)
    invented = evaluate(mask_of(some), empty)
    assert invented == Metrics(0, 0, math.inf, math.inf, 0, math.inf, 0, 0, 0.002, 0, 0.002, math.inf)


def test_to_dict_is_json_without_infinity():
    empty, full = mask_of(np.zeros((2, 2, 2))), mask_of(np.ones((2, 2, 2)))
    values = json.loads(json.dumps(evaluate(full, empty).to_dict(), allow_nan=False))
    assert values["hd95_mm"] is None
    assert values["relative_volume_error"] is None
    assert values["dice"] == 0.0
    assert len(values) == 12


def test_different_grids_are_refused_naming_both():
    first, second = mask_of(np.ones((2, 3, 4))), mask_of(np.ones((2, 3, 4)), (1, 1, 2.5))
    with pytest.raises(GeometryError, match=r"4 x 3 x 2 voxels of 1 x 1 x 1 mm.*4 x 3 x 2 voxels of 1 x 1 x 2\.5 mm"):
        evaluate(first, second)


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, math.inf])
def test_bad_tolerance_is_refused(tolerance):
    mask = mask_of(np.ones((2, 2, 2)))
    with pytest.raises(ArgumentError, match=str(tolerance)):
        evaluate(mask, mask, nsd_tolerance_mm=tolerance)
