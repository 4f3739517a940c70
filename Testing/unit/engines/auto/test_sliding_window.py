"""Positions, blending and skipping of windows, against hand-written tables and MONAI."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from torch import nn

from Testing.fakes import tiny_network, tiny_spec
from TumorSegLib.engines.auto import sliding_window
from TumorSegLib.engines.auto.sliding_window import Maps, WindowPlan, gaussian_weights, predict, window_starts
from TumorSegLib.engines.networks.unets import probabilities
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ArgumentError, Cancelled
from TumorSegLib.jobs import Job

CPU = Runtime(torch.device("cpu"), torch.float32)
# Results are float16: rounding moves a probability by 2^-12 at most.
HALF = 2**-12 + 1e-5


class Function(nn.Module):
    """A network without weights that counts its windows."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.windows = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.windows += images.shape[0]
        return self.function(images)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(network: nn.Module, channels: torch.Tensor, plan: WindowPlan, tissue=None, **reports) -> Maps:
    tissue = np.ones(channels.shape[1:], bool) if tissue is None else tissue
    return predict(network, channels, tissue, plan, CPU, Job(**reports))


@pytest.mark.parametrize(
    ("length", "size", "overlap", "starts"),
    [
        (10, 4, 0.5, [0, 2, 4, 6]),
        (11, 4, 0.5, [0, 2, 4, 6, 7]),
        (10, 4, 0, [0, 4, 6]),
        (8, 4, 0, [0, 4]),
        (9, 4, 0.75, [0, 1, 2, 3, 4, 5]),
        (4, 4, 0.5, [0]),
        (3, 4, 0.5, [0]),
        (5, 4, 0.99, [0, 1]),
        (6, 1, 0.9, [0, 1, 2, 3, 4, 5]),
        (100, 48, 0.5, [0, 24, 48, 52]),
    ],
)
def test_starts_by_hand(length, size, overlap, starts):
    assert window_starts(length, size, overlap) == starts


@given(st.integers(1, 300), st.integers(1, 100), st.floats(0, 0.999))
def test_windows_cover_the_axis_with_at_least_the_overlap(length, size, overlap):
    starts = window_starts(length, size, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(length - size, 0)
    steps = np.diff(starts)
    assert (steps > 0).all()
    # A step of one voxel is the smallest there is, at any overlap.
    assert ((steps <= size * (1 - overlap)) | (steps == 1)).all()


def test_weights_are_a_gaussian_of_an_eighth_with_a_floor():
    weights = gaussian_weights((9, 8, 1)).numpy()
    assert weights.shape == (9, 8, 1)
    assert weights.max() == 1
    assert weights[4, 3, 0] == weights[4, 4, 0] == 1  # an even axis has two middles
    assert weights[5, 3, 0] == pytest.approx(math.exp(-0.5 * (1 / (9 / 8)) ** 2))
    assert weights[4, 2, 0] == pytest.approx(math.exp(-0.5 * (1.5**2 - 0.5**2)))
    assert weights.min() == pytest.approx(1e-3)
    assert np.array_equal(weights, weights[::-1, ::-1])


@pytest.mark.parametrize("overlap", [-0.1, 1, 1.5, math.nan])
def test_an_impossible_overlap_is_refused(overlap):
    with pytest.raises(ArgumentError, match=f"overlap must be at least 0 and below 1, got {overlap}"):
        WindowPlan((4, 4, 4), overlap)


def test_blending_of_two_windows_agrees_with_the_table():
    # Two windows of four voxels on six: the first is 0.2 everywhere, the second 0.8. Sigma is half a voxel, so the
    # weights are exp(-4.5) / exp(-0.5) = 0.0183 at the ends and 1 in the middle.
    line = torch.tensor([math.log(0.2 / 0.8), 0, math.log(0.8 / 0.2), 0, 0, 0]).reshape(1, 1, 1, 6)
    network = Function(lambda x: x[..., :1].expand_as(x))
    maps = run(network, line, WindowPlan((1, 1, 4), 0.5))
    assert network.windows == maps.windows == 2
    assert maps.probability[0, 0] == pytest.approx([0.2, 0.2, 0.2108, 0.7892, 0.8, 0.8], abs=HALF)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(5, 14)] * 3),
    size=st.tuples(*[st.integers(1, 5)] * 3),
    overlap=st.sampled_from([0, 0.25, 0.5, 0.7]),
    batch=st.integers(1, 4),
)
def test_windows_of_any_size_and_overlap_reproduce_the_output_of_an_identity(shape, size, overlap, batch):
    channels = noise(1, *shape) * 3
    maps = run(nn.Identity(), channels, WindowPlan(size, overlap, batch))
    assert maps.probability == pytest.approx(torch.sigmoid(channels[0]).numpy(), abs=HALF)
    assert maps.skipped == 0
    assert maps.windows == math.prod(len(window_starts(n, s, overlap)) for n, s in zip(shape, size))
    assert (maps.label == 1).all()
    assert maps.entropy is None


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("size", [(7, 9, 11), (8, 16, 12)], ids=str)
def test_agrees_with_monai(size, overlap):
    """MONAI applies the floor before it scales weights to a maximum of one, so even windows need our weights."""
    even = size[0] % 2 == 0
    network = tiny_network(tiny_spec("two", ["ct", "pet"])) if even else nn.Conv3d(2, 1, 3, padding=1)
    network.requires_grad_(False)
    channels = noise(2, 21, 30, 26)
    options = {"mode": "gaussian", "sigma_scale": 0.125, "roi_weight_map": gaussian_weights(size) if even else None}
    expected = sliding_window_inference(
        channels[None], size, 1, lambda x: torch.sigmoid(network(x)), overlap=overlap, **options
    )[0, 0].numpy()
    assert np.ptp(expected) > 0.1
    assert run(network, channels, WindowPlan(size, overlap)).probability == pytest.approx(expected, abs=HALF)


def test_windows_without_tissue_are_skipped_and_zero():
    """Fewer than a thousandth of a window's voxels are noise, no tissue."""
    tissue = np.zeros((12, 12, 12), bool)
    network, channels = Function(lambda x: x), torch.full((1, 12, 12, 12), 3.0)
    maps = run(network, channels, WindowPlan((4, 4, 4), 0.5, mirror=True), tissue)
    assert (network.windows, maps.skipped) == (0, 125)
    assert maps.entropy is not None
    assert not maps.probability.any() | maps.entropy.any()
    tissue[1, 2, 3] = True
    assert run(network, channels, WindowPlan((12, 12, 12)), tissue).skipped == 1
    maps = run(network, channels, WindowPlan((4, 4, 4), 0), tissue)
    assert (network.windows, maps.windows, maps.skipped) == (1, 27, 26)
    expected = np.zeros((12, 12, 12))
    expected[:4, :4, :4] = 1 / (1 + math.exp(-3))
    assert maps.probability == pytest.approx(expected, abs=HALF)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 11)] * 3), max_size=3), st.integers(1, 3))
def test_progress_counts_up_to_all_windows(voxels, batch):
    tissue = np.zeros((12, 12, 12), bool)
    for voxel in voxels:
        tissue[voxel] = True
    reports: list[tuple[int, int]] = []
    plan = WindowPlan((4, 4, 4), 0.5, batch)
    run(nn.Identity(), noise(1, 12, 12, 12), plan, tissue, progress=lambda *numbers: reports.append(numbers))
    done = [n for n, _ in reports]
    assert done == sorted(set(done))
    assert reports[-1] == (125, 125)
    assert {total for _, total in reports} == {125}


@pytest.mark.parametrize("nth", [1, 2, 7])
def test_cancelling_stops_before_the_next_window(nth):
    network, calls = Function(lambda x: x), []
    with pytest.raises(Cancelled, match=f"cancelled after {nth - 1} of 27 windows"):
        run(network, noise(1, 8, 8, 8), WindowPlan((4, 4, 4), 0.5), cancel=lambda: calls.append(0) or len(calls) == nth)
    assert network.windows == nth - 1


def test_cancelling_stops_between_the_mirror_images_of_a_window():
    network = Function(lambda x: x)
    with pytest.raises(Cancelled, match="cancelled within a window"):
        run(network, noise(1, 4, 4, 4), WindowPlan((4, 4, 4), mirror=True), cancel=lambda: network.windows == 3)
    assert network.windows == 3  # of the eight images of the only window


@pytest.mark.usefixtures("two_threads")
def test_an_interruption_stops_the_windows_that_other_threads_compute():
    begun, go_on, computed = threading.Event(), threading.Event(), []

    def slow(images: torch.Tensor) -> torch.Tensor:
        computed.append(images.shape)
        if images.max() > 0:  # not the first window
            begun.set()
            go_on.wait(30)
        return images

    def interrupt(done: int, total: int) -> None:
        assert begun.wait(30)
        threading.Timer(1, go_on.set).start()
        raise KeyboardInterrupt

    channels = torch.ones(1, 4, 4, 40)
    channels[..., :4] = 0
    with pytest.raises(KeyboardInterrupt):
        run(Function(slow), channels, WindowPlan((4, 4, 4), 0, mirror=True), progress=interrupt)
    assert len(computed) <= 8 + 2  # those of the first window, and the first of each that had begun


def test_several_labels_give_their_sum_and_the_largest():
    channels = noise(3, 10, 11, 12) * 3
    maps = run(nn.Identity(), channels, WindowPlan((4, 5, 6), 0.5))
    expected = probabilities(channels).numpy()
    assert maps.probability == pytest.approx(expected.sum(axis=0), abs=2 * HALF)
    assert np.array_equal(maps.label, expected.argmax(axis=0) + 1)
    assert maps.label.dtype == np.uint8


def cumulated(x: torch.Tensor) -> torch.Tensor:
    """Something that sees left from right along every axis."""
    return (x.cumsum(2) - 0.7 * x.cumsum(3) + 0.4 * x.cumsum(4)) / 3


@pytest.mark.parametrize("labels", [1, 2])
def test_mirroring_is_the_mean_over_eight_flips_and_gives_the_entropy(labels):
    channels = noise(labels, 6, 7, 8)
    network = Function(cumulated)
    maps = run(network, channels, WindowPlan((6, 7, 8), mirror=True))
    flips = [[axis for axis, on in enumerate(choice, 1) if on] for choice in product((0, 1), repeat=3)]
    each = [probabilities(cumulated(channels.flip(axes)[None])[0]).flip(axes).numpy() for axes in flips]
    mean = np.mean(each, axis=0)
    every = np.concatenate([1 - mean.sum(axis=0, keepdims=True), mean])
    assert network.windows == 8
    assert maps.probability == pytest.approx(mean.sum(axis=0), abs=2 * HALF)
    assert maps.entropy == pytest.approx(-(every * np.log2(every)).sum(axis=0), abs=2e-3)
    assert np.array_equal(maps.label, mean.argmax(axis=0) + 1)


def test_entropy_is_one_bit_where_nothing_is_known():
    maps = run(nn.Identity(), torch.zeros(1, 4, 4, 4), WindowPlan((4, 4, 4), mirror=True))
    assert (maps.entropy == 1).all()
    maps = run(nn.Identity(), torch.full((1, 4, 4, 4), 30.0), WindowPlan((4, 4, 4), mirror=True))
    assert maps.entropy == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("depth", [8, 40])
def test_sums_are_as_high_as_a_window_not_as_the_volume(depth, monkeypatch):
    slabs = []

    class Recorded(sliding_window._Accumulator):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            slabs.append(self)

    monkeypatch.setattr(sliding_window, "_Accumulator", Recorded)
    run(nn.Identity(), noise(2, depth, 10, 12), WindowPlan((4, 6, 6), 0.5))
    (slab,) = slabs
    assert slab.sums.shape == (2, 4, 10, 12)
    assert slab.weight.shape == (4, 10, 12)
