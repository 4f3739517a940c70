"""Episodes: what they begin with, their zooms and targets, and how the simulated user aims."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from Testing.fakes import tiny_network
from Testing.training.episode_visits import (
    BALL_MM3,
    EMPTY,
    LONG,
    PATCH,
    PLAIN,
    SPACING_MM,
    Clicking,
    blind,
    first_visit,
    prompts_of,
    visits,
)
from Testing.training.training_runs import same
from training.clicks.episodes import POOL, Episodes
from training.clicks.simulate import largest_error, next_click
from training.data.batches import Pools
from TumorSegLib.engines.networks.unets import probabilities
from TumorSegLib.evaluation.metrics import dice


def starts(
    clicking: Clicking, pools: dict[float, Pools], kind: str, settings: str = ""
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What eight episodes begin with, and their truth."""
    text = f"starts = {{ {kind} = 1 }}\nprevious_dropout = 0\n{settings}"
    source = Episodes(clicking(text, "steps = 6", "steps = 8"), pools, 0)
    return [(batch.inputs[0, 2].numpy(), batch.labels[0].numpy() > 0) for batch, _ in visits(source, blind, POOL)]


def test_episode_start_empty(clicking: Clicking, pools: dict[float, Pools]) -> None:
    assert not any(probability.any() for probability, _ in starts(clicking, pools, "empty"))


def test_episode_start_shifted_mask(clicking: Clicking, pools: dict[float, Pools]) -> None:
    begun = starts(clicking, pools, "shifted", "shift_mm = 6")
    assert all(set(np.unique(probability)) <= {0, 1} for probability, _ in begun)
    assert sum(probability.any() for probability, _ in begun) > 4
    assert all(dice(probability > 0.5, truth) < 1 for probability, truth in begun)
    assert len({round(dice(probability > 0.5, truth), 6) for probability, truth in begun}) > 4


def test_episode_start_corrupted_probability(clicking: Clicking, pools: dict[float, Pools]) -> None:
    for probability, truth in starts(clicking, pools, "corrupted"):
        assert probability.dtype == np.float32
        assert ((probability >= 0) & (probability <= 1)).all()
        assert ((probability > 0.02) & (probability < 0.98)).any()  # soft, unlike a mask
        assert (probability > 0.5).any()
        assert 0 < dice(probability > 0.5, truth) < 1


def test_episode_start_first_stage(configured: Clicking, clicking: Clicking, pools: dict[float, Pools]) -> None:
    network = tiny_network(configured().model, seed=7)
    settings = "starts = { first_stage = 1 }\nprevious_dropout = 0"
    source = Episodes(clicking(settings, "batch = 1", "batch = 2"), pools, 0, network)
    for batch, _ in visits(source, blind, 4):
        with torch.inference_mode():
            expected = torch.stack([probabilities(network(images[None])[0])[0] for images in batch.inputs[:, :2]])
        assert expected.std() > 0.01
        torch.testing.assert_close(batch.inputs[:, 2], expected)


def test_episode_start_first_stage_is_corrupted_mask_at_another_spacing(
    configured: Clicking, clicking: Clicking, pools: dict[float, Pools]
) -> None:
    """At another spacing, or without a first stage, an episode begins with a corrupted mask in its place."""
    settings = 'zooms = { "2" = 1 }\n'
    network = tiny_network(configured().model)
    plain = [
        first_visit(clicking(settings + f"starts = {{ {kind} = 1 }}"), pools) for kind in ("first_stage", "corrupted")
    ]
    given = first_visit(clicking(settings + "starts = { first_stage = 1 }"), pools, first_stage=network)
    assert same(plain[0][0], plain[1][0])
    assert same(given[0], plain[1][0])
    none = [first_visit(clicking(f"starts = {{ {kind} = 1 }}"), pools)[0] for kind in ("first_stage", "corrupted")]
    assert same(*none)


def test_episode_starts_follow_their_frequencies(clicking: Clicking, pools: dict[float, Pools]) -> None:
    source = Episodes(clicking("starts = { empty = 3, corrupted = 1 }", "batch = 1", "batch = 20"), pools, 0)
    next(visits(source, blind, 1))
    empty = [not state["probability"].any() for state in source.state_dict()["episodes"]]
    assert np.mean(empty) == pytest.approx(0.75, abs=0.1)


@pytest.mark.parametrize(("zoom", "spacing_mm"), [("1", 2.0), ("2", 4.0)])
def test_zoom_is_a_multiple_of_the_spacing(
    clicking: Clicking, pools: dict[float, Pools], zoom: str, spacing_mm: float
) -> None:
    batch, state = first_visit(clicking(EMPTY + f'zooms = {{ "{zoom}" = 1 }}', *PLAIN), pools)
    # Labels averaged over 4 mm voxels lose a rim; an eighth or eight times the volume it would be without the zoom.
    assert 0.3 < batch.labels.sum().item() * spacing_mm**3 / BALL_MM3 < 1.3
    i, j, k = prompts_of(state)[0].points[0].astype(int)
    assert batch.inputs[0, 3, k, j, i + 1].item() == pytest.approx(np.exp(-spacing_mm / 10))


def test_zooms_follow_their_frequencies(clicking: Clicking, pools: dict[float, Pools]) -> None:
    settings = EMPTY + 'zooms = { "1" = 1, "2" = 1 }'
    source = Episodes(clicking(settings, *PLAIN, "batch = 1", "batch = 20", "steps = 6", "steps = 8"), pools, 0)
    counts = [int(labels.sum()) for batch, _ in visits(source, blind, 8) for labels in batch.labels]
    assert np.mean([count > 100 for count in counts]) == pytest.approx(0.5, abs=0.12)


def test_small_tumours(clicking: Clicking, pools: dict[float, Pools]) -> None:
    small, _ = first_visit(clicking(EMPTY + "small_share = 1\nsmall_scale = [0.5, 0.5]", *PLAIN), pools)
    assert small.labels.sum().item() * 2.0**3 == pytest.approx(BALL_MM3 / 8, rel=0.3)


def test_warped_target_leaves_the_images_unchanged(clicking: Clicking, pools: dict[float, Pools]) -> None:
    plain, moved = (
        first_visit(clicking(EMPTY + f"warp_share = 1\nwarp_mm = {most}\nwarp_length_mm = 16"), pools)[0]
        for most in (0, 8)
    )
    assert torch.equal(plain.inputs[:, :2], moved.inputs[:, :2])
    changed = (plain.labels != moved.labels).sum()
    assert 0 < changed < 2 * plain.labels.sum()


@pytest.mark.parametrize("settings", ["off_centre_share = 1", "stroke_share = 1"])
def test_off_centre_clicks_and_scribbles_stay_in_the_error(
    clicking: Clicking, pools: dict[float, Pools], settings: str
) -> None:
    name = settings.split(maxsplit=1)[0]
    text = LONG.replace(f"{name} = 0\n", settings + "\n")
    different, longest = 0, 0
    for batch, (state,) in visits(Episodes(clicking(text, "steps = 6", "steps = 16"), pools, 0), blind, 16):
        prediction, truth = state["probability"].numpy() > 0.5, batch.labels[0].numpy() > 0
        error, centre = largest_error(prediction, truth), next_click(prediction, truth, SPACING_MM)
        assert error is not None
        assert centre is not None
        prompt = prompts_of(state)[-1]
        i, j, k = prompt.points.astype(int).T
        assert error.on(PATCH)[k, j, i].all()
        different += prompt.points.tolist() != centre.points.tolist()
        longest = max(longest, len(prompt.points))
        if name == "stroke_share":
            assert (prompt.points == centre.points).all(axis=1).any()
    assert different > 8
    assert (longest > 1) == (name == "stroke_share")
