"""The documents are true: each command and block of code in them runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import TumorSegLib as ts
from Testing.documents import PAGES, REPOSITORY, Block, blocks_of, text_of
from Testing.unit.cases.dicom_series import write_image
from Testing.unit.engines.importers.bundle_cases import LAYOUTS, write_bundle
from Testing.unit.engines.importers.nnunet_cases import configuration, plans, write_training
from Testing.web import Site
from TumorSegLib.cli.entry import main as tumorseg

#: Commands that are not executed here, by how they begin, and why not.
NOT_EXECUTED = {
    "pip install": "it would install into the environment of the tests",
    "git clone": "needs the network",
    "cd": "enters what was cloned",
    "make": "the targets are whole runs: .ci/run calls `make test` and `make demo`",
    ".venv/bin/pytest": "runs tests within tests",
    "tumorseg models optimise my-auto": "docs/training.md runs it on the model that is trained there",
    "torchrun": "Testing/training/loop/test_processes.py trains with it",
    "cmake": "Testing/slicer/extension/test_files.py configures the extension",
    "PythonSlicer": "installs into 3D Slicer; Testing/slicer/flows/tutorial does so with small packages",
    "Slicer": "Testing/slicer/extension/test_slicer_page.py runs its script",
    "python -m Testing.benchmarks": "takes minutes: Testing/benchmarks/test_benchmarks.py runs each on small images",
}
#: The blocks of Python on these pages are for 3D Slicer: Testing/slicer/extension/test_slicer_page.py runs them.
FOR_SLICER = {"docs/slicer-reference.md"}
#: What makes a training configuration one of seconds, by pattern; each is to be found in every configuration it is for.
SMALLER = {
    r"^steps = \d+": "steps = 2",
    r"^batch = \d+": "batch = 1",
    r"^warm_up = \d+": "warm_up = 1",
    r"^checkpoint_every = \d+": "checkpoint_every = 2",
    r"^validate_every = \d+": "validate_every = 2",
    r"^patch = .*": "patch = [16, 16, 16]",
    r"filters = \[[\d, ]+\]": "filters = [4, 8, 8]",
    r"^spacing_mm = .*": "spacing_mm = [8.0, 8.0, 8.0]",
    r"^phantoms = \d+": "phantoms = 1",
    r"^context = \d+": "context = 4",
    r"^slices_per_case = \d+": "slices_per_case = 1",
}
#: Options that commands get on top.
FASTER = {"evaluate-clicks": ("--clicks", "1"), "plan": ("--minutes", "0.01"), "merge-sam": ("--trials", "1")}
# As in docs/cli.md.
small_phantom = partial(ts.make_phantom, region="limb", shape=(40, 48, 48), spacing_mm=(4, 4, 4))


class Reader:
    """Somebody who types what a page says, block by block, in a folder where the files that it names lie."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}

    def follow(self, block: Block) -> None:
        getattr(self, f"_{block.language}")(block)

    def _python(self, block: Block) -> None:
        if block.page not in FOR_SLICER:
            exec(compile(block.text, str(block), "exec"), self.names)

    def _json(self, block: Block) -> None:
        json.loads(block.text)
        Path(block.name).write_text(block.text, encoding="utf-8")

    def _toml(self, block: Block) -> None:
        Path(block.name).write_text(smaller(block.text), encoding="utf-8")

    def _text(self, block: Block) -> None:
        """Output, or an outline: nothing to type."""

    def _sh(self, block: Block) -> None:
        if block.text.startswith("for "):
            subprocess.run(["bash", "-euc", block.text], check=True, env=with_tumorseg(Path("bin")))
            return
        for words in block.commands():
            if not_executed(words):
                continue
            assert status_of(words) == 0, f"{block}: {' '.join(words)}"


def smaller(text: str) -> str:
    for pattern, replacement in SMALLER.items():
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def not_executed(words: list[str]) -> str | None:
    """How the command begins, where it is one that is not executed."""
    line = " ".join(words)
    return next((start for start in NOT_EXECUTED if line == start or line.startswith(f"{start} ")), None)


def status_of(words: list[str]) -> int:
    """Runs a command of this project in this process, which has loaded PyTorch already, and returns its status."""
    try:
        if words[0] == "tumorseg":
            return tumorseg(words[1:])
        if words[:3] == ["python", "-m", "training"]:
            from training.__main__ import main

            return main([*words[3:], *FASTER.get(words[3], ())])
    except SystemExit as ended:  # --help and --version
        return int(ended.code or 0)
    raise AssertionError(f"{' '.join(words)}: nothing says how this command is tested; see NOT_EXECUTED")


def with_tumorseg(folder: Path) -> dict[str, str]:
    """The environment of a shell that knows ``tumorseg``."""
    folder.mkdir()
    script = folder / "tumorseg"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m TumorSegLib.cli "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    path = f"{folder.resolve()}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def files(folder: Path, site: Site, checkpoint: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pages expect a user to have; the model for boxes, here a tiny one, is downloaded from ``site``."""
    phantom = small_phantom(101)
    for role, image in phantom.images.items():
        ts.write_volume(image, folder / f"{role}.nii.gz")
        (folder / "cases" / "whole").mkdir(parents=True, exist_ok=True)
        ts.write_volume(image, folder / "cases" / "whole" / f"{role}.nii.gz")
    (folder / "cases" / "damaged").mkdir()
    (folder / "cases" / "damaged" / "ct.nii.gz").write_bytes(b"")
    ts.write_mask(phantom.tumour, folder / "reference.nii.gz")
    write_image(folder / "CT_FOLDER", phantom.images["ct"])
    write_image(folder / "PET_FOLDER", phantom.images["pet"])
    write_markups(folder, phantom)
    (folder / "sam.pth").write_bytes(checkpoint)
    write_training(
        folder / "Dataset003_Liver",
        dataset={"channel_names": {"0": "CT"}},
        described=plans(
            {"3d_fullres": configuration(normalization_schemes=["CTNormalization"], use_mask_for_norm=[False])}
        ),
        folds=(0, 1),
        channels=1,
    )
    write_bundle(folder, LAYOUTS["spleen"], name="spleen_ct_segmentation")
    monkeypatch.setattr("TumorSegLib.cli.demo.make_phantom", small_phantom_of_demo)


def small_phantom_of_demo(seed: int, region: str) -> Any:
    return small_phantom(seed, region=region)


def write_markups(folder: Path, phantom: Any) -> None:
    """A point in the tumour and a region of interest round it, as 3D Slicer saves them."""
    grid = phantom.tumour.grid
    inside = grid.to_ras(np.argwhere(phantom.tumour.array)[:, ::-1].mean(axis=0))
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Resources/Schema/markups-schema-v1.0.3.json#"
    point = {
        "type": "Fiducial",
        "coordinateSystem": "RAS",
        "controlPoints": [{"label": "F-1", "position": list(inside)}],
    }
    roi = {"type": "ROI", "coordinateSystem": "RAS", "center": list(inside), "size": [60.0] * 3}
    roi["orientation"] = np.eye(3).ravel().tolist()
    for name, markup in (("points", point), ("roi", roi)):
        text = json.dumps({"@schema": schema, "markups": [markup]})
        (folder / f"{name}.mrk.json").write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("files", "one_thread")
@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/training.md" and blocks_of(page)])
def test_each_block_of_a_page_runs(page: str) -> None:
    reader = Reader()
    for block in blocks_of(page):
        reader.follow(block)
    if page == "docs/cli.md":
        assert Path("failed.txt").read_text(encoding="utf-8") == "cases/damaged\n"


# Training


@pytest.fixture
def checkout(files: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose configurations take seconds, with small synthetic patients in place of the collection."""
    from TumorSegLib.models import registry

    (folder / "training" / "configs").mkdir(parents=True)
    for path in (REPOSITORY / "training" / "configs").glob("*.toml"):
        (folder / "training" / "configs" / path.name).write_text(smaller(path.read_text("utf-8")), encoding="utf-8")
    monkeypatch.setattr("training.commands.__file__", str(folder / "training" / "commands.py"))
    monkeypatch.setattr(registry, "BUNDLED", folder / "TumorSegLib" / "bundled")
    monkeypatch.setenv("TUMORSEG_DATA", str(folder / "data"))
    write_collection(folder / "data" / "sts")
    return folder


def calls_of(run: Callable[[], object]) -> set[str]:
    """The files of the repository whose functions are called in any thread, imports aside."""
    called: set[str] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            called.add(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return {str(Path(file).relative_to(REPOSITORY)) for file in called if Path(file).is_relative_to(REPOSITORY)}


def modules_in(heading: str) -> set[str]:
    """The modules that a section of the page on architecture lists."""
    section = text_of("docs/architecture.md").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"`((?:TumorSegLib|training)/[\w/]+\.py)`", section))


@pytest.mark.usefixtures("checkout", "one_thread")
def test_the_modules_listed_in_the_page_on_architecture_are_those_that_work() -> None:
    train = ["python", "-m", "training", "train", "training/configs/sts_auto.toml"]
    listed, called = modules_in("A training step"), calls_of(lambda: status_of(train))
    assert status_of(["python", "-m", "training", "export", "training/runs/sts-auto"]) == 0
    called |= calls_of(lambda: status_of([*train[:-1], "training/configs/sts_clicks.toml"]))
    assert len(listed) > 10
    assert listed <= called
    line = "tumorseg segment --input ct=CT_FOLDER --input pet=PET_FOLDER --output tumour.nii.gz"
    listed = modules_in("A DICOM series, from the folder to the result")
    assert len(listed) > 20
    assert listed <= calls_of(lambda: status_of(line.split()))


def write_collection(folder: Path) -> None:
    folder.mkdir(parents=True)
    phantom = small_phantom(1)
    for name in "abc":
        for role, image in phantom.images.items():
            ts.write_volume(image, folder / f"{name}_{role}.nii.gz")
        ts.write_mask(phantom.tumour, folder / f"{name}_gtv.nii.gz")
    (folder / "splits.json").write_text('{"folds": [["a"], ["b", "c"]]}', encoding="utf-8")


@pytest.mark.usefixtures("checkout", "one_thread")
def test_each_block_on_training_runs() -> None:
    """In another order: the models that ship come first, as the other blocks work with them."""
    blocks, reader = blocks_of("docs/training.md"), Reader()
    shutil.rmtree("cases")
    first = next(block for block in blocks if "training/configs/sts_auto.toml" in block.text)
    for block in [first, *(block for block in blocks if block is not first)]:
        reader.follow(block)
