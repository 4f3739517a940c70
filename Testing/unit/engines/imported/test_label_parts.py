"""The probabilities of many labels: the same in memory and in a file, bounded, and a full disk."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from Testing.unit.cases.label_models import LABELS, REGIONS, label_model
from TumorSegLib.engines import label_parts as parts
from TumorSegLib.engines.imported.answer import Answer, Reading
from TumorSegLib.engines.imported.case import Turn
from TumorSegLib.errors import ResourceError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.jobs import Job
from TumorSegLib.protocols import Result

MEGABYTE = 2**20
MANY = {f"label {n}": n for n in range(1, 41)}


def diffuse() -> tuple[Answer, torch.Tensor]:
    """An answer in which each of 40 labels has a probability everywhere: 40 arrays of half a megabyte."""
    grid = Grid.from_spacing((64, 64, 64), (1.0, 1.0, 1.0))
    case: Any = SimpleNamespace(
        grid=grid,
        turn=Turn((0, 1, 2), ()),
        crop=((0, 64), (0, 64), (0, 64)),
        restoring=SimpleNamespace(slices=lambda logits: (logits[:, n] for n in range(logits.shape[1]))),
    )
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((41, *grid.shape), generator=generator)
    return Answer(Reading(MANY, MANY, regions=False), case, with_uncertainty=False), logits


def test_many_labels_take_no_more_memory_than_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BUDGET", 3 * MEGABYTE)
    answer, logits = diffuse()
    tracemalloc.start()
    try:
        result = answer.of(logits, Job(name="test"))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    arrays = [each.probability for each in result.labels.values()]
    in_memory = sum(each.nbytes for each in arrays if not isinstance(each, np.memmap))
    assert sum(each.nbytes for each in arrays) == 20 * MEGABYTE
    assert in_memory <= 3 * MEGABYTE
    # the budget, mask and probability of the image, and what one slice takes
    assert kept < 6 * MEGABYTE
    assert peak < 8 * MEGABYTE
    expected = torch.softmax(logits, dim=0)
    for name, value in MANY.items():
        found = result.probability_of(name).array
        assert np.abs(found - expected[value].numpy()).max() < 1e-3
    assert np.array_equal(result.mask.array, expected.argmax(dim=0).numpy())


def same(first: Result, second: Result) -> bool:
    return all(
        np.array_equal(first.probability_of(name).array, second.probability_of(name).array)
        and np.array_equal(first.mask_of(name).array, second.mask_of(name).array)
        for name in first.labels
    )


@pytest.mark.parametrize("data_set", [LABELS, REGIONS])
@pytest.mark.parametrize("budget", [0, 5_000, 20_000])
def test_trainings_answer_the_same_from_a_file(
    data_set: str, budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path))
    model = label_model(data_set, "model")
    expected = model.result()
    monkeypatch.setattr(parts, "BUDGET", budget)
    found = model.result()
    assert any(isinstance(each.probability, np.memmap) for each in found.labels.values())
    assert not any(isinstance(each.probability, np.memmap) for each in expected.labels.values())
    assert same(found, expected)


def test_a_full_disk_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BUDGET", MEGABYTE)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no device that is always full")
    monkeypatch.setattr(parts.tempfile, "TemporaryFile", lambda **_: full.open("r+b", buffering=0))
    answer, logits = diffuse()
    with pytest.raises(ResourceError, match=r"no room for the probabilities of the labels in .*: No space left"):
        answer.of(logits, Job(name="test"))
