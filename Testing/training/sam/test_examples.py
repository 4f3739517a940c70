"""What fine-tuning learns from: slices, prompts and targets of the box engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.config.finetune import FinetuneConfiguration
from training.data.cases import read_case
from training.sam.examples import AXIS, Example, choose_slices, draw_box, draw_prompt, make_batch
from training.sam.finetune import finetune
from TumorSegLib.engines.box.rectangles import SCALES, sampled_slices
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions


def test_changed_images_and_windows_are_encoded_again(
    new_data: Path, tuning: Callable[..., FinetuneConfiguration], tmp_path: Path
) -> None:
    run, output = tmp_path / "run", tmp_path / "tuned"
    finetune(tuning(), new_data, run, output, "cpu")
    shutil.copy(new_data / "b_ct.nii.gz", new_data / "a_ct.nii.gz")
    assert finetune(tuning(), new_data, run, output, "cpu")["encoded"] == 4  # the CT of case a
    narrow = tuning("margin_mm", 'ct_window = "liver"\nmargin_mm')
    assert finetune(narrow, new_data, run, output, "cpu")["encoded"] == 8  # both CTs


def test_prompts_are_those_of_the_engine(
    base: Path,
    data: Path,
    examples: list[Example],
    tuning: Callable[..., FinetuneConfiguration],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = read_case(data, "a", ["ct"])
    tumour = case.tumour_box
    settings, grid, decode, asked = tuning().data, case.reference.grid, Sam.decode, []

    def noted(self: Sam, embeddings: torch.Tensor, boxes: torch.Tensor, *others: Any, **more: Any) -> Any:
        asked.append(boxes)
        return decode(self, embeddings, boxes, *others, **more)

    monkeypatch.setattr(Sam, "decode", noted)
    engine, shares = load_engine(base, "cpu", kind="box"), []
    prepared = engine.prepare(case.images, BoxOptions("ct"))
    for seed, example in enumerate(examples[:4] * 5):
        box = draw_box(tumour, grid, settings, np.random.default_rng(seed))
        numbers = sampled_slices(box[AXIS], grid.spacing[AXIS])
        if example.number in numbers:
            asked.clear()
            monkeypatch.setattr(engine, "view", lambda *_, view=example.view: view)
            engine.segment(prepared, BoxPrompt(box))
            left, top, right, bottom = torch.cat(asked)[numbers.index(example.number)].tolist()
            prompt = draw_prompt(example, settings, np.random.default_rng(seed))[0].tolist()
            share = (prompt[2] - prompt[0]) / (right - left)
            assert (prompt[3] - prompt[1]) / (bottom - top) == pytest.approx(share, abs=1e-3)
            assert prompt[0] + prompt[2] == pytest.approx(left + right, abs=1e-3)
            assert prompt[1] + prompt[3] == pytest.approx(top + bottom, abs=1e-3)
            shares.append(share)
    # The engine's are at one or the other end of the range.
    assert len(shares) > 10
    assert min(SCALES) / max(SCALES) <= min(shares) < 0.95
    assert 1.05 < max(shares) <= max(SCALES) / min(SCALES)


def test_targets_lie_where_the_tumour_is(data: Path, examples: list[Example]) -> None:
    case = read_case(data, "a", ["ct"])
    tumour = case.tumour_box
    empty = 0
    for example in examples:
        (r0, r1), (c0, c1) = example.view.region[1], example.view.region[0]
        section = case.reference.array[example.number, r0:r1, c0:c1] > 0
        assert example.target.shape == (16, 16)
        area = example.target.sum() / (example.view.pixels[0] * example.view.pixels[1] / 16)
        assert area == pytest.approx(section.mean(), abs=0.04)
        if section.any():
            rows, columns = np.argwhere(example.target).mean(axis=0) + 0.5
            middle = np.argwhere(section).mean(axis=0) + 0.5
            wanted = middle / section.shape * example.view.pixels / 4
            assert (rows, columns) == pytest.approx(tuple(wanted), abs=0.7)
        empty += not section.any()
        assert (example.number in range(*tumour[AXIS])) == section.any()
    assert 0 < empty < len(examples)


def test_slices_reach_beyond_the_tumour(tuning: Callable[..., FinetuneConfiguration]) -> None:
    grid = Grid.from_spacing((40, 10, 10), (1.0, 1.0, 2.0))
    settings = replace(tuning().data, slices_per_case=6)  # boxes reach 7 mm, 4 slices of 2 mm
    drawn = [choose_slices((12, 24), grid, settings, np.random.default_rng(seed)) for seed in range(200)]
    for numbers in drawn:
        assert len(set(numbers)) == 6
        assert sum(15 <= number < 21 for number in numbers) >= 3
    assert {number for numbers in drawn for number in numbers} == set(range(8, 28))
    thin = choose_slices((12, 13), grid, settings, np.random.default_rng(0))
    assert len(set(thin)) == 6
    assert choose_slices((0, 40), grid, replace(settings, slices_per_case=99), np.random.default_rng(0)) == list(
        range(40)
    )


def test_boxes_leave_the_margins_asked_for(data: Path, tuning: Callable[..., FinetuneConfiguration]) -> None:
    grid, tumour = Grid.from_spacing((60, 60, 60), (1.0, 1.0, 1.0)), ((20, 30), (20, 40), (25, 30))
    rng = np.random.default_rng(0)
    margins = []
    for _ in range(100):
        for (low, high), (a, b) in zip(tumour, draw_box(tumour, grid, tuning().data, rng)):
            margins += [low - a, b - high]
    assert (min(margins), max(margins)) == (3, 7)
    assert draw_box(((0, 60),) * 3, grid, tuning().data, rng) == ((0, 60),) * 3


def test_boxes_differ_between_visits(examples: list[Example], tuning: Callable[..., FinetuneConfiguration]) -> None:
    rng = np.random.default_rng(0)
    embeddings, boxes, targets = make_batch([examples[1]] * 5, tuning().data, rng, torch.device("cpu"))
    assert (embeddings.dtype, embeddings.shape, targets.shape) == (torch.float32, (5, 64, 4, 4), (5, 16, 16))
    assert len({tuple(box.tolist()) for box in boxes}) == 5
