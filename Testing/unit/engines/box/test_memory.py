"""The box engine on a graphics card whose memory does not suffice: smaller batches, then the CPU, then an error."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch

from Testing.unit.engines.box_cases import PROMPTS, VOLUME_BOX, BrightSam, box_spec, bright_engine, ct_of, failing
from Testing.unit.engines.click_cases import CUBE
from TumorSegLib.engines.box.embeddings import SLICES_PER_PASS
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


class Cramped(BrightSam):
    """Runs out of memory on the card with more slices at once than fit.

    Attributes:
        calls: method, device and number of slices of every call.
        alive: refused slices that were still in memory at later calls.
    """

    def __init__(self, encodes: int, decodes: int) -> None:
        super().__init__()
        self.fits = {"encode": encodes, "decode": decodes}
        self.calls: list[tuple[str, str, int]] = []
        self.alive = 0
        self._refused: list[weakref.ref[torch.Tensor]] = []

    def on(self, device: str, method: str) -> list[int]:
        """Numbers of slices of the calls of a method."""
        return [count for name, where, count in self.calls if (name, where) == (method, device)]

    def _record(self, what: str, given: torch.Tensor) -> bool:
        """Whether the call is on the card."""
        self.calls.append((what, given.device.type, len(given)))
        self.alive += sum(reference() is not None for reference in self._refused)
        if given.device == CARD and len(given) > self.fits[what]:
            self._refused.append(weakref.ref(given))
            raise RuntimeError(FULL)
        return given.device == CARD

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return (
            torch.ones(len(images), 1, *images.shape[2:]) if self._record("encode", images) else super().encode(images)
        )

    def decode(self, embeddings: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self._record("decode", embeddings):
            return super().decode(embeddings, boxes)
        return torch.full((len(boxes), 1, *embeddings.shape[2:]), 10.0), torch.ones(len(boxes), 1)


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
        assert network.on("meta", "encode") == ([SLICES_PER_PASS, 1] if prompt is VOLUME_BOX else [1, 1])
        assert network.on("meta", "decode") == []
    assert network.alive == 0, "slices that were too many are still in memory"
    network.calls.clear()
    engine.segment(prepared, prompt)  # the same case stays where it is
    assert {where for _, where, _ in network.calls} == {"cpu"}


@pytest.mark.parametrize(
    ("encodes", "calls"),
    [(SLICES_PER_PASS, [4, 4, 4, 4, 4, 2]), (1, [SLICES_PER_PASS, *[1] * 22])],
    ids=["in batches", "one by one"],
)
def test_slices_are_encoded_one_by_one_on_a_card_without_memory_for_batches(encodes: int, calls: list[int]) -> None:
    network = Cramped(encodes, SLICES_PER_PASS)
    engine = on_card(network)
    for _ in range(2):  # the next case begins with batches again
        network.calls.clear()
        info = engine.segment(engine.prepare(IMAGES), VOLUME_BOX).info
        assert (info["device"], info["slices"], info.notes) == ("meta", 22, ())
        assert network.on("meta", "encode") == calls
        assert network.on("meta", "decode") == [4, 4, 4, 4, 4, 2]
        assert network.on("cpu", "encode") == network.on("cpu", "decode") == []


@PROMPTS
def test_embeddings_of_the_card_are_used_on_the_cpu(prompt: BoxPrompt) -> None:
    network, wanted = Cramped(SLICES_PER_PASS, 0), plain(prompt)
    reported: list[int] = []
    engine = on_card(network)
    prepared = engine.prepare(IMAGES)
    answer = engine.segment(prepared, prompt, progress=lambda done, _: reported.append(done))
    assert answer.box == wanted.box
    assert np.array_equal(answer.probability, wanted.probability)
    assert answer.info["slices"] == wanted.info["slices"]
    assert reported == sorted(reported)
    if prompt is VOLUME_BOX:
        assert network.on("cpu", "encode") == []
        assert network.on("meta", "decode") == [SLICES_PER_PASS, 1]


@pytest.mark.parametrize("what", ["encode", "decode"])
def test_out_of_memory_on_a_card_during_the_work_repeats_no_slice(what: str) -> None:
    class Filling(Cramped):
        def _record(self, method: str, given: torch.Tensor) -> bool:
            if len(self.on("meta", what)) == 2:
                self.fits[what] = 0
            return super()._record(method, given)

    network, wanted = Filling(SLICES_PER_PASS, SLICES_PER_PASS), plain(VOLUME_BOX)
    reported: list[int] = []
    engine = on_card(network)
    prepared = engine.prepare(IMAGES)
    answer = engine.segment(prepared, VOLUME_BOX, progress=lambda done, _: reported.append(done))
    assert network.on("meta", what) == [SLICES_PER_PASS, SLICES_PER_PASS, SLICES_PER_PASS, 1]  # the last two refused
    assert sum(network.on("cpu", what)) == 22 - 2 * SLICES_PER_PASS
    assert answer.probability.shape == wanted.probability.shape
    assert answer.info["slices"] == reported[-1] == 22
    assert reported == sorted(reported)


def test_embedding_ahead_goes_on_on_the_cpu_as_well() -> None:
    network = Cramped(0, 0)
    engine = on_card(network)
    prepared = engine.prepare(IMAGES)
    assert engine.embed(prepared, VOLUME_BOX) == 22
    network.calls.clear()
    answer = engine.segment(prepared, VOLUME_BOX)
    assert network.on("cpu", "encode") == network.on("meta", "encode") == []
    assert np.array_equal(answer.probability, plain(VOLUME_BOX).probability)


@PROMPTS
def test_a_lack_of_memory_on_the_cpu_too_is_reported_and_leaves_the_case_usable(prompt: BoxPrompt) -> None:
    network = Cramped(0, 0)
    engine = on_card(network)
    prepared = engine.prepare(IMAGES)
    network.before = failing(MemoryError("no room"))
    with pytest.raises(ResourceError, match="to run 'bright': no room"):
        engine.segment(prepared, prompt)
    network.before = lambda: None
    assert np.array_equal(engine.segment(prepared, prompt).probability, plain(prompt).probability)


def test_a_network_too_large_for_the_card_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("TumorSegLib.engines.placement._moved", lambda *_: failing(RuntimeError(FULL))())
    with pytest.raises(ResourceError, match="not enough memory to put 'bright' on meta: CUDA out of memory"):
        on_card(Cramped(0, 0))
