"""The rules from fingerprint to model, on data sets whose right answers are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from training.plan.cost import memory_gb
from training.plan.decisions import (
    MOST_VOXELS,
    choose_batch,
    choose_patch,
    choose_spacing,
    choose_steps,
    decide,
    normalise,
)
from training.plan.fingerprint import CasePrint, Fingerprint, Intensities
from TumorSegLib.engines.networks.unets import check_patch
from TumorSegLib.errors import ArgumentError

CT = Intensities(50.0, 30.0, -500.0, 900.0, (-60.0, 52.0, 140.0))


def printed(
    sizes: Sequence[tuple[int, int, int]],
    spacings: Sequence[tuple[float, float, float]],
    ml: float = 50.0,
    roles: Sequence[str] = ("ct",),
) -> Fingerprint:
    cases = {
        f"case{n}": CasePrint(size, spacing, size[2] * spacing[2], tuple(roles), {1: 1000}, {1: [ml, 0.001]})
        for n, (size, spacing) in enumerate(zip(sizes, spacings))
    }
    return Fingerprint("set", cases, dict.fromkeys(roles, CT), [list(cases)], {"tumour": 1})


def test_small_images_are_shown_whole_at_their_median_spacing() -> None:
    found = printed([(35, 50, 36)] * 150 + [(70, 100, 72)] * 50, [(1.0, 1.0, 1.0)] * 150 + [(0.5, 0.5, 0.5)] * 50)
    decisions = decide("small", found, 16.0)
    assert decisions.spec.volume_input.spacing_mm == (1.0, 1.0, 1.0)
    assert decisions.spec.patch == (40, 56, 40)
    assert decisions.spec.arguments["strides"] == [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]]
    assert decisions.batch == 4
    check_patch(decisions.spec)


def test_thick_slices_stay_thick_and_are_not_halved_first() -> None:
    found = printed([(256, 256, 20)] * 10, [(0.6, 0.6, 4.0)] * 8 + [(0.6, 0.6, 3.0)] * 2, ml=1.0)
    spacing, why = choose_spacing(found)
    assert spacing.tolist() == [0.6, 0.6, 3.0]
    assert "finest tenth" in why
    patch, strides = choose_patch(np.array([256, 256, 27]), spacing, MOST_VOXELS)
    assert strides[1:3] == [(1, 2, 2), (1, 2, 2)]  # 3 mm until the others are 2.4 mm
    assert strides[3] == (2, 2, 2)
    assert np.prod(patch) <= MOST_VOXELS
    assert patch[1] == patch[2] > patch[0]


def test_large_images_are_seen_coarser_but_not_so_that_small_objects_vanish() -> None:
    large = [(512, 512, 300)] * 10, [(0.8, 0.8, 1.0)] * 10
    spacing, why = choose_spacing(printed(*large, ml=500.0))
    shown = MOST_VOXELS / np.prod(np.multiply(large[0][0], large[1][0]) / spacing)
    assert shown == pytest.approx(0.25, rel=0.1)
    assert "a patch shows 25%" in why
    assert spacing[2] / spacing[0] == pytest.approx(1.25, rel=0.02)
    nodules, why = choose_spacing(printed(*large, ml=0.5))  # 9.8 mm across
    assert nodules.max() == pytest.approx(9.85 / 4, rel=0.02)
    assert "objects of 9.8 mm still span 4 voxels" in why
    tiny, _ = choose_spacing(printed(*large, ml=0.01))
    assert tiny.tolist() == [0.8, 0.8, 1.0]


def test_less_memory_gives_smaller_batches_and_then_smaller_patches() -> None:
    found = printed([(35, 50, 36)] * 200, [(1.0, 1.0, 1.0)] * 200)
    plenty = decide("m", found, 64.0)
    two = decide("m", found, plenty.memory_gb - 0.05)
    assert (plenty.batch, two.batch) == (4, 2)
    assert two.spec.patch == plenty.spec.patch
    small = decide("m", found, 1.3)
    assert np.prod(small.spec.patch) < np.prod(two.spec.patch)
    assert small.memory_gb == memory_gb(small.spec, small.batch) <= 1.3
    with pytest.raises(ArgumentError, match=r"0\.5 GB do not suffice: a patch of"):
        decide("m", found, 0.5)


def test_estimated_memory_grows_with_what_is_kept() -> None:
    spec = decide("m", printed([(35, 50, 36)] * 200, [(1.0, 1.0, 1.0)] * 200), 64.0).spec
    one, two, four = (memory_gb(spec, batch) for batch in (1, 2, 4))
    assert four - two == pytest.approx(2 * (two - one))
    assert one > 1.0


@pytest.mark.parametrize(
    ("role", "values"),
    [
        ("ct", ("linear", -60.0, 140.0, 50.0, 30.0, -1000.0)),
        ("pet", ("log1p", 0.0, 140.0, 0.0, 1.0, 0.0)),
        ("mr_t1", ("zscore", -np.inf, np.inf, 0.0, 1.0, 0.0)),
    ],
)
def test_normalisation_by_family(role: str, values: tuple[object, ...]) -> None:
    rule = normalise(role, CT)
    assert (rule.method, rule.low, rule.high, rule.offset, rule.scale, rule.outside) == values


def test_a_ct_of_one_value_within_the_labels() -> None:
    rule = normalise("ct", Intensities(40.0, 0.0, 40.0, 40.0, (40.0, 40.0, 40.0)))
    assert rule.low < 40 < rule.high
    assert np.isfinite(rule(np.array([40.0, 60.0]))).all()


def test_batches_and_steps_within_limits() -> None:
    shape = np.array([200.0, 200.0, 100.0])
    assert choose_batch((48, 64, 64), shape, 100) == 2
    assert choose_batch((16, 16, 16), shape, 100) == 8
    assert choose_batch((40, 40, 40), np.array([40.0, 40.0, 40.0]), 10) == 2  # half a case is 5 % of all
    assert [choose_steps(cases) for cases in (5, 100, 1000)] == [2000, 6000, 10000]


def test_cases_that_lack_a_role_make_it_optional_and_slices_are_refused() -> None:
    found = printed([(40, 40, 40)] * 2, [(1.0, 1.0, 1.0)] * 2, roles=("ct", "pet"))
    cases = dict(found.cases)
    cases["case0"] = CasePrint((40, 40, 40), (1.0, 1.0, 1.0), 40.0, ("ct",), {1: 9}, {1: [1.0]})
    partly = Fingerprint("set", cases, found.intensities, found.folds, found.labels)
    assert decide("m", partly, 16.0).spec.optional == ("pet",)
    with pytest.raises(ArgumentError, match="single slices"):
        decide("m", printed([(100, 100, 1)], [(1.0, 1.0, 1.0)]), 16.0)
