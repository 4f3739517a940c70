"""Training samples: right shape, right place, right values, reproducible, and silent about where the tumour lay."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from Testing.fakes import noise_volume, tiny_spec
from training.data.augment import Augmentation, choose_roles, draw_sample, random_window
from training.data.cases import Case, coarsened
from TumorSegLib.engines.inputs import prepare
from TumorSegLib.geometry.boxes import full_box
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.models.spec import ModelSpec

ROLES = ("ct", "pet", "mr_t1")
#: Nothing but mirroring, which is always on; the window is the whole image, the patch centred on a tumour voxel.
PLAIN = Augmentation(
    tumour_share=1.0,
    window_margin_mm=1e6,
    cut_share=0.0,
    rotation_degrees=(0.0, 0.0, 0.0),
    scale=(1.0, 1.0),
    elastic_share=0.0,
    noise_share=0.0,
    blur_share=0.0,
    suv_factor=1.0,
    gain={},
    offset={},
)
FLIPS = [axes for n in range(4) for axes in combinations((1, 2, 3), n)]


def make_case(shape: tuple[int, int, int], spacing: float, tumour: tuple[slice, slice, slice]) -> Case:
    grid = Grid.from_spacing(shape, (spacing,) * 3, (5, -20, 100), np.diag([-1.0, -1.0, 1.0]))
    labels = np.zeros(shape, np.uint8)
    labels[tumour] = 1
    images = {role: noise_volume(grid, role, seed) for seed, role in enumerate(ROLES)}
    return Case("case", images, Mask(grid, labels), full_box(shape))


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case((31, 33, 35), 2.0, (slice(14, 16), slice(15, 17), slice(16, 19)))


def spec_of(patch: tuple[int, int, int], spacing: float, **changes: object) -> ModelSpec:
    return tiny_spec(roles=ROLES, optional=ROLES, patch=patch, spacing_mm=(spacing,) * 3, **changes)


def test_shapes_and_types(case: Case) -> None:
    spec = spec_of((8, 12, 10), 3.0)
    images, labels = draw_sample(case, spec, Augmentation(), np.random.default_rng(0))
    assert (images.shape, images.dtype) == ((3, 8, 12, 10), torch.float32)
    assert (labels.shape, labels.dtype) == ((8, 12, 10), torch.int64)
    assert torch.isfinite(images).all()
    assert set(labels.unique().tolist()) <= {0, 1}


def test_samples_depend_on_the_seed(case: Case) -> None:
    spec, strengths = spec_of((8, 12, 10), 3.0), replace(Augmentation(), elastic_share=1, noise_share=1, blur_share=1)
    first, again, other = (draw_sample(case, spec, strengths, np.random.default_rng([4, seed])) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_unaugmented_sample_is_a_mirrored_part_of_the_input_of_inference(case: Case) -> None:
    """Same voxel size and an odd patch: every patch voxel is an image voxel, so the values must be equal."""
    spec = spec_of((9, 11, 13), 2.0)
    channels = torch.from_numpy(prepare(case.images, spec).array)
    truth = torch.from_numpy(case.reference.array.astype(np.int64))
    parts = [
        (at, flip)
        for k, j, i in np.argwhere(case.reference.array).tolist()
        for at in [(slice(k - 4, k + 5), slice(j - 5, j + 6), slice(i - 6, i + 7))]
        for flip in FLIPS
    ]
    found = set()
    for seed in range(40):
        images, labels = draw_sample(case, spec, PLAIN, np.random.default_rng(seed))
        matches = [
            flip
            for at, flip in parts
            if torch.equal(labels[None].flip(flip)[0], truth[at])
            and torch.allclose(images.flip(flip), channels[(slice(None), *at)], atol=2e-4)
        ]
        assert len(matches) == 1
        found.add(matches[0])
    assert found == set(FLIPS)  # all eight mirror images occur


def test_other_voxel_size_agrees_with_inference() -> None:
    """From 2 mm to 3 mm about voxel 16 = 3 * 5 + 1, so that the patch falls onto the lattice of inference."""
    spec, case = spec_of((8, 8, 8), 3.0), make_case((36, 36, 36), 2.0, (slice(16, 17),) * 3)
    channels = prepare(case.images, spec)
    centre = channels.grid.to_ijk(case.reference.grid.to_ras((16, 16, 16)))
    np.testing.assert_allclose(centre, 10.5, atol=1e-9)
    expected = torch.from_numpy(channels.array[:, 7:15, 7:15, 7:15].copy())
    for seed in range(8):
        images, _ = draw_sample(case, spec, PLAIN, np.random.default_rng(seed))
        assert min((images.flip(flip) - expected).abs().max().item() for flip in FLIPS) < 2e-4


def test_noise_of_fine_voxels_is_averaged_as_in_inference() -> None:
    """1 mm voxels at a 3 mm model: 27 are averaged, in HU or SUV, and so the noise must be a fifth."""
    rng, grid = np.random.default_rng(0), Grid.from_spacing((63, 63, 63), (1.0, 1.0, 1.0))
    centre, noise = np.zeros(grid.shape, np.uint8), rng.normal(0, 30, grid.shape).astype(np.float32)
    centre[30:33, 30:33, 30:33] = 1
    images = {"ct": Volume(grid, 40 + noise, "ct"), "pet": Volume(grid, np.abs(noise / 10), "pet")}
    case, spec = Case("fine", images, Mask(grid, centre), full_box(grid.shape)), spec_of((15, 15, 15), 3.0)
    sample, labels = draw_sample(coarsened(case, spec.volume_input.spacing_mm), spec, PLAIN, np.random.default_rng(1))
    seen = torch.from_numpy(prepare(images, spec).array[:, 3:18, 3:18, 3:18].copy())
    assert seen[0].std() == pytest.approx(0.3 / 27**0.5, rel=0.05)
    torch.testing.assert_close(sample.std(dim=(1, 2, 3)), seen.std(dim=(1, 2, 3)), rtol=1e-3, atol=1e-6)
    assert min((sample.flip(flip) - seen).abs().max().item() for flip in FLIPS) < 2e-4
    assert labels.sum() == 1


def test_voxels_outside_the_image_are_filled_as_in_inference() -> None:
    """A patch larger than the image: each channel is its fill value all round, and no label lies there."""
    case, spec = make_case((8, 8, 8), 2.0, (slice(4, 5),) * 3), spec_of((32, 32, 32), 2.0)
    images, labels = draw_sample(case, spec, PLAIN, np.random.default_rng(0))
    for role, channel in zip(spec.roles, images):
        fill = spec.volume_input.normalisation[role].fill
        np.testing.assert_allclose(channel[:3].numpy(), fill, atol=1e-6)
        assert (channel - fill).abs().max() > 0.1
    assert labels[:3].sum() == 0


@pytest.mark.parametrize("magnification", [0.6, 1.6])
def test_scale_is_a_magnification(magnification: float) -> None:
    case, spec = make_case((40, 40, 40), 2.0, (slice(12, 28),) * 3), spec_of((45, 45, 45), 2.0)
    strengths = replace(PLAIN, scale=(magnification, magnification), role_subsets={"ct": 1.0})
    _, labels = draw_sample(case, spec, strengths, np.random.default_rng(1))
    assert labels.sum().item() == pytest.approx(16**3 * magnification**3, rel=0.2)


def test_rotation_turns_about_the_axis_asked_for() -> None:
    """A rod along i, turned by at most 40 degrees about k, stays in its slices, keeps its volume, leaves its row."""
    rod = (slice(18, 22), slice(18, 22), slice(8, 32))
    case, spec = make_case((40, 40, 40), 2.0, rod), spec_of((9, 61, 61), 2.0)
    strengths, angles = replace(PLAIN, rotation_degrees=(0.0, 0.0, 40.0)), []
    for seed in range(6):
        _, labels = draw_sample(case, spec, strengths, np.random.default_rng(seed))
        k, j, i = torch.nonzero(labels, as_tuple=True)
        assert len(k) == pytest.approx(4 * 4 * 24, rel=0.06)
        assert len(k.unique()) == 4
        angles.append(np.degrees(np.arctan(np.polyfit(i.numpy(), j.numpy(), 1)[0])))
    assert 15 < np.abs(angles).max() < 41


def test_elastic_deformation_bends_by_no_more_than_its_strength(case: Case) -> None:
    spec = spec_of((32, 32, 32), 2.0)
    _, straight = draw_sample(case, spec, PLAIN, np.random.default_rng(3))
    strengths = replace(PLAIN, elastic_share=1.0, elastic_mm=4.0)
    shifts = []
    for seed in range(5):
        _, bent = draw_sample(case, spec, strengths, np.random.default_rng(seed))
        centre = torch.nonzero(bent).float().mean(dim=0) * 2
        shifts.append((centre - 31).abs().max().item())
    assert straight.sum() > 0
    assert max(shifts) > 0.3
    assert max(shifts) < 4 * 1.8 + 4  # displaced, then centred on a voxel up to 4 mm from the tumour's middle


def test_suv_factor_multiplies_pet_alone(case: Case) -> None:
    spec, strengths = spec_of((9, 9, 9), 2.0), replace(PLAIN, suv_factor=1.5)
    factors = []
    for seed in range(12):
        plain = draw_sample(case, spec, PLAIN, np.random.default_rng(seed))[0]
        images = draw_sample(case, spec, strengths, np.random.default_rng(seed))[0]
        assert torch.equal(images[0], plain[0])
        assert torch.equal(images[2], plain[2])
        factors.append((torch.expm1(images[1]).mean() / torch.expm1(plain[1]).mean()).item())
    assert min(factors) < 0.85
    assert max(factors) > 1.15
    assert 1 / 1.51 < min(factors) < max(factors) < 1.51


def test_gain_offset_noise_and_blur_act(case: Case) -> None:
    spec = spec_of((16, 16, 16), 2.0)
    plain = draw_sample(case, spec, PLAIN, np.random.default_rng(5))[0]
    shifted = draw_sample(case, spec, replace(PLAIN, gain={"linear": 0.3}), np.random.default_rng(5))[0]
    ratio = shifted[0] / plain[0]
    assert ratio.std() < 1e-3
    assert 0.7 <= ratio.mean() <= 1.3
    assert abs(ratio.mean() - 1) > 1e-3
    assert torch.equal(shifted[1:], plain[1:])
    noisy = draw_sample(case, spec, replace(PLAIN, noise_share=1.0, noise=0.2), np.random.default_rng(5))[0]
    assert 0 < (noisy[0] - plain[0]).std() < 0.21
    blurred = draw_sample(case, spec, replace(PLAIN, blur_share=1.0), np.random.default_rng(5))[0]
    assert blurred[0].diff(dim=0).abs().mean() < plain[0].diff(dim=0).abs().mean()


def test_roles_hidden_or_missing_are_zero(case: Case) -> None:
    hidden = replace(Augmentation(), role_subsets={"pet": 1.0})
    only_pet = Case("b", {"pet": case.images["pet"]}, case.reference, case.jitter_window)
    for drawn_from, strengths in ((case, hidden), (only_pet, Augmentation())):
        for seed in range(5):
            images, _ = draw_sample(drawn_from, spec_of((8, 8, 8), 3.0), strengths, np.random.default_rng(seed))
            assert (images[[0, 2]] == 0).all()
            assert images[1].abs().max() > 0


def test_samples_of_several_labels() -> None:
    case = make_case((31, 31, 31), 2.0, (slice(14, 17),) * 3)
    labels = case.reference.array.copy()
    labels[16] *= 2
    case = Case("two", case.images, Mask(case.reference.grid, labels), case.jitter_window)
    _, drawn = draw_sample(
        case, spec_of((21, 21, 21), 2.0, labels={"core": 1, "rim": 2}), PLAIN, np.random.default_rng(0)
    )
    assert [(drawn == n).sum().item() for n in (1, 2)] == [18, 9]


def test_between_labels_that_touch_is_no_background() -> None:
    """Between two voxels either label has a half: together they are what one label in their place would be."""
    one = make_case((24, 24, 24), 2.0, (slice(6, 18),) * 3)
    halves = one.reference.array.copy()
    halves[:, :, 12:] *= 2
    two = Case("halves", one.images, Mask(one.reference.grid, halves), one.jitter_window)
    found = set()
    for seed in range(20):
        drawn = [
            draw_sample(case, spec_of((8, 8, 8), 2.0, labels=labels), PLAIN, np.random.default_rng(seed))[1]
            for case, labels in ((one, {"whole": 1}), (two, {"anterior": 1, "posterior": 2}))
        ]
        assert torch.equal(drawn[0] > 0, drawn[1] > 0)
        found.add(tuple(drawn[1].unique().tolist()))
    assert (0, 1, 2) in found


def test_case_without_tumour_is_drawn_from_anywhere() -> None:
    case = make_case((20, 20, 20), 2.0, (slice(0, 0),) * 3)
    _, labels = draw_sample(case, spec_of((8, 8, 8), 3.0), Augmentation(), np.random.default_rng(0))
    assert labels.sum() == 0


def test_role_subsets_occur_as_often_as_asked() -> None:
    rng, subsets = np.random.default_rng(0), {"ct+pet+mr_t1": 2.0, "ct+pet": 1.0, "mr_t1": 1.0}
    drawn = ["+".join(sorted(choose_roles(ROLES, subsets, rng))) for _ in range(4000)]
    shares = {name: drawn.count(name) / len(drawn) for name in set(drawn)}
    assert shares == pytest.approx({"ct+mr_t1+pet": 0.5, "ct+pet": 0.25, "mr_t1": 0.25}, abs=0.03)


def test_role_subsets_of_a_case_that_lacks_roles() -> None:
    rng, subsets = np.random.default_rng(0), {"ct+pet": 1.0, "pet": 1.0, "mr_t1": 2.0}
    drawn = {"+".join(sorted(choose_roles(("ct", "pet"), subsets, rng))) for _ in range(50)}
    assert drawn == {"ct+pet", "pet"}
    assert choose_roles(("us",), subsets, rng) == {"us"}
    assert choose_roles(("ct", "pet"), {}, rng) == {"ct", "pet"}
    assert choose_roles(("ct", "pet"), {"ct": 0.0}, rng) == {"ct", "pet"}


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, int, int], tuple[slice, ...]]:
    shape = [draw(st.integers(1, 24)) for _ in range(3)]
    lows = [draw(st.integers(0, n - 1)) for n in shape]
    highs = [draw(st.integers(low + 1, n)) for low, n in zip(lows, shape)]
    return (shape[0], shape[1], shape[2]), tuple(slice(low, high) for low, high in zip(lows, highs))


@settings(max_examples=60, deadline=None)
@given(boxes(), st.floats(0, 12), st.integers(0, 1000), st.booleans())
def test_windows_lie_in_the_image_and_hold_the_tumour(
    place: tuple[tuple[int, int, int], tuple[slice, ...]], margin: float, seed: int, cut: bool
) -> None:
    shape, tumour = place
    grid = Grid.from_spacing(shape, (2, 2, 2))
    labels = np.zeros(shape, np.uint8)
    labels[tumour] = 1
    case = Case("case", {}, Mask(grid, labels), full_box(shape))
    strengths = Augmentation(window_margin_mm=margin, cut_share=float(cut))
    window = random_window(case, strengths, np.random.default_rng(seed))
    for (low, high), n, part in zip(window, grid.size, tumour[::-1]):
        assert 0 <= low < high <= n
        if cut:
            third = (part.stop - part.start) // 3
            assert low <= part.start + third
            assert high >= part.stop - third
        else:
            assert low <= max(part.start - int(np.ceil(margin / 2)), 0)
            assert high >= min(part.stop + int(np.ceil(margin / 2)), n)


@pytest.mark.parametrize("first", [4, 25, 46])
def test_tumour_position_is_spread_over_random_windows(first: int) -> None:
    """Wherever the tumour sits in the image, its centre is spread over the window on every axis."""
    part = slice(first, first + 10)
    grid, labels = Grid.from_spacing((60, 60, 60), (2, 2, 2)), np.zeros((60, 60, 60), np.uint8)
    labels[part, part, part] = 1
    case, rng = Case("case", {}, Mask(grid, labels), full_box(grid.shape)), np.random.default_rng(0)
    windows = np.array([random_window(case, replace(Augmentation(), cut_share=0.0), rng) for _ in range(200)])
    place = (first + 5 - windows[..., 0]) / (windows[..., 1] - windows[..., 0])
    assert (place.std(axis=0) > 0.09).all()  # a window fixed in the image has 0
    assert (np.ptp(place, axis=0) > 0.35).all()
    assert np.abs(np.corrcoef(place.T) - np.eye(3)).max() < 0.25  # axes are independent


def test_windows_may_cut_the_tumour(case: Case) -> None:
    (i0, i1), _, _ = case.reference.bounding_box() or ((0, 0),) * 3
    strengths, rng = replace(Augmentation(), cut_share=1.0), np.random.default_rng(0)
    windows = [random_window(case, strengths, rng) for _ in range(300)]
    assert any(window[0][0] > i0 or window[0][1] < i1 for window in windows)


def test_patches_are_centred_on_the_tumour_as_often_as_asked() -> None:
    """In a large image a patch of a few voxels holds the one tumour voxel only when it is centred there."""
    case, spec = make_case((24, 24, 24), 2.0, (slice(12, 13),) * 3), spec_of((3, 3, 3), 2.0)
    strengths = replace(PLAIN, tumour_share=0.3, role_subsets={"ct": 1.0})
    with_tumour = [
        draw_sample(case, spec, strengths, np.random.default_rng(seed))[1].sum().item() > 0 for seed in range(120)
    ]
    assert np.mean(with_tumour) == pytest.approx(0.3, abs=0.1)
