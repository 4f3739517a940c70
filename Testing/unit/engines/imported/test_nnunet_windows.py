"""Windows of nnU-Net: where they lie, their weights, mirror images, and sums over layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from TumorSegLib.engines.imported import windows as module
from TumorSegLib.engines.imported.windows import Windows, gaussian_weights, predict_logits, window_starts
from TumorSegLib.engines.runtime import ON_CPU
from TumorSegLib.errors import Cancelled
from TumorSegLib.jobs import Job


@pytest.mark.parametrize(
    ("length", "size", "starts"),
    [
        (64, 64, [0]),
        (110, 64, [0, 23, 46]),
        (65, 64, [0, 1]),
        (96, 64, [0, 32]),
        (97, 64, [0, 16, 33]),
        (3, 1, [0, 1, 2]),
    ],
)
def test_windows_are_spread_evenly(length: int, size: int, starts: list[int]) -> None:
    assert window_starts(length, size) == starts


def test_weights_are_a_gaussian_that_is_nowhere_zero() -> None:
    weights = gaussian_weights((8, 16, 16))
    assert weights[4, 8, 8] == 10
    assert weights.min() > 0
    # one standard deviation, 2 voxels, from the centre
    assert float(weights[4, 8, 10]) == pytest.approx(10 * np.exp(-0.5), rel=2e-3)
    assert torch.equal(gaussian_weights((1, 16, 16))[0], weights[4])


class Brightness:
    """Logits that are the input and, to see mirror images, the place along the last axis."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        place = torch.arange(batch.shape[-1], dtype=torch.float32).expand(batch[:, :1].shape)
        return torch.cat([batch[:, :1], 2 * batch[:, :1] + 1, place], dim=1)


@pytest.mark.parametrize("shape", [(5, 20, 33), (20, 8, 40), (3, 5, 7)])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_network_that_looks_at_single_voxels_gives_its_own_answer(shape: tuple[int, ...], batch: int) -> None:
    image = np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32)
    job = Job()
    logits = predict_logits(Brightness(), image, Windows((4, 8, 16), (0, 2), batch), ON_CPU, job)
    assert logits.shape == (3, *shape)
    assert np.allclose(logits[0].numpy(), image[0], atol=1e-5)
    assert np.allclose(logits[1].numpy(), 2 * image[0] + 1, atol=1e-5)
    assert np.allclose(logits[2].numpy(), 7.5, atol=1e-5)  # the mean of a window and its mirror image
    assert job.done == job.total > 0


def test_windows_meet_with_their_weights() -> None:
    """Two windows that overlap, each with its own constant answer."""
    answers = iter([torch.full((1, 1, 1, 1, 4), 1.0), torch.full((1, 1, 1, 1, 4), 5.0)])
    logits = predict_logits(
        lambda _: next(answers), np.zeros((1, 1, 1, 6), np.float32), Windows((1, 1, 4)), ON_CPU, Job()
    )
    weights = gaussian_weights((1, 1, 4))[0, 0]
    shared = [(weights[2 + n] * 1 + weights[n] * 5) / (weights[2 + n] + weights[n]) for n in (0, 1)]
    assert np.allclose(logits[0, 0, 0].numpy(), [1, 1, *shared, 5, 5], rtol=1e-5)


def test_large_logits_are_kept_as_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FLOAT32_BYTES", 100)
    image = np.random.default_rng(0).normal(0, 1, (1, 4, 8, 16)).astype(np.float32)
    logits = predict_logits(Brightness(), image, Windows((4, 8, 16)), ON_CPU, Job())
    assert logits.dtype == torch.float16
    assert np.allclose(logits[0].float().numpy(), image[0], atol=2e-3)


def test_cancelling_stops_between_windows_and_mirror_images() -> None:
    calls: list[int] = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        calls.append(len(calls))
        return batch

    job = Job(cancel=lambda: len(calls) >= 3, name="segmentation")
    with pytest.raises(Cancelled, match="segmentation was cancelled"):
        predict_logits(network, np.zeros((1, 4, 8, 64), np.float32), Windows((4, 8, 16), (0, 1, 2)), ON_CPU, job)
    assert len(calls) < 16
