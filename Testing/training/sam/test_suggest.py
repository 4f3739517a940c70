"""Suggesting objects: plausible answers are kept, work goes on where it stopped, and mistakes are one clear line."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from Testing.training.objects.object_cases import write_suite
from training.__main__ import main
from training.objects.library import Library, TrainingCase, read_library
from training.objects.suggestions import read_suggestions
from training.sam.suggest import SuggestPlan, draw_rectangle, draw_slab, suggest
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.box.slice_model import BoxCase
from TumorSegLib.engines.box.views import View
from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume

GRID = Grid.from_spacing((30, 40, 44), (2.0, 2.0, 3.0))
#: Middle (k, j, i) and radius in voxels of the balls of the image.
BALLS = (((10, 14, 14), 7), ((20, 27, 30), 8))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture
def engine(base: Path, monkeypatch: pytest.MonkeyPatch) -> BoxEngine:
    """A box engine that marks what is bright in a rectangle or beside it: the network has random weights."""
    engine = load_engine(base, "cpu", "float32", "torch", kind="box")
    monkeypatch.setattr(engine.model, "encode", coded)
    monkeypatch.setattr(engine.model, "decode", bright)
    return engine


def coded(case: BoxCase, view: View, numbers: range, job: Any) -> torch.Tensor:
    """In place of its embedding the number of a slice."""
    return torch.tensor([float(number) for number in numbers])


def bright(
    case: BoxCase, view: View, embeddings: torch.Tensor, rectangles: np.ndarray, job: Any
) -> tuple[np.ndarray, np.ndarray]:
    (number,), (rectangle,) = embeddings.int().tolist(), rectangles
    answer = np.where(view.stack(case.array)[number] > 0.6, 0.95, 0.02).astype(np.float32)
    top, bottom, left, right = rectangle.round().astype(int)
    outside = np.ones(answer.shape, bool)
    outside[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = False
    answer[outside] = 0.02
    return answer[None], np.array([0.9])


def case_of_balls(name: str = "case") -> TrainingCase:
    array = np.random.default_rng(0).normal(300, 20, GRID.shape).astype(np.float32)
    for middle, radius in BALLS:
        array[np.linalg.norm(np.indices(GRID.shape) - np.reshape(middle, (3, 1, 1, 1)), axis=0) <= radius] += 400
    return TrainingCase(name, {"mr_t1": Volume(GRID, array, "mr_t1")}, [], "set")


def plan(slabs: int = 2, minutes: float = math.inf, seed: int = 0) -> SuggestPlan:
    return SuggestPlan(slabs, seed, minutes)


def test_balls_are_found_and_none_twice(engine: BoxEngine, tmp_path: Path) -> None:
    case = case_of_balls()
    counts = suggest(engine, Library([case], []), tmp_path, plan(slabs=6))
    found = read_suggestions(tmp_path / "case.npz", case)
    assert counts == {"mr_t1": len(found.contours)}
    assert (found.slabs, found.model, found.weights) == (6, "tiny-sam", engine.spec.weights_sha256)
    whole = []
    for contour in found.contours:
        middle = np.add(contour.corner, np.divide(contour.array.shape[::-1], 2) - 0.5)[::-1]
        ball = int(np.argmin([np.linalg.norm(middle - centre) for centre, _ in BALLS]))
        centre, radius = BALLS[ball]
        k, j, i = np.indices(contour.array.shape) + np.reshape(contour.corner[::-1], (3, 1, 1, 1))
        inside = np.sqrt((k - centre[0]) ** 2 + (j - centre[1]) ** 2 + (i - centre[2]) ** 2) <= radius
        # The ball, or a part that the slab cut off; never what is around it.
        assert (contour.array & inside).sum() > 0.85 * contour.array.sum()
        volume = 4 / 3 * math.pi * radius**3
        whole += [ball] if (contour.array & inside).sum() > 0.8 * volume else []
    assert len(whole) == len(set(whole)) > 0


def test_work_goes_on_where_it_stopped(
    engine: BoxEngine, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = read_library(root, 1)
    at_once, stopped = tmp_path / "once", tmp_path / "stopped"
    at_once.mkdir()
    stopped.mkdir()
    counts = suggest(engine, library, at_once, plan())
    assert counts.total() > 0
    assert sorted(path.name for path in at_once.iterdir()) == ["a.npz", "head.npz", "n1.npz"]
    assert suggest(engine, library, stopped, plan(minutes=0)).total() == 0
    assert list(stopped.iterdir()) == []
    suggest(engine, library, stopped, plan(slabs=1))
    capsys.readouterr()
    assert suggest(engine, library, stopped, plan()) == counts
    assert capsys.readouterr().out.count("slab 2, ") == 3
    assert suggest(engine, library, stopped, plan()) == counts
    assert capsys.readouterr().out == ""
    for case in (*library.sarcomas, *library.contours):
        first, second = (read_suggestions(folder / f"{case.name}.npz", case) for folder in (at_once, stopped))
        assert np.array_equal(first.contours.bits, second.contours.bits)


def test_files_of_other_weights_are_not_added_to(engine: BoxEngine, tmp_path: Path) -> None:
    library = Library([case_of_balls()], [])
    suggest(engine, library, tmp_path, plan(slabs=1))
    engine.spec = replace(engine.spec, weights_sha256="1" * 64)
    with pytest.raises(ReadError, match=r"case\.npz: was made with other weights than those of 'tiny-sam'"):
        suggest(engine, library, tmp_path, plan())


def test_slabs_and_boxes_lie_in_the_image(engine: BoxEngine) -> None:
    case, rng = case_of_balls(), np.random.default_rng(0)
    axes = []
    for _ in range(20):
        slab = draw_slab(engine, case, rng)
        assert slab is not None
        axes.append(slab.view.axis)
        assert 0 <= slab.numbers[0] <= slab.numbers[-1] < GRID.size[slab.view.axis]
        drawn = draw_rectangle(slab, rng)
        if drawn is not None:
            position, (top, bottom, left, right) = drawn
            _, rows, columns = slab.view.shape
            assert position in slab.starts
            assert 0 <= top < bottom - 3.19 < rows  # four voxels, and a jitter of a tenth on both sides
            assert 0 <= left < right - 3.19 < columns
    assert set(axes) == {0, 1, 2}
    empty = TrainingCase("air", {"ct": Volume(GRID, np.full(GRID.shape, -2000, np.float32), "ct")}, [], "set")
    assert draw_slab(engine, empty, rng) is None


@pytest.mark.parametrize(
    ("change", "words"), [({"slabs": 0}, "slabs"), ({"minutes": -1.0}, "minutes"), ({"seed": -1}, "seed")]
)
def test_impossible_plans_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        plan(**change)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "sts-auto"], "is of kind 'auto', suggest-objects needs 'box'; use evaluate-auto"),
        (["--minutes", "-3"], "minutes"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_clear_line(
    base: Path, tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["suggest-objects", "--model", str(base), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*arguments, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("training: error: ")
    assert words in line


def test_the_command_writes_files_and_tells_counts(
    base: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With random weights nothing need be plausible; sarcomas of the test fold are left out."""
    arguments = ["--model", str(base), "--output", str(tmp_path / "out"), "--data", str(root), "--slabs", "1"]
    assert main(["suggest-objects", *arguments, "--device", "cpu", "--precision", "float32"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.npz", "head.npz", "n1.npz"]
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"wrote {tmp_path / 'out'}: ")
