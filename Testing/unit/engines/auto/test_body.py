"""Where the body is, and which windows show it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Testing.fakes import tiny_spec
from TumorSegLib.engines.auto.body import find_body, windows_on_body
from TumorSegLib.engines.auto.sliding_window import window_starts
from TumorSegLib.engines.inputs import prepare
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.phantom.patient import make_phantom


def boxes(shape, *extents) -> np.ndarray:
    """Bool ``[k, j, i]``, True in half-open boxes ``((k0, k1), (j0, j1), (i0, i1))``."""
    marked = np.zeros(shape, bool)
    for extent in extents:
        marked[tuple(slice(*ends) for ends in extent)] = True
    return marked


def lattice(shape, size, overlap=0.25) -> list[list[int]]:
    return [window_starts(n, length, overlap) for n, length in zip(shape, size)]


TRUNK = ((0, 20), (5, 25), (10, 40))
ARM = ((0, 20), (12, 16), (1, 5))


def test_the_couch_and_noise_are_no_body_but_arms_are():
    couch, noise = ((0, 20), (30, 32), (0, 50)), ((3, 5), (2, 3), (45, 47))
    tissue = boxes((20, 40, 50), TRUNK, ARM, couch, noise)
    assert np.array_equal(find_body(tissue), boxes(tissue.shape, TRUNK, ARM))


@pytest.mark.parametrize("shape", [(20, 40, 50), (3, 40, 50), (1, 3, 3)])
def test_all_of_an_image_without_air_is_body(shape):
    assert find_body(np.ones(shape, bool)).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_the_border_cuts_off_is_body(axis):
    tissue = np.zeros((12, 12, 12), bool)
    np.moveaxis(tissue, axis, 0)[:1] = True
    assert np.array_equal(find_body(tissue), tissue)


def test_all_counts_where_everything_is_thin():
    tissue = boxes((20, 20, 20), ((5, 7), (5, 15), (5, 15)))
    assert np.array_equal(find_body(tissue), tissue)
    assert not find_body(np.zeros((4, 5, 6), bool)).any()


def test_a_window_is_computed_where_the_body_comes_near_its_centre():
    """Windows of 20 voxels at 0, 15, 30 and 32 of 52: between their centres lie 17, 32 and 41, and the margin is 4."""
    starts, size = lattice((1, 1, 52), (1, 1, 20)), (1, 1, 20)
    assert starts == [[0], [0], [0, 15, 30, 32]]
    of_window: list[list[int]] = [[], [], [], []]
    for i in range(52):
        needed = windows_on_body(boxes((1, 1, 52), ((0, 1), (0, 1), (i, i + 1))), starts, size)
        for window in np.flatnonzero(needed):
            of_window[window].append(i)
    assert of_window == [[*range(20)], [*range(15, 35)], [*range(30, 45)], [*range(37, 52)]]


def test_a_thousandth_of_a_window_is_the_least():
    starts, size = lattice((20, 20, 20), (20, 20, 20)), (20, 20, 20)
    assert not windows_on_body(boxes((20, 20, 20), ((4, 5), (4, 5), (0, 7))), starts, size).any()
    assert windows_on_body(boxes((20, 20, 20), ((4, 5), (4, 5), (0, 8))), starts, size).all()


def test_windows_inside_the_lungs_are_computed_and_those_between_body_and_arm_are_not():
    size, shape = (4, 4, 4), (4, 40, 60)
    ring = boxes(shape, ((0, 4), (8, 32), (8, 32))) & ~boxes(shape, ((0, 4), (12, 28), (12, 28)))
    arm = boxes(shape, ((0, 4), (16, 24), (48, 56)))
    needed = windows_on_body(ring | arm, lattice(shape, size, 0), size)[0]
    expected = np.zeros((10, 15), bool)
    expected[2:8, 2:8] = True  # the ring and what it encloses
    expected[4:6, 12:14] = True
    assert np.array_equal(needed, expected)


@settings(max_examples=60, deadline=None)
@given(
    extent=st.tuples(*[st.tuples(st.integers(0, 30), st.integers(3, 30)) for _ in range(3)]),
    size=st.tuples(*[st.integers(1, 12)] * 3),
    overlap=st.sampled_from([0, 0.25, 0.5, 0.75]),
)
def test_computed_windows_cover_a_body_but_for_a_little_of_its_edge(extent, size, overlap):
    body = boxes((30, 30, 30), [(low, low + length) for low, length in extent])
    starts, covered = lattice(body.shape, size, overlap), np.zeros_like(body)
    needed = windows_on_body(body, starts, size)
    for place in np.argwhere(needed):
        covered[tuple(slice(s[n], s[n] + length) for s, n, length in zip(starts, place, size))] = True
    assert (body & ~covered).sum() <= 0.001 * np.prod(size) * (~needed).sum()


@pytest.mark.parametrize("roles", [("ct",), ("pet",), ("mr_t1",), ("ct", "pet"), ("ct", "pet", "mr_t1")], ids="+".join)
def test_the_windows_of_a_phantom_hold_its_body_whatever_images_there_are(roles):
    phantom = make_phantom(1, spacing_mm=(4, 4, 4), shape=(48, 96, 96))
    spec = tiny_spec("three", ["ct", "pet", "mr_t1"], optional=["ct", "pet", "mr_t1"], spacing_mm=(4, 4, 4))
    size = (16, 16, 16)
    tissue = prepare({role: phantom.images[role] for role in roles}, spec).tissue
    starts = lattice(tissue.shape, size)
    needed, covered = windows_on_body(find_body(tissue), starts, size), np.zeros_like(tissue)
    for place in np.argwhere(needed):
        covered[tuple(slice(s[n], s[n] + length) for s, n, length in zip(starts, place, size))] = True
    assert not needed.all()
    assert covered[tissue & (phantom.tissues.array > 0)].mean() > 0.995
    assert covered[phantom.tumour.array > 0].all()


def test_a_lone_couch_costs_no_windows_beside_a_trunk():
    array = np.full((16, 96, 96), -1000, np.float32)
    array[:, 20:60, 24:72] = 40  # a trunk
    array[:, 88:90] = 0  # a couch
    image = Volume(Grid.from_spacing(array.shape, (1, 1, 1)), array, "ct")
    tissue = prepare({"ct": image}, tiny_spec()).tissue
    assert tissue[:, 88:90].all()
    needed = windows_on_body(find_body(tissue), lattice(array.shape, (16, 16, 16), 0), (16, 16, 16))
    assert needed.shape == (1, 6, 6)
    assert not needed[0, 4:].any()
    assert needed[0, 1:4, 1:5].all()
