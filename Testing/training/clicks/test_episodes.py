"""Episodes: what the network is given, how the simulated user answers it, when an episode ends, and how it goes on."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from Testing.training.episode_visits import (
    EMPTY,
    LONG,
    PATCH,
    ROLES,
    SPACING_MM,
    Clicking,
    blind,
    first_visit,
    moody,
    perfect,
    prompts_of,
    visits,
)
from Testing.training.training_runs import same
from training.clicks.episodes import POOL, Episodes
from training.clicks.simulate import largest_error, next_click
from training.data.batches import Batch, Pools
from training.data.cases import Case
from TumorSegLib.geometry.boxes import full_box
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.prompts.constraints import CONSTRAINT_RADIUS_MM
from TumorSegLib.prompts.encoding import PointPrompt, distance_map, guidance_maps


def test_channels_are_images_probability_and_prompts(clicking: Clicking, pools: dict[float, Pools]) -> None:
    source, most = Episodes(clicking(LONG, "batch = 1", "batch = 3", "steps = 6", "steps = 12"), pools, 0), 0
    for batch, states in visits(source, moody, 12):
        assert (batch.inputs.shape, batch.inputs.dtype) == ((3, 2 + 1 + 2, 16, 16, 16), torch.float32)
        assert (batch.labels.shape, batch.labels.dtype) == ((3, 16, 16, 16), torch.int64)
        assert batch.focus is not None
        assert (batch.focus.shape, batch.focus.dtype) == ((3, 16, 16, 16), torch.float32)
        assert set(batch.labels.unique().tolist()) == {0, 1}
        assert (batch.inputs[:, :2].std(dim=(2, 3, 4)) > 0.05).all()
        for inputs, focus, state in zip(batch.inputs, batch.focus, states):
            assert torch.equal(inputs[2], state["probability"])
            prompts = prompts_of(state)
            assert np.array_equal(inputs[3:].numpy(), guidance_maps(prompts, PATCH, SPACING_MM))
            assert np.array_equal(focus.numpy(), distance_map(prompts[-1].points, PATCH, SPACING_MM))
            most = max(most, len(prompts))
    assert most == 2


def test_first_click_is_that_of_the_evaluation_protocol(clicking: Clicking, pools: dict[float, Pools]) -> None:
    for batch, states in visits(Episodes(clicking(EMPTY), pools, 0), blind, 6):
        truth = batch.labels[0].numpy() > 0
        assert (batch.inputs[:, 2] == 0).all()
        expected = next_click(np.zeros_like(truth), truth, SPACING_MM)
        (prompt,) = prompts_of(states[0])
        assert expected is not None
        assert prompt.points.tolist() == expected.points.tolist()
        assert prompt.positive
        i, j, k = expected.points[0].astype(int)
        assert batch.inputs[0, 3, k, j, i] == 1  # positive map
        assert (batch.inputs[0, 4] == 0).all()  # no negative prompt
        assert batch.focus[0, k, j, i] == 1  # type: ignore[index]


def constrained(probability: torch.Tensor, prompts: list[PointPrompt]) -> np.ndarray:
    """Probability with every voxel whose centre is within 3 mm of a point set, voxels being 2 mm."""
    result = probability.numpy().copy()
    place = np.stack(np.meshgrid(*map(np.arange, result.shape), indexing="ij"), axis=-1)[..., ::-1]
    for prompt in prompts:
        for point in prompt.points:
            result[np.linalg.norm((place - point) * 2.0, axis=-1) <= CONSTRAINT_RADIUS_MM] = prompt.positive
    return result


def test_next_round_has_the_constrained_probability_and_a_click_on_its_error(
    clicking: Clicking, pools: dict[float, Pools]
) -> None:
    source = Episodes(clicking(LONG, "batch = 1", "batch = 2", "steps = 6", "steps = 24"), pools, 0)
    before: dict[int, tuple[torch.Tensor, int, torch.Tensor]] = {}
    compared = 0
    for batch, states in visits(source, moody, 24):
        for inputs, labels, answer, state in zip(batch.inputs, batch.labels, moody(batch), states):
            prompts, images = prompts_of(state), torch.cat([inputs[:2], labels[None]])
            slot = state["number"][0]
            if slot in before:
                last_answer, count, same_images = before[slot]
                assert torch.equal(images, same_images)
                assert len(prompts) == count + 1
                previous = inputs[2].numpy()
                np.testing.assert_array_equal(previous, constrained(torch.sigmoid(last_answer[0]), prompts[:-1]))
                error = largest_error(previous > 0.5, labels.numpy() > 0)
                assert error is not None
                i, j, k = prompts[-1].points[0].astype(int)
                assert error.on(PATCH)[k, j, i]
                assert prompts[-1].positive == error.missed
                compared += 1
            before[slot] = answer, len(prompts), images
    assert compared == 32


def around(prompt: PointPrompt) -> tuple[slice, ...]:
    """The patch of 16 voxels about a prompt in images of 24: from 0 to 8, as far in the middle as that allows."""
    middle = (prompt.points.min(axis=0) + prompt.points.max(axis=0)) / 2
    nearest = min(prompt.points.tolist(), key=lambda point: float(np.linalg.norm(point - middle)))
    return tuple(slice(int(low), int(low) + 16) for low in np.clip(np.array(nearest) - 8, 0, 8)[::-1])


def test_patch_lies_around_the_last_prompt(clicking: Clicking, case: Case) -> None:
    """Patches of 24 without context show the whole of what patches of 16 with a context of 8 move in."""
    settings, pools = "starts = { corrupted = 1 }\nprevious_dropout = 0\nstroke_share = 0.3\n", {1.0: Pools([case], [])}
    small = Episodes(clicking(settings + "context = 8", "steps = 6", "steps = 8"), pools, 0)
    large = Episodes(clicking(settings, "steps = 6", "steps = 8", "[16, 16, 16]", "[24, 24, 24]"), pools, 0)
    corners = set()
    for (part, (state,)), (all_of_it, (same_state,)) in zip(visits(small, blind, 8), visits(large, blind, 8)):
        assert state["number"] == same_state["number"]
        at = around(prompts_of(state)[-1])
        torch.testing.assert_close(part.inputs, all_of_it.inputs[(..., *at)])
        assert torch.equal(part.labels, all_of_it.labels[(..., *at)])
        torch.testing.assert_close(part.focus, all_of_it.focus[(..., *at)])  # type: ignore[index]
        assert part.focus.max() == 1  # type: ignore[union-attr]
        corners.add(tuple(edge.start for edge in at))
    assert len(corners) > 3


def test_probability_is_replaced_in_the_patch_alone(clicking: Clicking, case: Case) -> None:
    """And prompts constrain all of the images."""
    settings = "context = 8\nstarts = { corrupted = 1 }\nmean_rounds = 1000\nstroke_share = 0.3\n"
    source = Episodes(clicking(settings, "steps = 6", "steps = 24"), {1.0: Pools([case], [])}, 0)
    before: dict[int, tuple[list[int], np.ndarray]] = {}
    compared = 0
    for step, (batch, (state,)) in enumerate(visits(source, moody, 24)):
        number, expected = before.get(step % POOL, (None, None))
        if number == state["number"]:
            np.testing.assert_array_equal(state["probability"].numpy(), expected)
            compared += 1
        probability, prompts = state["probability"].clone(), prompts_of(state)
        probability[around(prompts[-1])] = torch.sigmoid(moody(batch)[0, 0])
        before[step % POOL] = state["number"], constrained(probability, prompts)
    assert compared == 16


@pytest.mark.parametrize(
    ("settings", "expected"), [("mean_rounds = 1000\nmost_rounds = 3", [1, 2, 3, 1, 2]), ("mean_rounds = 0", [1] * 5)]
)
def test_episode_ends_after_its_rounds(
    clicking: Clicking, pools: dict[float, Pools], settings: str, expected: list[int]
) -> None:
    source = Episodes(clicking(EMPTY + settings, "steps = 6", "steps = 40"), pools, 0)
    seen = [(len(state["hints"]), state["number"]) for _, (state,) in visits(source, blind, 40)]
    for slot in range(POOL):
        counts, numbers = zip(*seen[slot::POOL])
        assert list(counts) == expected
        began = [n for n, count in enumerate(counts) if count == 1]
        assert [numbers[n] for n in began] == [[slot, number] for number in range(len(began))]


def test_rounds_follow_an_exponential_distribution(clicking: Clicking, pools: dict[float, Pools]) -> None:
    """1 + the whole part of an exponential number of mean 2 is 1 / (1 - exp(-1 / 2)) = 2.54 on average."""
    source = Episodes(clicking(EMPTY + "mean_rounds = 2.0", "batch = 1", "batch = 25"), pools, 0)
    next(visits(source, blind, 1))
    rounds = [state["rounds"] for state in source.state_dict()["episodes"]]
    assert len(rounds) == 200
    assert np.mean(rounds) == pytest.approx(2.54, abs=0.4)
    assert min(rounds) == 1


def test_episode_ends_when_the_segmentation_is_right(clicking: Clicking, pools: dict[float, Pools]) -> None:
    source = Episodes(clicking(LONG, "steps = 6", "steps = 16"), pools, 0)
    seen = list(visits(source, perfect, 16))
    for (before, (old,)), (after, (new,)) in zip(seen[:POOL], seen[POOL:]):
        assert (old["number"][1], new["number"][1]) == (0, 1)
        assert (old["number"][0], len(new["hints"])) == (new["number"][0], 1)
        assert not torch.equal(before.labels, after.labels)
        assert (after.inputs[0, 2] == 0).all()


def test_case_without_tumour_gets_negative_clicks(clicking: Clicking) -> None:
    grid = Grid.from_spacing((20, 20, 20), (2, 2, 2))
    rng = np.random.default_rng(0)
    images = {role: Volume(grid, rng.random(grid.shape).astype(np.float32), role) for role in ROLES}
    healthy = Case("healthy", images, Mask(grid, np.zeros(grid.shape, np.uint8)), full_box(grid.shape))
    source = Episodes(clicking(LONG, "steps = 6", "steps = 16"), {1.0: Pools([healthy], [])}, 0)
    points = set()
    for step, (batch, (state,)) in enumerate(visits(source, blind, 16)):
        assert not batch.labels.any()
        (prompt,) = prompts_of(state)
        i, j, k = prompt.points[0].astype(int)
        assert not prompt.positive
        assert batch.inputs[0, 4, k, j, i] == 1
        assert batch.focus[0, k, j, i] == 1  # type: ignore[index]
        assert state["number"] == [step % POOL, step // POOL]
        points.add((i, j, k))
    assert len(points) > 12


def test_previous_dropout_empties_the_previous_probability_alone(clicking: Clicking, pools: dict[float, Pools]) -> None:
    text = "starts = {{ corrupted = 1 }}\nprevious_dropout = {}"
    emptied, state = first_visit(clicking(text.format(1)), pools)
    complete, _ = first_visit(clicking(text.format(0)), pools)
    assert (emptied.inputs[:, 2] == 0).all()
    assert torch.equal(complete.inputs[0, 2], state["probability"])
    assert (complete.inputs[:, 2] > 0.5).any()
    others = [0, 1, 3, 4]
    assert torch.equal(emptied.inputs[:, others], complete.inputs[:, others])
    source = Episodes(clicking(text.format(0.5), "batch = 1", "batch = 2", "steps = 6", "steps = 30"), pools, 0)
    gone = [bool((inputs[2] == 0).all()) for batch, _ in visits(source, moody, 30) for inputs in batch.inputs]
    assert 18 < sum(gone) < 42


def test_episodes_depend_on_seed_and_process_not_on_threads(clicking: Clicking, pools: dict[float, Pools]) -> None:
    def drawn(rank: int, *changes: str) -> list[Batch]:
        configuration = clicking("starts = { corrupted = 1 }", "steps = 6", "steps = 10", *changes)
        return [batch for batch, _ in visits(Episodes(configuration, pools, rank), moody, 10)]

    expected = drawn(0)
    assert all(map(same, drawn(0, "every = 3", "every = 3\nworkers = 3"), expected))
    for other in (drawn(1), drawn(0, "seed = 3", "seed = 4")):
        assert not any(map(same, other, expected))


def test_episodes_resume_from_a_checkpoint(clicking: Clicking, pools: dict[float, Pools]) -> None:
    settings = "starts = { empty = 1, corrupted = 1, shifted = 1 }\nmean_rounds = 2\nstroke_share = 0.3\ncontext = 8"
    configuration = clicking(settings, "steps = 6", "steps = 30", "batch = 1", "batch = 2")
    source, expected, saved = Episodes(configuration, pools, 0), [], io.BytesIO()
    for step, (batch, _) in enumerate(visits(source, moody, 30)):
        if step == 19:  # the state after 19 answers, as the training loop saves it
            torch.save(source.state_dict(), saved)
        expected.append(batch)
    saved.seek(0)
    resumed = Episodes(configuration, pools, 0)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    again = [batch for batch, _ in visits(resumed, moody, 11, first=19)]
    assert all(map(same, again, expected[19:]))
    assert not same(again[0], expected[18])


def test_episodes_of_further_processes_begin_anew_at_a_resume(clicking: Clicking, pools: dict[float, Pools]) -> None:
    """A checkpoint holds those of the first process; a second one must not go on with them."""
    saved = Episodes(clicking(EMPTY), pools, 0)
    next(visits(saved, blind, 1))
    second = Episodes(clicking(EMPTY), pools, 1)
    expected, _ = next(visits(second, blind, 1))
    again = Episodes(clicking(EMPTY), pools, 1)
    again.load_state_dict(saved.state_dict())
    assert same(next(visits(again, blind, 1))[0], expected)
