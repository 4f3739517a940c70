"""Evaluation of box models: the boxes a user would draw, what they are compared with, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from Testing.unit.engines.box_cases import BrightSam, bright_engine
from training.__main__ import main
from training.data.cases import Case
from training.evaluation.boxes import (
    ALL_AXES,
    ELLIPSOID,
    EXACT,
    SLICE,
    VOLUME,
    BoxPlan,
    evaluate_boxes,
    format_boxes,
    inscribed_ellipsoid,
    loose_box,
    middle_slice,
)
from TumorSegLib.engines.importers.sam import import_checkpoint
from TumorSegLib.errors import ReadError
from TumorSegLib.geometry.boxes import full_box
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import BoxPrompt

GRID = Grid.from_spacing((40, 50, 60), (1.0, 2.0, 2.5))
TRUTH = np.zeros(GRID.shape, dtype=np.uint8)
TRUTH[15:25, 20:30, 20:40] = 1
TRUTH[20, 24:26, 25:30] = 1


def case_of(array: np.ndarray, name: str = "c") -> Case:
    return Case(name, {}, Mask(GRID, array), full_box(GRID.shape))


def test_a_loose_box_leaves_5_to_10_mm_on_every_side() -> None:
    margins = []
    for number in range(200):
        box = loose_box(case_of(TRUTH, str(number))).box
        sides = [(low - a, b - high) for (low, high), (a, b) in zip(((20, 40), (20, 30), (15, 25)), box)]
        margins += [(-before * step, behind * step) for (before, behind), step in zip(sides, GRID.spacing)]
    values = np.abs(np.array(margins))
    assert values.min() >= 5 - 2.5 / 2
    assert values.max() <= 10 + 2.5 / 2
    assert values.mean() == pytest.approx(7.5, abs=0.3)


def test_the_jitter_of_a_box_depends_on_the_name_of_the_case_anagrams_too() -> None:
    assert loose_box(case_of(TRUTH, "STS_009")) == loose_box(case_of(TRUTH, "STS_009"))
    boxes = {loose_box(case_of(TRUTH, name)).box for name in ("STS_009", "STS_036", "STS_090", "STS_015", "STS_042")}
    assert len(boxes) == 5


def test_a_loose_box_stays_in_the_image() -> None:
    corner = np.zeros(GRID.shape, dtype=np.uint8)
    corner[0, 0, 0] = corner[-1, -1, -1] = 1
    assert loose_box(case_of(corner)).box == ((0, 60), (0, 50), (0, 40))


def test_middle_slice_box_fits_the_tumour_in_that_slice() -> None:
    array = TRUTH.copy()
    array[20] = 0
    array[20, 22:26, 25:30] = 1
    box = BoxPrompt(((15, 47), (18, 33), (12, 27)))  # margins of 5 and 7, 2 and 3, 3 and 2 voxels
    assert middle_slice(box, case_of(array)).box == ((20, 37), (20, 29), (20, 21))


def test_the_inscribed_ellipsoid_fills_pi_sixths_of_its_box() -> None:
    box = BoxPrompt(((5, 55), (10, 40), (4, 36)))
    array = inscribed_ellipsoid(box, GRID).array
    assert array.sum() == pytest.approx(np.pi / 6 * 50 * 30 * 32, rel=0.01)
    assert Mask(GRID, array).bounding_box() == box.box


def test_report_and_table(data: Path) -> None:
    plan = BoxPlan(bright_engine(BrightSam()))
    report = evaluate_boxes(plan, data, 2, ["ct", "pet"])
    assert (report["fold"], report["refiner"]) == (2, None)
    assert [row["case"] for row in report["roles"]["ct"][VOLUME]["cases"]] == ["c", "d"]
    assert [row["case"] for row in report["roles"]["pet"][VOLUME]["cases"]] == ["c"]  # d has no PET
    for methods in report["roles"].values():
        assert list(methods) == [ELLIPSOID, EXACT, VOLUME, ALL_AXES, SLICE]
        assert 0.1 < methods[ELLIPSOID]["worst"] <= methods[ELLIPSOID]["median"] < methods[VOLUME]["median"] <= 1
        assert methods[EXACT]["median"] > methods[VOLUME]["median"]
    lines = format_boxes(report).splitlines()
    assert [line.split(maxsplit=2)[:2] for line in lines[1:3]] == [["ct:", "ellipsoid"], ["ct:", "exact"]]
    assert len({len(line) for line in lines}) == 1


def test_box_evaluation_without_roles_or_tumour_is_refused(data: Path) -> None:
    plan = BoxPlan(bright_engine(BrightSam()))
    with pytest.raises(ReadError, match="none of the roles mr_t2"):
        evaluate_boxes(plan, data, 2, ["mr_t2"])
    with pytest.raises(ReadError, match="case 'c' has no tumour, so no box; remove it from splits"):
        loose_box(case_of(np.zeros_like(TRUTH)))


@pytest.mark.usefixtures("models")
def test_command_of_boxes(data: Path, tmp_path: Path, checkpoint: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.pth").write_bytes(checkpoint)
    import_checkpoint(tmp_path / "tiny.pth", "tiny-sam", "unit")
    command = ["evaluate-boxes", "--model", "tiny-sam", "--data", str(data), "--fold", "2", "--roles", "ct"]
    assert main([*command, "--json", str(tmp_path / "report.json")]) == 0
    assert "ct: ellipsoid" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (report["model"], report["fold"], list(report["roles"])) == ("tiny-sam", 2, ["ct"])
