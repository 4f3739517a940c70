"""Batches of independent samples: as many as asked for, the same whatever the threads, drawn from the right pool."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import training.data.batches
from Testing.training.training_runs import same, threads_during
from training.config.train import Configuration, DataSettings
from training.data.augment import TrainingSample
from training.data.batches import Pools, Samples
from training.data.cases import Case, read_case

Configured = Callable[..., Configuration]


def pools_of(data: Path, *names: str) -> Pools:
    return Pools([read_case(data, name, ("ct", "pet")) for name in names], [])


def test_shapes_and_types(data: Path, configured: Configured) -> None:
    batches = list(Samples(configured("batch = 1", "batch = 3"), pools_of(data, "a", "b"), 0).batches(0))
    assert len(batches) == 6
    for inputs, labels, focus in batches:
        assert (inputs.shape, inputs.dtype) == ((3, 2, 16, 16, 16), torch.float32)
        assert (labels.shape, labels.dtype) == ((3, 16, 16, 16), torch.int64)
        assert focus is None  # all voxels of a first segmentation matter alike


@pytest.mark.parametrize("first", [0, 4, 7])
def test_samples_do_not_depend_on_the_number_of_threads(data: Path, configured: Configured, first: int) -> None:
    pools = pools_of(data, "a", "b")
    one, three = (configured("steps = 6", f"steps = 7\nworkers = {n}", "batch = 1", "batch = 2") for n in (1, 3))
    expected = list(Samples(one, pools, 0).batches(0))
    assert len(expected) == 7
    assert not any(same(before, after) for before, after in pairwise(expected))
    again = list(Samples(three, pools, 0).batches(first))
    assert len(again) == 7 - first
    assert all(map(same, again, expected[first:]))


def test_samples_do_not_depend_on_the_answers_but_on_seed_and_process(data: Path, configured: Configured) -> None:
    pools = pools_of(data, "a")
    source = Samples(configured(), pools, 0)
    expected = list(source.batches(0))
    source.observe(torch.ones(1, 1, 16, 16, 16))
    source.load_state_dict(source.state_dict())
    assert all(map(same, source.batches(0), expected))
    for other in (Samples(configured(), pools, 1), Samples(configured("seed = 3", "seed = 4"), pools, 0)):
        assert not any(map(same, other.batches(0), expected))


def test_several_threads_draw_at_once(data: Path, configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(3, timeout=20)
    draw = training.data.batches.draw_sample

    def draw_with_two_others(*arguments: Any) -> TrainingSample:
        together.wait()  # raises unless three threads come
        return draw(*arguments)

    monkeypatch.setattr(training.data.batches, "draw_sample", draw_with_two_others)
    configuration = configured("batch = 1", "batch = 1\nworkers = 3")
    assert len(list(Samples(configuration, pools_of(data, "a"), 0).batches(0))) == 6


def test_a_thread_new_to_torch_keeps_the_number_of_torch_threads(data: Path, configured: Configured) -> None:
    source = Samples(configured(), pools_of(data, "a"), 0)
    assert threads_during(lambda: source.batches(0)) == 2


def test_errors_in_threads_are_raised(data: Path, configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> TrainingSample:
        raise MemoryError("no more")

    monkeypatch.setattr(training.data.batches, "draw_sample", fail)
    with pytest.raises(MemoryError, match="no more"):
        list(Samples(configured(), pools_of(data, "a"), 0).batches(0))


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_phantoms_are_drawn_as_often_as_asked(data: Path, share: float, expected: float) -> None:
    a, b, c = pools_of(data, "a", "b", "c").cases
    rng = np.random.default_rng(0)
    names = [Pools([a, b], [c]).draw(DataSettings(phantoms=1, phantom_share=share), rng).name for _ in range(400)]
    assert names.count("c") / 400 == pytest.approx(expected, abs=0.06)
    assert names.count("a") == pytest.approx(names.count("b"), abs=60)


def test_without_phantoms_patients_are_drawn_all_the_same(data: Path) -> None:
    cases: list[Case] = list(pools_of(data, "a", "b").cases)
    rng, settings = np.random.default_rng(0), DataSettings(phantoms=0, phantom_share=0.5)
    assert {Pools(cases, []).draw(settings, rng).name for _ in range(20)} == {"a", "b"}
