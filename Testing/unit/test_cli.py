"""The command line: what a user types, right and wrong."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from Testing.fakes import tiny_spec, write_model_folder
from TumorSegLib.cli import main
from TumorSegLib.geometry import Grid
from TumorSegLib.volume import Mask, Volume
from TumorSegLib.volume_io import read_mask, read_volume, write_mask, write_volume

GRID = Grid.from_spacing((20, 24, 28), (2.0, 2.0, 3.0), (-10, 5, 7), np.diag([-1.0, -1.0, 1.0]))


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ct.nii.gz, pet.nii.gz and the model ``tiny``."""
    rng = np.random.default_rng(0)
    write_volume(Volume(GRID, rng.normal(40, 20, GRID.shape).astype(np.int16), "ct"), tmp_path / "ct.nii.gz")
    write_volume(Volume(GRID, rng.random(GRID.shape, dtype=np.float32) * 5, "pet"), tmp_path / "pet.nii.gz")
    spec = tiny_spec(name="tiny", roles=("ct", "pet"), optional=("pet",))
    write_model_folder(tmp_path / "models", spec)
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segment(*more: str, inputs: tuple[str, ...] = ("ct=ct.nii.gz", "pet=pet.nii.gz")) -> int:
    given = [text for entry in inputs for text in ("--input", entry)]
    return main(["segment", *given, "--model", "tiny", "--output", "seg.nii.gz", *more])


def test_segment_writes_all_it_is_asked_for(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--output", "seg.seg.nrrd", "--probability", "p.nii.gz", "--uncertainty", "u.nii.gz", "--info", "info.json"]
    assert segment(*more, "--device", "cpu", "--precision", "float32", "--preview", "preview.png") == 0
    mask, probability = read_mask("seg.nii.gz"), read_volume("p.nii.gz", "probability")
    assert mask.grid == GRID
    assert np.array_equal(mask.array > 0, probability.array > 0.5)
    assert np.array_equal(read_mask("seg.seg.nrrd").array, mask.array)
    assert read_volume("u.nii.gz", "uncertainty").array.max() <= 1
    info = json.loads((case / "info.json").read_text())
    assert info["model"] == "tiny"
    assert info["precision"] == "float32"
    assert info["volume_ml"] == pytest.approx(mask.volume_ml)
    assert "not a medical device" in info["notice"].lower()
    assert (case / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert "seg.nii.gz" in capsys.readouterr().out


def test_channels_on_other_grids_are_resampled_and_it_says_so(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coarse = GRID.with_spacing((4.0, 4.0, 6.0))
    write_volume(Volume(coarse, np.ones(coarse.shape, np.float32), "pet"), "pet.nii.gz")
    assert segment() == 0
    assert read_mask("seg.nii.gz").grid == GRID
    assert "resampled to the grid of ct: pet" in capsys.readouterr().out


def wrong_calls() -> list[tuple[str, list[str], str]]:
    good = ["--input", "ct=ct.nii.gz", "--output", "seg.nii.gz", "--model", "tiny"]
    return [
        ("missing file", ["--input", "ct=no.nii.gz", "--output", "seg.nii.gz"], "no.nii.gz"),
        ("no role", ["--input", "ct.nii.gz", "--output", "seg.nii.gz"], "ct.nii.gz"),
        ("role twice", [*good, "--input", "ct=pet.nii.gz"], "'ct' twice"),
        ("role of another model", [*good, "--input", "mr_t2=pet.nii.gz"], "mr_t2"),
        ("required role missing", ["--input", "pet=pet.nii.gz", "--output", "s.nii.gz", "--model", "tiny"], "needs ct"),
        ("unknown model", [*good, "--model", "nobody"], "nobody"),
        ("unknown suffix", [*good, "--output", "seg.doc"], "seg.doc"),
        ("no such folder", [*good, "--probability", "no/p.nii.gz"], "no/p.nii.gz"),
        ("unknown device", [*good, "--device", "abacus"], "abacus"),
        ("unknown precision", [*good, "--precision", "float3"], "float3"),
    ]


@pytest.mark.parametrize(("arguments", "named"), [w[1:] for w in wrong_calls()], ids=[w[0] for w in wrong_calls()])
def test_bad_input_is_one_line_and_status_2(
    case: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    before = sorted(case.rglob("*"))
    assert main(["segment", *arguments]) == 2
    errors = capsys.readouterr().err
    assert named in errors
    assert errors.count("\n") == 1
    assert sorted(case.rglob("*")) == before


def test_debug_shows_the_traceback(case: Path) -> None:
    command = [sys.executable, "-m", "TumorSegLib.cli", "segment", "--input", "ct=no.nii.gz", "--output", "s.nii.gz"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    run = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False, env=environment)
    assert run.returncode != 0
    assert "Traceback" in run.stderr
    assert "ReadError" in run.stderr


def test_progress_bar_on_a_terminal_and_none_in_a_pipe(case: Path) -> None:
    command = [sys.executable, "-m", "TumorSegLib.cli", "segment", "--input", "ct=ct.nii.gz", "--model", "tiny"]
    command += ["--output", "seg.nii.gz"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "TERM": "xterm"}
    piped = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert piped.stderr == ""
    leader, follower = pty.openpty()
    subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, check=True, env=environment)
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "Segmenting" in shown
    assert "100" in shown


def test_models_list_show_verify(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert "tiny" in capsys.readouterr().out
    (case / "models" / "tiny" / "MODEL_CARD.md").write_text("# tiny card")
    assert main(["models", "show", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert '"spacing_mm"' in shown
    assert "# tiny card" in shown
    assert main(["models", "verify", "tiny"]) == 0
    weights = case / "models" / "tiny" / "weights.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    capsys.readouterr()
    assert main(["models", "verify", "tiny"]) == 2
    assert "weights.safetensors is corrupt" in capsys.readouterr().err


def test_evaluate_prints_and_writes_metrics(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = np.zeros(GRID.shape, np.uint8)
    first[5:10, 5:10, 5:10] = 1
    second = np.zeros(GRID.shape, np.uint8)
    second[5:10, 5:10, 5:15] = 2  # any label counts
    write_mask(Mask(GRID, first), "a.nii.gz")
    write_mask(Mask(GRID, second), "b.nii.gz")
    assert main(["evaluate", "a.nii.gz", "b.nii.gz", "--json", "m.json"]) == 0
    assert json.loads((case / "m.json").read_text())["dice"] == pytest.approx(2 / 3)
    assert "0.6667" in capsys.readouterr().out
    assert main(["evaluate", "a.nii.gz", "missing.nii.gz"]) == 2
    assert main(["evaluate", "a.nii.gz", "b.nii.gz", "--json", "no/m.json"]) == 2


def test_empty_result_is_said(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    air = Volume(GRID, np.full(GRID.shape, -1000, np.int16), "ct")
    write_volume(air, "ct.nii.gz")
    assert segment(inputs=("ct=ct.nii.gz",)) == 0
    assert "no tumour found" in capsys.readouterr().out
    assert not read_mask("seg.nii.gz").array.any()


def test_interrupting_leaves_nothing_behind(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = Grid.from_spacing((160, 160, 160), (2.0, 2.0, 2.0))  # thousands of windows for the tiny network
    write_volume(Volume(large, np.zeros(large.shape, np.int16), "ct"), "ct.nii.gz")
    before = sorted(case.rglob("*"))
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    try:
        status = segment(inputs=("ct=ct.nii.gz",))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert status == 130
    assert "interrupted" in capsys.readouterr().err
    assert sorted(case.rglob("*")) == before
