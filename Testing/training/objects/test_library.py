"""Which cases and contours may train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.training.objects.object_cases import LABELS, save, task, write_suite
from training.data.cases import default_root
from training.objects.library import _is_held, read_library
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.parsing import load_json


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite"))


def test_only_training_cases_and_kinds_the_suite_does_not_reserve_are_read(root: Path) -> None:
    library = read_library(root, 1)
    assert [case.name for case in library.sarcomas] == ["a"]
    assert [case.name for case in read_library(root, 0).sarcomas] == ["b"]
    assert [case.name for case in library.contours] == ["n1", "head"]
    neck, head = library.contours
    assert list(head.images) == ["mr_t1"]
    assert head.contours == []
    # Larynx and parotid are tested, on either side, and so is the cord, whose part the grey matter is.
    assert [contour.corner for contour in neck.contours] == [(20, 6, 14)]
    assert neck.contours[0].array.all()
    assert neck.contours[0].array.shape == (8, 8, 8)
    assert len((*library.sarcomas, *library.contours)) == 3
    assert [len(case.contours) for case in library.sarcomas] == [1]


def test_without_tasks_every_label_is_a_contour(tmp_path: Path) -> None:
    neck = read_library(write_suite(tmp_path, tasks=[]), 1).contours[0]
    assert len(neck.contours) == len(LABELS)


def test_a_voxel_of_a_contour_lies_in_it(root: Path) -> None:
    (contour,) = read_library(root, 1).contours[0].contours
    rng = np.random.default_rng(0)
    voxels = np.array([contour.voxel(rng) for _ in range(200)])
    assert voxels.min(axis=0).tolist() == [20, 6, 14]
    assert voxels.max(axis=0).tolist() == [27, 13, 21]


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("larynx", True),
        ("parotid right", True),
        ("spinal cord", True),
        ("spinal cord white matter", True),
        ("cordless", False),
        ("oesophagus", False),
        ("gland", False),
    ],
)
def test_a_kind_is_held_on_either_side_and_in_parts(name: str, held: bool) -> None:
    assert _is_held(name, {"larynx", "parotid left", "cord"}) == held


TRAIN = {"root": "general", "set": "neck", "case": "n1", "contours": True}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": [TRAIN | {"case": "n3"}]}, "suite.json: 'n3' of 'neck' is a task, and may not train"),
        ({"tasks": [task("n1", "larynx", 1, "validate")]}, "suite.json: 'n1' of 'neck' is a task"),
        ({"train": [TRAIN | {"case": "n9"}]}, "index.json: has no case 'n9' of 'neck'"),
    ],
)
def test_a_task_or_an_unknown_case_may_not_train(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ReadError, match=words):
        read_library(write_suite(tmp_path, **changes), 1)


def test_a_share_alike_licence_is_refused(tmp_path: Path) -> None:
    root = write_suite(tmp_path)
    index = load_json(root / "general" / "index.json")
    index["cases"][0]["licence"] = "CC BY-SA 4.0"
    save(root / "general" / "index.json", index)
    with pytest.raises(ReadError, match=r"'n1' has the licence CC BY-SA 4\.0, and may not train"):
        read_library(root, 1)
    with pytest.raises(ArgumentError, match="fold"):
        read_library(root, 7)


@pytest.mark.data
def test_the_real_suite_trains_on_no_case_and_no_kind_that_it_measures() -> None:
    root = default_root()
    if not (root / "suite.json").is_file():
        pytest.skip(f"no suite at {root}")
    suite = load_json(root / "suite.json")
    measured = {(entry["set"], entry["case"]) for entry in suite["tasks"]}
    trained = [(entry["set"], entry["case"]) for entry in suite["train"]]
    assert len(trained) > 20
    assert not measured & set(trained)
    indices = {name: load_json(root / name / "index.json")["cases"] for name in ("more", "general")}
    about = {(one["set"], one["case"]): one for cases in indices.values() for one in cases}
    assert not [one for one in trained if "SA" in about[one]["licence"]]
