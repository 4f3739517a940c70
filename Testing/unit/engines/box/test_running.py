"""The box engine: embeddings, progress, cancelling, errors, precision; partly with a tiny SAM."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch

from Testing.fakes import noise_volume
from Testing.unit.engines.box_cases import (
    PROMPTS,
    SLICE_BOX,
    VOLUME_BOX,
    BrightSam,
    ball,
    box_about,
    bright_engine,
    ct_of,
    pasted,
    segmented,
    tiny_sam,
)
from Testing.unit.engines.click_cases import CUBE
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.box.slice_model import BoxCase
from TumorSegLib.errors import ArgumentError, Cancelled, RoleError
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.geometry.grid import Box
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions


def bright_case() -> tuple[BrightSam, BoxEngine, BoxCase]:
    """A network, its engine, and the prepared images of a ball of 9 mm."""
    network = BrightSam()
    engine = bright_engine(network)
    return network, engine, engine.prepare({"ct": ct_of(CUBE, ball(CUBE, 9))})


def test_a_second_box_that_lies_within_the_first_is_not_encoded_again() -> None:
    network, engine, prepared = bright_case()
    tumour, every = ball(CUBE, 9), BoxOptions(axes=(0, 1, 2))
    engine.segment(prepared, VOLUME_BOX, every)
    assert sum(network.encoded) == 3 * 22
    network.encoded.clear()
    second = engine.segment(prepared, BoxPrompt(((10, 29), (11, 30), (10, 30))), every)
    engine.segment(prepared, BoxPrompt(((10, 29), (11, 30), (20, 21))), within=VOLUME_BOX)
    assert network.encoded == []
    assert dice(pasted(CUBE, second), tumour) > 0.85
    engine.segment(prepared, BoxPrompt(((9, 31), (9, 31), (7, 33))), every)
    assert sum(network.encoded) == 4  # only along k are the slices before and behind missing
    assert dice(pasted(CUBE, second), tumour) > 0.85


def test_slices_embedded_for_either_of_two_views_are_not_encoded_again() -> None:
    """The last view used has few of the slices wanted, another one that serves as well has all."""
    network, engine, prepared = bright_case()
    engine.segment(prepared, BoxPrompt(((14, 26), (14, 26), (9, 31))))
    engine.segment(prepared, BoxPrompt(((8, 22), (8, 22), (9, 12))))
    assert len(prepared.embeddings.views()) == 2
    network.encoded.clear()
    engine.segment(prepared, BoxPrompt(((12, 24), (12, 24), (9, 31))))
    assert network.encoded == []


@pytest.mark.parametrize("box", [((6, 18), (14, 26), (9, 31)), ((18, 22), (18, 22), (9, 31))])
def test_a_box_that_an_earlier_view_does_not_serve_gets_its_own(box: Box) -> None:
    """It leaves the region of the view, or would be a few pixels of it."""
    network, engine, prepared = bright_case()
    engine.segment(prepared, BoxPrompt(((14, 26), (14, 26), (9, 31))))
    network.encoded.clear()
    engine.segment(prepared, BoxPrompt(box))
    assert sum(network.encoded) == 22
    assert len(prepared.embeddings.views()) == 2


def test_more_slices_than_the_cache_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    tumour = ball(CUBE, 9)
    wanted = segmented(bright_engine(), ct_of(CUBE, tumour), box_about(tumour, CUBE))
    monkeypatch.setattr("TumorSegLib.engines.box.embeddings.Embeddings.__init__.__defaults__", (3 * 64 * 64 * 2,))
    network, engine, prepared = bright_case()
    for _ in range(2):
        answer = engine.segment(prepared, BoxPrompt(box_about(tumour, CUBE)))
        assert np.array_equal(pasted(CUBE, answer), wanted)
    assert sum(network.encoded) > 40


@PROMPTS
@pytest.mark.parametrize("tumour", [ball(CUBE, 9), np.zeros(CUBE.shape, bool)], ids=["tumour", "nothing"])
def test_progress_grows_to_the_total(prompt: BoxPrompt, tumour: np.ndarray) -> None:
    reported: list[tuple[int, int]] = []
    engine = bright_engine()
    prepared = engine.prepare({"ct": ct_of(CUBE, tumour)})
    for _ in range(2):  # the second time nothing has to be encoded
        reported.clear()
        engine.segment(prepared, prompt, BoxOptions(axes=(0, 2)), progress=lambda *numbers: reported.append(numbers))
        assert reported[-1][0] == reported[-1][1] == (44 if prompt is VOLUME_BOX else 40)
        assert reported == sorted(reported)
        assert len({total for _, total in reported}) == 1
        assert reported[0][0] >= 0


class After:
    """Cancels from the n-th call on."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@PROMPTS
def test_a_box_cancelled_at_any_moment_and_then_segmented(prompt: BoxPrompt) -> None:
    engine = bright_engine()
    images = {"ct": ct_of(CUBE, ball(CUBE, 9))}
    wanted = engine.segment(engine.prepare(images), prompt)
    counting = After(10**6)
    engine.segment(engine.prepare(images), prompt, cancel=counting)
    questions = 10**6 - counting.left
    assert questions > 5
    prepared = engine.prepare(images)
    for n in range(questions):
        with pytest.raises(Cancelled, match="nothing was changed"):
            engine.segment(engine.prepare(images), prompt, cancel=After(n))
    for n in range(0, questions, 2):  # embeddings of one case pile up from one try to the next
        with suppress(Cancelled):  # the more slices are embedded, the fewer questions
            engine.segment(prepared, prompt, cancel=After(n))
    answer = engine.segment(prepared, prompt)
    assert answer.box == wanted.box
    assert np.array_equal(answer.probability, wanted.probability)


@pytest.mark.parametrize(
    ("box", "within", "message"),
    [
        (((-1, 10), (0, 10), (0, 10)), None, r"box .*\(-1, 10\).* leaves the image of \(40, 40, 40\) voxels"),
        (((0, 10), (30, 41), (0, 10)), None, r"box .*\(30, 41\).* leaves the image"),
        (((0, 10), (0, 10), (40, 41)), None, r"box .*\(40, 41\).* leaves the image"),
        (
            SLICE_BOX.box,
            ((9, 31), (9, 31), (-3, 31)),
            r"region .*\(-3, 31\).* leaves the image of \(40, 40, 40\) voxels",
        ),
        (SLICE_BOX.box, ((9, 31), (9, 31), (10, 41)), r"region .*\(10, 41\).* leaves the image"),
        (SLICE_BOX.box, ((9, 31), (9, 31), (25, 35)), r"box .* does not lie in the region .*\(25, 35\)"),
        (SLICE_BOX.box, ((33, 39), (9, 31), (10, 31)), r"box .* does not lie in the region .*\(33, 39\)"),
    ],
)
def test_boxes_must_lie_in_the_region_and_regions_in_the_image(box: Box, within: Box | None, message: str) -> None:
    network, engine, prepared = bright_case()
    with pytest.raises(ArgumentError, match=message):
        engine.segment(prepared, BoxPrompt(box), within=BoxPrompt(within) if within else None)
    assert network.encoded == []


def test_unknown_images_and_windows_are_refused() -> None:
    engine, volume = bright_engine(), ct_of(CUBE, ball(CUBE, 9))
    with pytest.raises(RoleError, match="there is no image 'pet'; there are ct"):
        engine.prepare({"ct": volume}, BoxOptions(role="pet"))
    with pytest.raises(ArgumentError, match="CT window 'brain' is not one of"):
        engine.prepare({"ct": volume}, BoxOptions(ct_window="brain"))


@pytest.mark.parametrize("axes", [(), (3,), (-1,), (0, 0), ("k",), 2, "ij"])
def test_axes_are_some_of_three(axes: Any) -> None:
    assert {BoxOptions(axes=[0, 1]): 1}[BoxOptions(axes=(0, 1))] == 1  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="must name some of 0, 1 and 2"):
        BoxOptions(axes=axes)


@PROMPTS
def test_info_is_json_ready(prompt: BoxPrompt) -> None:
    _, engine, prepared = bright_case()
    info = engine.segment(prepared, prompt).info
    assert json.loads(json.dumps(dict(info), allow_nan=False)) == info
    identity = [info[key] for key in ("model", "version", "device", "precision", "role")]
    assert identity == ["bright", "1.2.3", "cpu", "float32", "ct"]
    assert info["slices"] == (22 if prompt is VOLUME_BOX else pytest.approx(20, abs=3))
    assert set(info["seconds"]) >= {"encode", "decode", "paste"}


@PROMPTS
def test_the_same_box_twice_gives_the_same_bits(prompt: BoxPrompt) -> None:
    engine, _ = tiny_sam()
    images = {"ct": noise_volume(CUBE)}
    prepared, every = engine.prepare(images), BoxOptions(axes=(0, 1, 2))
    first = engine.segment(prepared, prompt, every)
    again = engine.segment(prepared, prompt, every)
    anew = engine.segment(engine.prepare(images), prompt, every)
    for other in (again, anew):
        assert other.box == first.box
        assert np.array_equal(other.probability, first.probability)


def test_a_box_segmented_again_after_another_one_gives_the_same_bits() -> None:
    """The view of the other one shows the first box as well, at another resolution."""
    engine, _ = tiny_sam()
    first, other = BoxPrompt(((14, 26), (14, 26), (9, 31))), BoxPrompt(((8, 22), (8, 22), (9, 31)))
    prepared = engine.prepare({"ct": noise_volume(CUBE)})
    answer = engine.segment(prepared, first).probability
    engine.segment(prepared, other)
    assert len(prepared.embeddings.views()) == 2
    assert np.array_equal(engine.segment(prepared, first).probability, answer)


def test_a_tiny_sam_equals_a_plain_loop_over_slices() -> None:
    """Batches, the cache and its float16 change nothing that matters; ImageNet's statistics are applied."""
    from TumorSegLib.engines.box.rectangles import SCALES
    from TumorSegLib.engines.box.views import View
    from TumorSegLib.models.formats import PIXELS

    engine, network = tiny_sam()
    volume = noise_volume(CUBE)
    prepared = engine.prepare({"ct": volume})
    box: Box = ((10, 30), (12, 32), (18, 25))
    answer = engine.segment(prepared, BoxPrompt(box)).probability
    view = View.of(CUBE, ((0, 40), (2, 40), (0, 40)), 2, 64)
    assert prepared.embeddings.views() == [view]
    images = view.to_input(view.stack(np.clip((volume.array + 160) / 400, 0, 1).astype(np.float32)))
    mean, std = (torch.tensor(values)[:, None, None] for values in PIXELS["imagenet"].values())
    loop = []
    for n in range(7):
        share = np.sqrt(1 - ((n + 0.5) / 7 * 2 - 1) ** 2)
        half = 10 * share * SCALES[n % 2]
        pixels = view.to_pixels(np.array([[20 - half, 20 + half, 20 - half, 20 + half]]))
        with torch.inference_mode():
            embedding = network.encode((images[18 + n][None] - mean) / std)
            logits, _ = network.decode(embedding, pixels)
        loop.append(torch.sigmoid(view.from_logits(logits[:, 0]))[0].numpy()[10:30, 10:30])
    weights = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    weights /= weights.sum()
    padded = np.pad(np.stack(loop), [(4, 4), (0, 0), (0, 0)])
    wanted = sum(w * padded[n : n + 7] for n, w in enumerate(weights))
    assert np.ptp(wanted) > 0.05
    assert np.abs(answer / 255 - wanted).max() < 0.01


def test_answering_in_bfloat16_says_so_and_changes_little() -> None:
    single, half = tiny_sam()[0], tiny_sam(dtype=torch.bfloat16)[0]
    images = {"ct": noise_volume(CUBE)}
    one, other = (engine.segment(engine.prepare(images), VOLUME_BOX) for engine in (single, half))
    assert other.info["precision"] == "bfloat16"
    difference = np.abs(one.probability.astype(int) - other.probability)
    assert 0 < difference.max() < 20


@PROMPTS
def test_embedding_ahead_saves_the_work_and_changes_no_bit(prompt: BoxPrompt) -> None:
    network = BrightSam()
    engine, images = bright_engine(network), {"ct": noise_volume(CUBE)}
    plain = engine.segment(engine.prepare(images), prompt)
    prepared, options = engine.prepare(images), BoxOptions(axes=(2,))
    wanted = prompt.box[2][1] - prompt.box[2][0]
    assert [engine.embed(prepared, prompt, options) for _ in range(2)] == [wanted, 0]
    network.encoded.clear()
    answer = engine.segment(prepared, prompt, options)
    assert prompt is SLICE_BOX or network.encoded == []
    assert np.array_equal(answer.probability, plain.probability)


def test_embedding_ahead_that_is_cancelled_keeps_its_slices() -> None:
    _, engine, prepared = bright_case()
    with pytest.raises(Cancelled):
        engine.embed(prepared, VOLUME_BOX, cancel=After(2))
    left = engine.embed(prepared, VOLUME_BOX)
    assert 0 < left < 22
    with pytest.raises(ArgumentError, match="leaves the image"):
        engine.embed(prepared, BoxPrompt(((9, 41), (9, 31), (9, 31))))
