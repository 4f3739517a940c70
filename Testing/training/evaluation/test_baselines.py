"""Baselines: the regions they must find, the rules on seeds and thresholds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from training.clicks.simulate import next_click
from training.data.cases import read_case
from training.evaluation.baselines import grow_cut, pet_threshold, random_walk
from TumorSegLib.errors import ArgumentError, GeometryError, RoleError, TumorSegError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.resample import resample
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.prompts.types import Click

Baseline = Callable[[Images, Sequence[Click]], Mask]
SHAPE = (20, 24, 28)
FIRST, SECOND = (slice(5, 13), slice(6, 14), slice(3, 11)), (slice(5, 13), slice(6, 14), slice(11, 19))
APART = (slice(5, 13), slice(6, 14), slice(19, 25))


@pytest.fixture(params=[grow_cut, pet_threshold, random_walk])
def baseline(request: pytest.FixtureRequest) -> Baseline:
    if request.param is grow_cut:
        pytest.importorskip("slicer")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def grown() -> Baseline:
    pytest.importorskip("slicer")
    return grow_cut


def volume(array: np.ndarray, role: str = "pet", spacing: Sequence[float] = (2.0, 2.0, 3.0)) -> Volume:
    return Volume(Grid.from_spacing(array.shape, spacing, (5.0, -40.0, 12.0)), array, role)


def blobs(first: float = 10, second: float = 6, background: float = 1) -> np.ndarray:
    """Two blobs that share a face, on an even background."""
    array = np.full(SHAPE, background, dtype=np.float32)
    array[FIRST], array[SECOND] = first, second
    return array


def where(*parts: tuple[slice, ...]) -> np.ndarray:
    array = np.zeros(SHAPE, dtype=np.uint8)
    for part in parts:
        array[part] = 1
    return array


def ball(ijk: Sequence[int], shape: Sequence[int], spacing: Sequence[float], radius: float = 3.0) -> np.ndarray:
    k, j, i = np.indices(shape)
    offsets = np.stack([i - ijk[0], j - ijk[1], k - ijk[2]]) * np.reshape(spacing, (3, 1, 1, 1))
    return np.linalg.norm(offsets, axis=0) <= radius + 1e-6


def test_a_random_walker_stops_at_edges_and_at_its_window() -> None:
    """The first blob is darker than the second. Only what lies within 30 mm of a click is walked on."""
    mask = random_walk({"pet": volume(blobs(100, 300, 0))}, [Click((6, 9, 8)), Click((14, 9, 8), False)]).array > 0
    wanted = where(FIRST) > 0
    assert 2 * (mask & wanted).sum() / (mask.sum() + wanted.sum()) > 0.9
    even = random_walk({"pet": volume(np.zeros((20, 24, 80), dtype=np.float32))}, [Click((20, 12, 10))]).array > 0
    assert even[10, 12, 20]
    assert not even[:, :, 20 + 15 :].any()


def test_no_positive_click_is_an_empty_mask(baseline: Baseline) -> None:
    images = {"pet": volume(blobs())}
    for clicks in ([], [Click((6, 9, 8), False)]):
        mask = baseline(images, clicks)
        assert mask.grid == images["pet"].grid
        assert not mask.array.any()


def test_a_click_outside_the_image_is_named(baseline: Baseline) -> None:
    with pytest.raises(ArgumentError, match=r"click 2, voxel \(28, 9, 8\), lies outside the image of \(28, 24, 20\)"):
        baseline({"pet": volume(blobs())}, [Click((6, 9, 8)), Click((28, 9, 8))])


def test_the_order_of_clicks_decides_where_their_balls_overlap(baseline: Baseline) -> None:
    """On noise nothing else is certain. Spacing matters: 3 mm are one voxel along i, two along j, three along k."""
    spacing, noise = (3.0, 1.5, 1.0), np.random.default_rng(4).uniform(1, 9, SHAPE).astype(np.float32)
    wanted, unwanted = (ball(ijk, SHAPE, spacing) for ijk in ((10, 12, 9), (11, 12, 9)))
    clicks = [Click((10, 12, 9)), Click((11, 12, 9), False)]
    mask = baseline({"pet": volume(noise, spacing=spacing)}, clicks).array > 0
    assert (wanted & unwanted).any()
    assert mask[wanted & ~unwanted].all()
    assert not mask[unwanted].any()
    mask = baseline({"pet": volume(noise, spacing=spacing)}, clicks[::-1]).array > 0
    assert mask[wanted].all()
    assert not mask[unwanted & ~wanted].any()


def test_an_image_on_another_grid_is_brought_to_the_first(baseline: Baseline) -> None:
    pet = volume(blobs())
    fine = pet.grid.with_spacing((1.0, 1.0, 1.5))
    images = {"mr_t1": Volume(fine, np.zeros(fine.shape, dtype=np.float32), "mr_t1"), "pet": pet}
    clicks = [Click((13, 19, 17)), Click((29, 19, 17), False)]
    mask = baseline(images, clicks)
    assert mask.grid == fine
    assert mask.array[17, 19, 13]
    np.testing.assert_array_equal(mask.array, baseline({"pet": resample(pet, fine)}, clicks).array)
    far = Volume(Grid.from_spacing(SHAPE, (2, 2, 3), (900, 0, 0)), blobs(), "pet")
    with pytest.raises(GeometryError, match="overlap"):
        baseline({"mr_t1": images["mr_t1"], "pet": far}, [Click((13, 19, 17))])


def test_growth_stops_where_intensity_changes_most(grown: Baseline) -> None:
    images = {"pet": volume(blobs())}
    # The way from the click to the second blob costs 4 SUV, from the background 5.
    np.testing.assert_array_equal(grown(images, [Click((6, 9, 8))]).array, where(FIRST, SECOND))
    both = [Click((6, 9, 8)), Click((14, 9, 8), False)]
    np.testing.assert_array_equal(grown(images, both).array, where(FIRST))
    np.testing.assert_array_equal(grown({"pet": volume(blobs(second=5))}, [Click((6, 9, 8))]).array, where(FIRST))


def test_grow_cut_works_on_one_volume(grown: Baseline) -> None:
    flat, ct = np.zeros(SHAPE, dtype=np.int16), (blobs(80, 20, -100)).astype(np.int16)
    clicks = [Click((6, 9, 8)), Click((14, 9, 8), False)]
    uptake = volume(blobs())
    for images in (
        {"mr_t1": volume(flat, "mr_t1"), "ct": volume(flat, "ct"), "pet": uptake},
        {"mr_t1": volume(flat, "mr_t1"), "ct": volume(ct, "ct")},
        {"mr_t1": volume(ct, "mr_t1"), "mr_t2": volume(flat, "mr_t2")},
    ):
        np.testing.assert_array_equal(grown(images, clicks).array, where(FIRST))


def test_grow_cut_takes_air_outside_the_ct(grown: Baseline) -> None:
    ct = np.full(SHAPE, -1000, dtype=np.int16)
    ct[:8, 8:16, 8:16], ct[8:14, 8:16, 8:16] = 30, 200
    larger = Grid.from_spacing((24, 24, 28), (2.0, 2.0, 3.0), (5.0, -40.0, 0.0))  # four slices more at the foot
    images = {"mr_t1": Volume(larger, np.zeros(larger.shape), "mr_t1"), "ct": volume(ct, "ct")}
    mask = grown(images, [Click((12, 12, 15))]).array
    np.testing.assert_array_equal(mask[4:], ct > -1000)
    assert not mask[:4].any()


def test_a_positive_ball_on_the_border_is_tumour(grown: Baseline) -> None:
    corner = (slice(0, 6), slice(0, 6), slice(0, 6))
    array = np.full(SHAPE, 1, dtype=np.float32)
    array[corner] = 9
    mask = grown({"pet": volume(array)}, [Click((0, 0, 0))]).array > 0
    assert mask[ball((0, 0, 0), SHAPE, (2, 2, 3))].all()
    assert not mask[0, 5, 5]  # background, since the user's brush painted the layer there
    assert not mask[7:].any()


def test_images_of_one_slice_have_their_balls(grown: Baseline) -> None:
    mask = grown({"ct": volume(np.zeros((1, 12, 12)), "ct")}, [Click((5, 6, 0))])
    np.testing.assert_array_equal(mask.array, ball((5, 6, 0), (1, 12, 12), (2, 2, 3)))


def test_grow_cut_needs_an_image_and_slicer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="at least one image"):
        grow_cut({}, [])
    monkeypatch.setitem(sys.modules, "slicer", None)
    with pytest.raises(TumorSegError, match="pip install slicer-core"):
        grow_cut({"pet": volume(blobs())}, [Click((6, 9, 8))])


def test_threshold_takes_the_connected_uptake() -> None:
    array = blobs(first=10, second=4.2)
    array[APART] = 4
    array[5:13, 6:14, 24] = 10  # hot, but apart
    assert pet_threshold({"pet": volume(array)}, [Click((6, 9, 8))]).array.sum() == where(FIRST, SECOND).sum()
    # 4 is 40 % of the largest value near, so the gap counts at 40 % and not at 41 %.
    wider = pet_threshold({"pet": volume(array)}, [Click((6, 9, 8))], share=0.4).array
    np.testing.assert_array_equal(wider, where(FIRST, SECOND, APART))
    every = pet_threshold({"pet": volume(array)}, [Click((6, 9, 8)), Click((24, 9, 8))]).array
    edge = (slice(5, 13), slice(6, 14), slice(24, 25))
    np.testing.assert_array_equal(every, where(FIRST, SECOND, edge) | ball((24, 9, 8), SHAPE, (2, 2, 3)))


def test_threshold_is_of_the_largest_value_within_20_mm() -> None:
    """Spacing decides: 10 voxels of 2 mm along i are near, 7 of 3 mm along k are not."""
    for offset, near in (((10, 0, 0), True), ((11, 0, 0), False), ((0, 0, 6), True), ((0, 0, 7), False)):
        array = np.full(SHAPE, 0.5, dtype=np.float32)
        array[5:13, 6:14, 3:11] = 4
        i, j, k = np.add((6, 9, 8), offset)
        array[k, j, i] = 10
        found = pet_threshold({"pet": volume(array)}, [Click((6, 9, 8))]).array
        assert bool(found[5, 6, 3]) is not near  # a far corner of what is 40 % of the hot voxel
        assert bool(found[k, j, i]) is near


def test_the_uptake_is_the_one_clicked_at_and_joined_by_faces() -> None:
    array = np.full(SHAPE, 1, dtype=np.float32)
    array[FIRST] = 6
    array[13, 14, 11] = 6  # touches it by a corner
    array[5:13, 6:14, 13:15] = 9  # hotter, near and apart
    np.testing.assert_array_equal(pet_threshold({"pet": volume(array)}, [Click((6, 9, 8))]).array, where(FIRST))


def test_a_click_below_the_threshold_finds_the_hottest_voxel() -> None:
    array = np.full(SHAPE, 1, dtype=np.float32)
    array[FIRST] = 8
    array[7:11, 8:12, 5:9] = 0.5  # necrosis
    array[APART] = 7.9  # within reach of neither the click nor the uptake
    expected = where(FIRST)
    expected[7:11, 8:12, 5:9] = 0
    expected |= ball((6, 9, 8), SHAPE, (2, 2, 3))
    np.testing.assert_array_equal(pet_threshold({"pet": volume(array)}, [Click((6, 9, 8))]).array, expected)


def test_without_uptake_the_ball_is_left() -> None:
    for value in (0.0, -0.5):
        found = pet_threshold({"pet": volume(np.full(SHAPE, value))}, [Click((10, 12, 9))]).array
        np.testing.assert_array_equal(found, ball((10, 12, 9), SHAPE, (2, 2, 3)))


def test_a_negative_click_takes_its_ball_out() -> None:
    found = pet_threshold({"pet": volume(blobs())}, [Click((5, 9, 8), False), Click((8, 9, 8))]).array > 0
    out = ball((5, 9, 8), SHAPE, (2, 2, 3)) & ~ball((8, 9, 8), SHAPE, (2, 2, 3))
    np.testing.assert_array_equal(found, (where(FIRST, SECOND) > 0) & ~out)


def test_threshold_checks_its_arguments() -> None:
    with pytest.raises(RoleError, match="needs the role 'pet', got ct"):
        pet_threshold({"ct": volume(blobs(), "ct")}, [])
    for share in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(ArgumentError, match=f"above 0 and at most 1, got {share}"):
            pet_threshold({"pet": volume(blobs())}, [], share=share)


@pytest.mark.data
@pytest.mark.parametrize("baseline", [grow_cut, pet_threshold], indirect=True)
def test_one_click_finds_a_real_tumour(baseline: Baseline, data_root: Path) -> None:
    folder = data_root / "sts"
    case = read_case(folder, "STS_010", ("ct", "pet"))
    case = case.in_jitter_window()
    truth = case.reference.array > 0
    prompt = next_click(np.zeros_like(truth), truth, case.reference.grid.spacing)
    assert prompt is not None
    i, j, k = prompt.points[0].astype(int).tolist()
    found = baseline(case.images, [Click((i, j, k), prompt.positive)]).array > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.75  # 0.84 and 0.81
