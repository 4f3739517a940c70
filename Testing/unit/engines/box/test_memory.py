"""The box engine on a graphics card whose memory does not suffice: smaller batches, then the CPU, then an error."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch

from Testing.unit.engines.box.test_running import failing
from Testing.unit.engines.box_cases import CUBE, BrightSam, box_spec, bright_engine, ct_of
from TumorSegLib.engines.box import rectangles
from TumorSegLib.engines.box.embeddings import BATCH
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ResourceError
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import Refinement

# The meta device stands for the card: there is no memory on it at all, and no values.
CARD = torch.device("meta")
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"
# All is bright, so that a network knows its answer without values.
IMAGES = {"ct": ct_of(CUBE, np.ones(CUBE.shape, bool))}
VOLUME = BoxPrompt(((9, 31), (9, 31), (9, 31)))
SLICE = BoxPrompt(((9, 31), (9, 31), (20, 21)))
PROMPTS = pytest.mark.parametrize("prompt", [VOLUME, SLICE], ids=["volume", "slice"])


class Cramped(BrightSam):
    """Runs out of memory on the card with more slices at once than fit.

    Attributes:
        calls: what was asked, where, and of how many slices.
        alive: refused slices that were still in memory when others came.
    """

    def __init__(self, encodes: int, decodes: int) -> None:
        super().__init__()
        self.fits = {"encode": encodes, "decode": decodes}
        self.calls: list[tuple[str, str, int]] = []
        self.alive = 0
        self._refused: list[weakref.ref[torch.Tensor]] = []

    def on(self, device: str, what: str) -> list[int]:
        """How many slices were asked for at once."""
        return [count for asked, where, count in self.calls if (asked, where) == (what, device)]

    def _ask(self, what: str, given: torch.Tensor) -> bool:
        """Whether it is the card that is to answer."""
        self.calls.append((what, given.device.type, len(given)))
        self.alive += sum(reference() is not None for reference in self._refused)
        if given.device == CARD and len(given) > self.fits[what]:
            self._refused.append(weakref.ref(given))
            raise RuntimeError(FULL)
        return given.device == CARD

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(images), 1, *images.shape[2:]) if self._ask("encode", images) else super().encode(images)

    def decode(self, embeddings: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self._ask("decode", embeddings):
            return super().decode(embeddings, boxes)
        return torch.full((len(boxes), 1, *embeddings.shape[2:]), 10.0), torch.ones(len(boxes), 1)


@pytest.fixture(autouse=True)
def every_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thin slices are segmented one by one."""
    monkeypatch.setattr(rectangles, "STEP_MM", 0.0)


def on_card(network: BrightSam) -> BoxEngine:
    return BoxEngine(box_spec(), network, Runtime(CARD, torch.float32))  # type: ignore[arg-type]


def plain(prompt: BoxPrompt) -> Refinement:
    engine = bright_engine()
    return engine.segment(engine.prepare(IMAGES), prompt)


@PROMPTS
def test_out_of_memory_on_a_card_falls_back_to_the_cpu_for_this_case_only(prompt: BoxPrompt) -> None:
    network, wanted = Cramped(0, 0), plain(prompt)
    engine = on_card(network)
    for _ in range(2):
        network.calls.clear()
        prepared = engine.prepare(IMAGES)
        answer = engine.segment(prepared, prompt)
        assert (answer.info["device"], answer.info["precision"]) == ("cpu", "float32")
        assert answer.info["notes"] == ["There was not enough memory on meta for bright: it ran on the CPU, slower."]
        assert answer.box == wanted.box
        assert np.array_equal(answer.probability, wanted.probability)
        assert network.on("meta", "encode") == ([BATCH, 1] if prompt is VOLUME else [1, 1])
        assert network.on("meta", "decode") == []
    assert network.alive == 0, "slices that were too many are still held in memory"
    network.calls.clear()
    engine.segment(prepared, prompt)  # the same case stays where it is
    assert {where for _, where, _ in network.calls} == {"cpu"}


def test_out_of_memory_on_a_card_encodes_one_slice_at_a_time() -> None:
    network = Cramped(1, BATCH)
    engine = on_card(network)
    for _ in range(2):  # the next case is tried as if nothing had been
        network.calls.clear()
        info = engine.segment(engine.prepare(IMAGES), VOLUME).info
        assert network.on("meta", "encode") == [BATCH, *[1] * 22]
        assert network.on("meta", "decode") == [4, 4, 4, 4, 4, 2]
        assert network.on("cpu", "encode") == network.on("cpu", "decode") == []
        assert (info["device"], info["slices"]) == ("meta", 22)


def test_a_card_with_memory_encodes_several_slices_at_a_time() -> None:
    network = Cramped(BATCH, BATCH)
    engine = on_card(network)
    info = engine.segment(engine.prepare(IMAGES), VOLUME).info
    assert info["device"] == "meta"
    assert info.notes == ()
    assert network.on("meta", "encode") == network.on("meta", "decode") == [4, 4, 4, 4, 4, 2]


@PROMPTS
def test_what_was_embedded_on_the_card_serves_the_cpu(prompt: BoxPrompt) -> None:
    network, wanted = Cramped(BATCH, 0), plain(prompt)
    told: list[int] = []
    engine = on_card(network)
    prepared = engine.prepare(IMAGES)
    answer = engine.segment(prepared, prompt, progress=lambda done, _: told.append(done))
    assert answer.box == wanted.box
    assert np.array_equal(answer.probability, wanted.probability)
    assert answer.info["slices"] == wanted.info["slices"]
    assert told == sorted(told)
    if prompt is VOLUME:
        assert network.on("cpu", "encode") == []
        assert network.on("meta", "decode") == [BATCH, 1]


@pytest.mark.parametrize("what", ["encode", "decode"])
def test_a_card_that_fills_up_at_work_does_nothing_twice(what: str) -> None:
    class Filling(Cramped):
        def _ask(self, asked: str, given: torch.Tensor) -> bool:
            if len(self.on("meta", what)) == 2:
                self.fits[what] = 0
            return super()._ask(asked, given)

    network, wanted = Filling(BATCH, BATCH), plain(VOLUME)
    told: list[int] = []
    engine = on_card(network)
    prepared = engine.prepare(IMAGES)
    answer = engine.segment(prepared, VOLUME, progress=lambda done, _: told.append(done))
    assert network.on("meta", what) == [BATCH, BATCH, BATCH, 1]  # the last two refused
    assert sum(network.on("cpu", what)) == 22 - 2 * BATCH
    assert answer.probability.shape == wanted.probability.shape
    assert answer.info["slices"] == told[-1] == 22
    assert told == sorted(told)


def test_embedding_ahead_goes_on_on_the_cpu_as_well() -> None:
    network = Cramped(0, 0)
    engine = on_card(network)
    prepared = engine.prepare(IMAGES)
    assert engine.embed(prepared, VOLUME) == 22
    network.calls.clear()
    answer = engine.segment(prepared, VOLUME)
    assert network.on("cpu", "encode") == network.on("meta", "encode") == []
    assert np.array_equal(answer.probability, plain(VOLUME).probability)


@PROMPTS
def test_where_the_cpu_has_no_memory_either_the_error_says_so(prompt: BoxPrompt) -> None:
    network = Cramped(0, 0)
    engine = on_card(network)
    prepared = engine.prepare(IMAGES)
    network.before = failing(MemoryError("no room"))
    with pytest.raises(ResourceError, match="to run 'bright': no room"):
        engine.segment(prepared, prompt)
    network.before = lambda: None
    assert np.array_equal(engine.segment(prepared, prompt).probability, plain(prompt).probability)


def test_other_errors_on_the_card_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Cramped(0, 0)
    engine = on_card(network)
    monkeypatch.setattr("Testing.unit.engines.box.test_memory.FULL", "shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        engine.segment(engine.prepare(IMAGES), VOLUME)
    assert network.calls == [("encode", "meta", BATCH)]


def test_a_network_too_large_for_the_card_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError(FULL)

    monkeypatch.setattr("TumorSegLib.engines.runtime._moved", full)
    with pytest.raises(ResourceError, match="not enough memory to put 'bright' on meta: CUDA out of memory"):
        on_card(Cramped(0, 0))
