"""A small suite: images and contours of made-up kinds, and the configuration of a model of any image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from Testing.fakes import noise_volume
from Testing.training.training_runs import write_ball
from training.config.train import Configuration, parse_configuration
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.io.images import write_mask, write_volume

GRID = Grid.from_spacing((28, 30, 32), (1.0, 1.0, 1.5), (-10, 5, 7), np.diag([-1.0, -1.0, 1.0]))
#: Labels of every case of the set "neck"; the suite tests larynx and the left parotid.
LABELS = {"1": "larynx", "2": "parotid_right", "3": "oesophagus", "4": "spinal_cord_grey_matter"}
CONFIGURATION = """
[model]
name = "any"
version = "1.0.0"
licence = "Apache-2.0"
description = "for tests"
network = "ResidualDynUNet"
arguments = { filters = [4, 8, 8] }
labels = { tumour = 1 }

[model.input]
type = "any image"
patch = [16, 16, 16]
scales_mm = [0.3, 8.0]

[model.input.normalisation]
ct = { method = "linear", low = -160.0, high = 240.0, offset = -20.0, scale = 100.0, outside = -1000.0 }
ct_wide = { method = "linear", low = -1000.0, high = 1000.0, offset = 0.0, scale = 500.0, outside = -1000.0 }
pet = { method = "log1p", low = 0.0, high = 30.0 }
mr = { method = "zscore" }

[data]
test_fold = 1

[objects]
OBJECTS

[optimisation]
steps = 2
batch = 1
learning_rate = 1e-3
warm_up = 1
loss = "dice_each_ce"
seed = 3
checkpoint_every = 1
"""


def any_configuration(objects: str = "", *changes: str) -> Configuration:
    """The configuration with settings of its section of objects, and parts replaced as ``old, new, ...``."""
    text = CONFIGURATION.replace("OBJECTS", objects)
    for old, new in zip(changes[::2], changes[1::2]):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return parse_configuration(text, "any.toml")


def task(case: str, name: str, value: int, use: str, **more: Any) -> dict[str, Any]:
    """One of the suite's tasks, in the set "neck"."""
    place = {"root": "general", "set": "neck", "case": case, "image": "ct", "role": "ct"}
    return {**place, "labels": [value], "name": name, "kind": "structure", "use": use, **more}


def write_suite(root: Path, **changes: Any) -> Path:
    """Two sarcomas in two folds, three cases of a neck with four labels, and an MR without contours.

    ``n1`` and ``head`` train, ``n2`` validates, ``n3`` tests; ``changes`` replace parts of ``suite.json``.
    """
    for folder in ("sts", "more/head", "general/neck"):
        (root / folder).mkdir(parents=True)
    for seed, name in enumerate("ab"):
        write_ball(root / "sts", name, Grid.from_spacing((20, 22, 24), (2, 2, 2)), seed, 5.0)
    (root / "sts" / "splits.json").write_text(json.dumps({"folds": [["a"], ["b"]]}), encoding="utf-8")
    for seed, name in enumerate(("n1", "n2", "n3")):
        write_neck(root / "general" / "neck", name, seed)
    write_volume(noise_volume(GRID, "mr_t1", 9), root / "more" / "head" / "head_t1.nii.gz")
    neck = [{"set": "neck", "case": name, "files": files(name, "ct", "label"), **ABOUT} for name in ("n1", "n2", "n3")]
    head = {
        "set": "head",
        "case": "head",
        "files": files("head", "t1"),
        "modality": "MR",
        "licence": "CC0",
        "labels": {},
    }
    save(root / "general" / "index.json", {"cases": neck})
    save(root / "more" / "index.json", {"cases": [head]})
    train = [
        {"root": "general", "set": "neck", "case": "n1", "contours": True},
        {"root": "more", "set": "head", "case": "head", "contours": False},
    ]
    tasks = [
        task("n2", "larynx CT", 1, "validate"), task("n3", "larynx CT", 1, "test"),
        task("n3", "parotid left", 2, "test"), task("n3", "cord", 4, "test", kind="lesion"),
    ]  # fmt: skip
    save(root / "suite.json", {"tasks": tasks, "train": train, **changes})
    return root


ABOUT = {"modality": "CT neck", "labels": LABELS, "licence": "CC BY 4.0"}


def files(case: str, *keys: str) -> dict[str, str]:
    return {key: f"{case}_{key}.nii.gz" for key in keys}


def save(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")


def write_neck(folder: Path, name: str, seed: int) -> None:
    """A noisy CT with four bright cubes, labelled 1 to 4, and a crumb of the first."""
    ct, labels = noise_volume(GRID, "ct", seed), np.zeros(GRID.shape, np.uint8)
    for value, (k, j, i) in enumerate([(3, 4, 5), (4, 18, 5), (14, 6, 20), (16, 19, 18)], start=1):
        labels[k : k + 8, j : j + 8, i : i + 8] = value
    labels[26, 27, 28] = 1
    array = np.where(labels > 0, 180, ct.array * 0.2).astype(np.float32)
    write_volume(type(ct)(GRID, array, "ct"), folder / f"{name}_ct.nii.gz")
    write_mask(Mask(GRID, labels), folder / f"{name}_label.nii.gz")
