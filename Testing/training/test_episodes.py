"""Episodes: what the network is shown, how the simulated user answers it, when an episode ends, and how it goes on."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from Testing.fakes import tiny_network
from training.batches import Batch, Pools
from training.click_simulation import largest_error, next_click
from training.configuration import Configuration
from training.data import Case, coarsened, read_case
from training.episodes import TURN, Episodes, initialise
from TumorSegLib.boxes import whole
from TumorSegLib.engines.networks import build_network, probabilities
from TumorSegLib.errors import ModelError
from TumorSegLib.geometry import Grid
from TumorSegLib.guidance import LAW_MM, Hint, guidance_maps, proximity
from TumorSegLib.volume import Mask, Volume

Clicking = Callable[..., Configuration]
Answer = Callable[[Batch], torch.Tensor]
ROLES = ("ct", "pet")
PATCH, SPACING_MM = (16, 16, 16), (2.0, 2.0, 2.0)
EMPTY = "starts = { empty = 1 }\nprevious_dropout = 0\noff_centre_share = 0\nstroke_share = 0\n"
LONG = EMPTY + "mean_rounds = 1000\n"
#: No deformation: the tumour of a case is a ball of radius 4 voxels of 2 mm.
PLAIN = (
    "tumour_share = 1.0",
    "tumour_share = 1.0\ncut_share = 0.0\nrotation_degrees = [0.0, 0.0, 0.0]\nscale = [1.0, 1.0]\nelastic_share = 0.0",
)
ONE_ROLE = ('roles = ["ct", "pet"]\noptional = ["ct", "pet"]', 'roles = ["ct"]\noptional = []', "pet = {", "# {")
BALL_MM3 = 4 / 3 * np.pi * 8.0**3


@pytest.fixture(scope="module")
def case(data: Path) -> Case:
    return read_case(data, "a", ROLES)


@pytest.fixture(scope="module")
def pools(case: Case) -> dict[float, Pools]:
    return {1.0: Pools([case], []), 2.0: Pools([coarsened(case, (4.0, 4.0, 4.0))], [])}


def blind(batch: Batch) -> torch.Tensor:
    """The answer of a network that finds nothing."""
    return torch.full((len(batch.labels), 1, *batch.labels.shape[1:]), -9.0)


def perfect(batch: Batch) -> torch.Tensor:
    return torch.where(batch.labels > 0, 9.0, -9.0)[:, None]


def moody(batch: Batch) -> torch.Tensor:
    """Any answer that all of the input decides."""
    weights = torch.arange(1.0, batch.inputs.shape[1] + 1)[None, :, None, None, None]
    return 3 * torch.sin(5 * (batch.inputs * weights).sum(dim=1, keepdim=True) + batch.labels[:, None])


def visits(
    source: Episodes, answer: Answer, count: int, first: int = 0
) -> Iterator[tuple[Batch, list[dict[str, Any]]]]:
    """Batches with the state of the episodes they show, each answered before the next."""
    with closing(source.batches(first)) as batches:
        for step in range(first, first + count):
            batch = next(batches)  # type: ignore[call-overload]
            size = len(batch.labels)
            start = step * size % (TURN * size)
            yield batch, source.state_dict()["episodes"][start : start + size]
            source.observe(answer(batch))


def hints_of(state: dict[str, Any]) -> list[Hint]:
    return [Hint(points.numpy(), positive) for points, positive in state["hints"]]


def first_visit(configuration: Configuration, pools: dict[float, Pools], **rest: Any) -> tuple[Batch, dict[str, Any]]:
    batch, states = next(visits(Episodes(configuration, pools, 0, **rest), blind, 1))
    return batch, states[0]


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second))


def test_a_batch_shows_images_last_answer_and_prompts(clicking: Clicking, pools: dict[float, Pools]) -> None:
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
            hints = hints_of(state)
            assert np.array_equal(inputs[3:].numpy(), guidance_maps(hints, PATCH, SPACING_MM))
            assert np.array_equal(focus.numpy(), proximity(hints[-1].points, PATCH, SPACING_MM))
            most = max(most, len(hints))
    assert most == 2


def test_the_first_click_is_the_protocols(clicking: Clicking, pools: dict[float, Pools]) -> None:
    for batch, states in visits(Episodes(clicking(EMPTY), pools, 0), blind, 6):
        truth = batch.labels[0].numpy() > 0
        assert (batch.inputs[:, 2] == 0).all()
        expected = next_click(np.zeros_like(truth), truth, SPACING_MM)
        (hint,) = hints_of(states[0])
        assert expected is not None
        assert hint.points.tolist() == expected.points.tolist()
        assert hint.positive
        i, j, k = expected.points[0].astype(int)
        assert batch.inputs[0, 3, k, j, i] == 1  # positive map
        assert (batch.inputs[0, 4] == 0).all()  # no negative prompt
        assert batch.focus[0, k, j, i] == 1  # type: ignore[index]


def lawful(probability: torch.Tensor, hints: list[Hint]) -> np.ndarray:
    """Probability with every voxel whose centre is within 3 mm of a point set, voxels being 2 mm."""
    result = probability.numpy().copy()
    place = np.stack(np.meshgrid(*map(np.arange, result.shape), indexing="ij"), axis=-1)[..., ::-1]
    for hint in hints:
        for point in hint.points:
            result[np.linalg.norm((place - point) * 2.0, axis=-1) <= LAW_MM] = hint.positive
    return result


def test_the_next_visit_shows_the_answer_made_lawful_and_clicks_at_its_error(
    clicking: Clicking, pools: dict[float, Pools]
) -> None:
    source = Episodes(clicking(LONG, "batch = 1", "batch = 2", "steps = 6", "steps = 24"), pools, 0)
    before: dict[int, tuple[torch.Tensor, int, torch.Tensor]] = {}
    compared = 0
    for batch, states in visits(source, moody, 24):
        for inputs, labels, answer, state in zip(batch.inputs, batch.labels, moody(batch), states):
            hints, images = hints_of(state), torch.cat([inputs[:2], labels[None]])
            slot = state["number"][0]
            if slot in before:
                last_answer, count, same_images = before[slot]
                assert torch.equal(images, same_images)
                assert len(hints) == count + 1
                previous = inputs[2].numpy()
                np.testing.assert_array_equal(previous, lawful(torch.sigmoid(last_answer[0]), hints[:-1]))
                error = largest_error(previous > 0.5, labels.numpy() > 0)
                assert error is not None
                i, j, k = hints[-1].points[0].astype(int)
                assert error.on(PATCH)[k, j, i]
                assert hints[-1].positive == error.missed
                compared += 1
            before[slot] = answer, len(hints), images
    assert compared == 32


def around(hint: Hint) -> tuple[slice, ...]:
    """The patch of 16 voxels about a prompt in images of 24: from 0 to 8, as far in the middle as that allows."""
    middle = np.rint((hint.points.min(axis=0) + hint.points.max(axis=0)) / 2)
    return tuple(slice(int(low), int(low) + 16) for low in np.clip(middle - 8, 0, 8)[::-1])


def test_a_patch_lies_around_the_last_prompt(clicking: Clicking, case: Case) -> None:
    """Patches of 24 without context show the whole of what patches of 16 with a context of 8 move in."""
    settings, pools = "starts = { corrupted = 1 }\nprevious_dropout = 0\nstroke_share = 0.3\n", {1.0: Pools([case], [])}
    small = Episodes(clicking(settings + "context = 8", "steps = 6", "steps = 8"), pools, 0)
    large = Episodes(clicking(settings, "steps = 6", "steps = 8", "[16, 16, 16]", "[24, 24, 24]"), pools, 0)
    corners = set()
    for (part, (state,)), (all_of_it, (same_state,)) in zip(visits(small, blind, 8), visits(large, blind, 8)):
        assert state["number"] == same_state["number"]
        at = around(hints_of(state)[-1])
        torch.testing.assert_close(part.inputs, all_of_it.inputs[(..., *at)])
        assert torch.equal(part.labels, all_of_it.labels[(..., *at)])
        torch.testing.assert_close(part.focus, all_of_it.focus[(..., *at)])  # type: ignore[index]
        assert part.focus.max() == 1  # type: ignore[union-attr]
        corners.add(tuple(edge.start for edge in at))
    assert len(corners) > 3


def test_an_answer_replaces_the_probability_of_its_patch(clicking: Clicking, case: Case) -> None:
    """And prompts are law in all of the images."""
    settings = "context = 8\nstarts = { corrupted = 1 }\nmean_rounds = 1000\nstroke_share = 0.3\n"
    source = Episodes(clicking(settings, "steps = 6", "steps = 24"), {1.0: Pools([case], [])}, 0)
    before: dict[int, tuple[list[int], np.ndarray]] = {}
    compared = 0
    for step, (batch, (state,)) in enumerate(visits(source, moody, 24)):
        number, expected = before.get(step % TURN, (None, None))
        if number == state["number"]:
            np.testing.assert_array_equal(state["probability"].numpy(), expected)
            compared += 1
        probability, hints = state["probability"].clone(), hints_of(state)
        probability[around(hints[-1])] = torch.sigmoid(moody(batch)[0, 0])
        before[step % TURN] = state["number"], lawful(probability, hints)
    assert compared == 16


@pytest.mark.parametrize(
    ("settings", "expected"), [("mean_rounds = 1000\nmost_rounds = 3", [1, 2, 3, 1, 2]), ("mean_rounds = 0", [1] * 5)]
)
def test_an_episode_ends_after_its_rounds(
    clicking: Clicking, pools: dict[float, Pools], settings: str, expected: list[int]
) -> None:
    source = Episodes(clicking(EMPTY + settings, "steps = 6", "steps = 40"), pools, 0)
    seen = [(len(state["hints"]), state["number"]) for _, (state,) in visits(source, blind, 40)]
    for slot in range(TURN):
        counts, numbers = zip(*seen[slot::TURN])
        assert list(counts) == expected
        began = [n for n, count in enumerate(counts) if count == 1]
        assert [numbers[n] for n in began] == [[slot, number] for number in range(len(began))]


def test_rounds_follow_an_exponential_law(clicking: Clicking, pools: dict[float, Pools]) -> None:
    """1 + the whole part of an exponential number of mean 2 is 1 / (1 - exp(-1 / 2)) = 2.54 on average."""
    source = Episodes(clicking(EMPTY + "mean_rounds = 2.0", "batch = 1", "batch = 25"), pools, 0)
    next(visits(source, blind, 1))
    rounds = [state["rounds"] for state in source.state_dict()["episodes"]]
    assert len(rounds) == 200
    assert np.mean(rounds) == pytest.approx(2.54, abs=0.4)
    assert min(rounds) == 1


def test_a_satisfied_user_goes_on_to_the_next_image(clicking: Clicking, pools: dict[float, Pools]) -> None:
    source = Episodes(clicking(LONG, "steps = 6", "steps = 16"), pools, 0)
    seen = list(visits(source, perfect, 16))
    for (before, (old,)), (after, (new,)) in zip(seen[:TURN], seen[TURN:]):
        assert (old["number"][1], new["number"][1]) == (0, 1)
        assert (old["number"][0], len(new["hints"])) == (new["number"][0], 1)
        assert not torch.equal(before.labels, after.labels)
        assert (after.inputs[0, 2] == 0).all()


def test_where_nothing_is_wrong_from_the_start_a_click_says_so(clicking: Clicking) -> None:
    grid = Grid.from_spacing((20, 20, 20), (2, 2, 2))
    rng = np.random.default_rng(0)
    images = {role: Volume(grid, rng.random(grid.shape).astype(np.float32), role) for role in ROLES}
    healthy = Case("healthy", images, Mask(grid, np.zeros(grid.shape, np.uint8)), whole(grid.shape))
    source = Episodes(clicking(LONG, "steps = 6", "steps = 16"), {1.0: Pools([healthy], [])}, 0)
    points = set()
    for step, (batch, (state,)) in enumerate(visits(source, blind, 16)):
        assert not batch.labels.any()
        (hint,) = hints_of(state)
        i, j, k = hint.points[0].astype(int)
        assert not hint.positive
        assert batch.inputs[0, 4, k, j, i] == 1
        assert batch.focus[0, k, j, i] == 1  # type: ignore[index]
        assert state["number"] == [step % TURN, step // TURN]
        points.add((i, j, k))
    assert len(points) > 12


def test_previous_dropout_hides_the_last_answer_alone(clicking: Clicking, pools: dict[float, Pools]) -> None:
    text = "starts = {{ corrupted = 1 }}\nprevious_dropout = {}"
    hidden, state = first_visit(clicking(text.format(1)), pools)
    shown, _ = first_visit(clicking(text.format(0)), pools)
    assert (hidden.inputs[:, 2] == 0).all()
    assert torch.equal(shown.inputs[0, 2], state["probability"])
    assert (shown.inputs[:, 2] > 0.5).any()
    others = [0, 1, 3, 4]
    assert torch.equal(hidden.inputs[:, others], shown.inputs[:, others])
    source = Episodes(clicking(text.format(0.5), "batch = 1", "batch = 2", "steps = 6", "steps = 30"), pools, 0)
    gone = [bool((inputs[2] == 0).all()) for batch, _ in visits(source, moody, 30) for inputs in batch.inputs]
    assert 18 < sum(gone) < 42


def starts(
    clicking: Clicking, pools: dict[float, Pools], kind: str, settings: str = ""
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What eight episodes begin with, and their truth."""
    text = f"starts = {{ {kind} = 1 }}\nprevious_dropout = 0\n{settings}"
    source = Episodes(clicking(text, "steps = 6", "steps = 8"), pools, 0)
    return [(batch.inputs[0, 2].numpy(), batch.labels[0].numpy() > 0) for batch, _ in visits(source, blind, TURN)]


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_an_episode_may_begin_with_nothing(clicking: Clicking, pools: dict[float, Pools]) -> None:
    assert not any(probability.any() for probability, _ in starts(clicking, pools, "empty"))


def test_an_episode_may_begin_with_a_shifted_mask(clicking: Clicking, pools: dict[float, Pools]) -> None:
    begun = starts(clicking, pools, "shifted", "shift_mm = 6")
    assert all(set(np.unique(probability)) <= {0, 1} for probability, _ in begun)
    assert sum(probability.any() for probability, _ in begun) > 4
    assert all(dice(probability > 0.5, truth) < 1 for probability, truth in begun)
    assert len({round(dice(probability > 0.5, truth), 6) for probability, truth in begun}) > 4


def test_an_episode_may_begin_with_a_corrupted_probability(clicking: Clicking, pools: dict[float, Pools]) -> None:
    for probability, truth in starts(clicking, pools, "corrupted"):
        assert probability.dtype == np.float32
        assert ((probability >= 0) & (probability <= 1)).all()
        assert ((probability > 0.02) & (probability < 0.98)).any()  # soft, unlike a mask
        assert (probability > 0.5).any()
        assert 0 < dice(probability > 0.5, truth) < 1


def test_an_episode_may_begin_with_what_the_first_stage_says(
    configured: Clicking, clicking: Clicking, pools: dict[float, Pools]
) -> None:
    network = tiny_network(configured().model, seed=7)
    settings = "starts = { first_stage = 1 }\nprevious_dropout = 0"
    source = Episodes(clicking(settings, "batch = 1", "batch = 2"), pools, 0, network)
    for batch, _ in visits(source, blind, 4):
        with torch.inference_mode():
            expected = torch.stack([probabilities(network(images[None])[0])[0] for images in batch.inputs[:, :2]])
        assert expected.std() > 0.01
        torch.testing.assert_close(batch.inputs[:, 2], expected)


def test_the_first_stage_answers_at_its_own_spacing_alone(
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


def test_starts_come_as_often_as_asked(clicking: Clicking, pools: dict[float, Pools]) -> None:
    source = Episodes(clicking("starts = { empty = 3, corrupted = 1 }", "batch = 1", "batch = 20"), pools, 0)
    next(visits(source, blind, 1))
    empty = [not state["probability"].any() for state in source.state_dict()["episodes"]]
    assert np.mean(empty) == pytest.approx(0.75, abs=0.1)


@pytest.mark.parametrize(("zoom", "spacing_mm"), [("1", 2.0), ("2", 4.0)])
def test_a_zoom_is_a_multiple_of_the_spacing(
    clicking: Clicking, pools: dict[float, Pools], zoom: str, spacing_mm: float
) -> None:
    batch, state = first_visit(clicking(EMPTY + f'zooms = {{ "{zoom}" = 1 }}', *PLAIN), pools)
    # Labels averaged over 4 mm voxels lose a rim; an eighth or eight times the volume it would be without the zoom.
    assert 0.3 < batch.labels.sum().item() * spacing_mm**3 / BALL_MM3 < 1.3
    i, j, k = hints_of(state)[0].points[0].astype(int)
    assert batch.inputs[0, 3, k, j, i + 1].item() == pytest.approx(np.exp(-spacing_mm / 10))


def test_zooms_come_as_often_as_asked(clicking: Clicking, pools: dict[float, Pools]) -> None:
    settings = EMPTY + 'zooms = { "1" = 1, "2" = 1 }'
    source = Episodes(clicking(settings, *PLAIN, "batch = 1", "batch = 20", "steps = 6", "steps = 8"), pools, 0)
    counts = [int(labels.sum()) for batch, _ in visits(source, blind, 8) for labels in batch.labels]
    assert np.mean([count > 100 for count in counts]) == pytest.approx(0.5, abs=0.12)


def test_tumours_may_become_small(clicking: Clicking, pools: dict[float, Pools]) -> None:
    small, _ = first_visit(clicking(EMPTY + "small_share = 1\nsmall_scale = [0.5, 0.5]", *PLAIN), pools)
    assert small.labels.sum().item() * 2.0**3 == pytest.approx(BALL_MM3 / 8, rel=0.3)


def test_the_target_may_be_moved_while_the_images_stay(clicking: Clicking, pools: dict[float, Pools]) -> None:
    plain, moved = (
        first_visit(clicking(EMPTY + f"warp_share = 1\nwarp_mm = {most}\nwarp_length_mm = 16"), pools)[0]
        for most in (0, 8)
    )
    assert torch.equal(plain.inputs[:, :2], moved.inputs[:, :2])
    changed = (plain.labels != moved.labels).sum()
    assert 0 < changed < 2 * plain.labels.sum()


@pytest.mark.parametrize("settings", ["off_centre_share = 1", "stroke_share = 1"])
def test_users_who_aim_less_well_stay_in_the_error(
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
        hint = hints_of(state)[-1]
        i, j, k = hint.points.astype(int).T
        assert error.on(PATCH)[k, j, i].all()
        different += hint.points.tolist() != centre.points.tolist()
        longest = max(longest, len(hint.points))
        if name == "stroke_share":
            assert (hint.points == centre.points).all(axis=1).any()
    assert different > 8
    assert (longest > 1) == (name == "stroke_share")


def test_threads_do_not_matter_but_seed_and_process_do(clicking: Clicking, pools: dict[float, Pools]) -> None:
    def drawn(rank: int, *changes: str) -> list[Batch]:
        configuration = clicking("starts = { corrupted = 1 }", "steps = 6", "steps = 10", *changes)
        return [batch for batch, _ in visits(Episodes(configuration, pools, rank), moody, 10)]

    expected = drawn(0)
    assert all(map(same, drawn(0, "every = 3", "every = 3\nworkers = 3"), expected))
    for other in (drawn(1), drawn(0, "seed = 3", "seed = 4")):
        assert not any(map(same, other, expected))


def test_episodes_go_on_where_a_checkpoint_left_them(clicking: Clicking, pools: dict[float, Pools]) -> None:
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


def test_other_processes_begin_new_episodes(clicking: Clicking, pools: dict[float, Pools]) -> None:
    """A checkpoint holds those of the first process; a second one must not go on with them."""
    saved = Episodes(clicking(EMPTY), pools, 0)
    next(visits(saved, blind, 1))
    second = Episodes(clicking(EMPTY), pools, 1)
    expected, _ = next(visits(second, blind, 1))
    again = Episodes(clicking(EMPTY), pools, 1)
    again.load_state_dict(saved.state_dict())
    assert same(next(visits(again, blind, 1))[0], expected)


def test_a_refinement_network_begins_as_the_automatic_one(configured: Clicking, clicking: Clicking) -> None:
    first_stage, network = tiny_network(configured().model, seed=5), tiny_network(clicking().model, seed=6)
    initialise(network, first_stage)
    inputs = torch.randn(2, 5, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = first_stage(inputs[:, :2])
        torch.testing.assert_close(network(inputs), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01
    assert sum(value.shape[1] == 5 for value in network.state_dict().values() if value.ndim == 5) > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("[4, 8, 8]", "[4, 8, 16]"), r"\(16, 8, 3, 3, 3\) there and \(8, 8, 3, 3, 3\) here"),
        (("[4, 8, 8]", "[4, 8, 8, 8]"), r"\(8, 8, 2, 2, 2\) there and \(8, 4, 2, 2, 2\) here"),
        (ONE_ROLE, r"\(4, 1, 3, 3, 3\) there and \(4, 5, 3, 3, 3\) here"),
        (('"ResidualDynUNet"', '"DynUNet"'), r"missing there and \(4, 5, 1, 1, 1\) here"),
    ],
    ids=["filters", "deeper", "roles", "network"],
)
def test_another_network_cannot_be_the_first_stage(
    configured: Clicking, clicking: Clicking, changes: tuple[str, ...], words: str
) -> None:
    first_stage, network = build_network(configured(*changes).model), build_network(clicking().model)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelError, match=f"the first stage is another network: weights '.*' are .*{words}; name, arg"):
        initialise(network, first_stage)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_what_a_layer_without_channels_has_must_agree(clicking: Clicking) -> None:
    with pytest.raises(ModelError, match=r"'weight' are \(3,\) there and \(2,\) here"):
        initialise(nn.InstanceNorm1d(2, affine=True), nn.InstanceNorm1d(3, affine=True))
