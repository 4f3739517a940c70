"""The command line: what a user types, right and wrong."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from Testing.fakes import PaintingEngine, tiny_spec, write_model
from Testing.unit.cases.cli_cases import GRID, assert_refused, inputs, write_images
from TumorSegLib import __version__
from TumorSegLib.cli import segment as segment_command
from TumorSegLib.cli.entry import main
from TumorSegLib.engines import load
from TumorSegLib.errors import ReadError
from TumorSegLib.images.volume import Images, Volume
from TumorSegLib.io.images import read_mask, read_volume, write_volume
from TumorSegLib.protocols import Result, RunInfo


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ct.nii.gz, pet.nii.gz and the model ``tiny``."""
    write_images(tmp_path)
    spec = tiny_spec(name="tiny", roles=("ct", "pet"), optional=("pet",))
    write_model(tmp_path / "models", spec)
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segment(*more: str, images: tuple[str, ...] = ("ct=ct.nii.gz", "pet=pet.nii.gz")) -> int:
    return main(["segment", *inputs(*images), "--model", "tiny", "--output", "seg.nii.gz", *more])


@pytest.fixture
def paint(case: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a model with a specification mark an array ``[k, j, i]``, whatever the images."""

    def mark(array: np.ndarray, **spec: object) -> None:
        painter = PaintingEngine(tiny_spec("tiny", **spec), lambda images: array)

        def segment(images: Images, **_: object) -> Result:
            return replace(painter.segment(images), info=RunInfo("tiny", roles=tuple(images)))

        engine = SimpleNamespace(segment=segment, spec=painter.spec)
        monkeypatch.setattr(load, "load_engine", lambda *_, **__: engine)

    return mark


def test_segment_writes_every_output(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert info["tumorseg_version"] == __version__
    assert info["inputs"] == {"ct": str(case / "ct.nii.gz"), "pet": str(case / "pet.nii.gz")}
    assert (info["min_volume_ml"], info["fill_holes"]) == (0, False)
    assert "not a medical device" in info["notice"].lower()
    assert (case / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert "seg.nii.gz" in capsys.readouterr().out


def test_channels_on_other_grids_are_resampled_with_a_note(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coarse = GRID.with_spacing((4.0, 4.0, 6.0))
    write_volume(Volume(coarse, np.ones(coarse.shape, np.float32), "pet"), "pet.nii.gz")
    assert segment("--preview", "preview.png") == 0
    assert (case / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert read_mask("seg.nii.gz").grid == GRID
    assert "resampled to the grid of ct: pet" in capsys.readouterr().out


GOOD = ["--input", "ct=ct.nii.gz", "--output", "seg.nii.gz", "--model", "tiny"]
WRONG: dict[str, tuple[list[str], str]] = {
    "missing file": (["--input", "ct=no.nii.gz", "--output", "seg.nii.gz"], "no.nii.gz"),
    "no role": (["--input", "ct.nii.gz", "--output", "seg.nii.gz"], "'ct.nii.gz' is not of the form ROLE=PATH"),
    "role in capitals": (["--input", "CT=ct.nii.gz", *GOOD[2:]], "roles are written in lower case, ct=ct.nii.gz"),
    "role twice": ([*GOOD, "--input", "ct=pet.nii.gz"], "'ct' twice"),
    "role of another model": ([*GOOD, "--input", "mr_t2=pet.nii.gz"], "mr_t2"),
    "required role missing": (["--input", "pet=pet.nii.gz", *GOOD[2:]], "needs ct"),
    "model of another kind": ([*GOOD, "--model", "sts-clicks"], "is of kind 'clicks', one of kind 'auto' is needed"),
    "unknown suffix": ([*GOOD, "--output", "seg.doc"], "seg.doc"),
    "no such folder": ([*GOOD, "--probability", "no/p.nii.gz"], "no/p.nii.gz"),
    "segmentation as probability": ([*GOOD, "--probability", "p.SEG.nrrd"], "p.SEG.nrrd"),
    "capitals": ([*GOOD, "--output", "seg.NII.GZ"], "seg.NII.GZ"),
    "suffix alone": ([*GOOD, "--preview", ".png"], ".png"),
    "nothing": ([*GOOD, "--info", ""], "NAME.json"),
    "a folder": ([*GOOD, "--info", "folder.json"], "folder.json: cannot be written, it is a folder"),
    "a pipe": ([*GOOD, "--info", "pipe.json"], "pipe.json: cannot be written, it is a device or a pipe"),
    "output twice": ([*GOOD, "--output", "models/../seg.nii.gz"], "seg.nii.gz: cannot be written, another output"),
    "output is an input": ([*GOOD, "--probability", "ct.nii.gz"], "ct.nii.gz: cannot be written, it is an input"),
    "linked to an input": ([*GOOD, "--probability", "link.nii.gz"], "link.nii.gz: cannot be written, it is an"),
    "name too long": (["--input", "ct=no.nii.gz", "--output", "a" * 249 + ".nii.gz"], "too long"),
}


@pytest.mark.parametrize(("arguments", "named"), WRONG.values(), ids=list(WRONG))
def test_segment_refusals(case: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str) -> None:
    os.mkfifo(case / "pipe.json")
    (case / "folder.json").mkdir()
    (case / "link.nii.gz").symlink_to("ct.nii.gz")
    assert_refused(lambda: main(["segment", *arguments]), named, case, capsys)


def test_a_folder_that_is_not_writable_is_refused_before_the_input_is_read(
    case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (case / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != Path("locked"))  # root may write anywhere
    assert segment("--info", "locked/i.json", images=("ct=no.nii.gz",)) == 2
    assert "locked/i.json: cannot be written, the folder locked is not writable" in capsys.readouterr().err


@pytest.mark.parametrize("volume", ["-1", "nan", "inf", "much"])
def test_a_min_volume_that_is_no_volume_is_refused(case: Path, capsys: pytest.CaptureFixture[str], volume: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        segment("--min-volume", volume)
    assert f"--min-volume: '{volume}' is not a volume of at least 0 ml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory"),
        (MemoryError("Unable to allocate 1 TiB"), "not enough memory: Unable to allocate 1 TiB"),
        (ImportError("libx.so: failed to map segment from"), "not enough memory: libx.so: failed to map segment from"),
        (PermissionError(13, "Permission denied", "card"), "[Errno 13] Permission denied: 'card'"),
    ],
)
def test_errors_of_memory_and_files_are_one_line_and_status_2(
    case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(segment_command, "read_images", fail)
    assert segment() == 2
    assert capsys.readouterr().err == f"tumorseg: error: {said}\n"


@pytest.mark.parametrize("place", [0, 1, 99])
def test_debug_shows_the_traceback_before_and_after_the_command(case: Path, place: int) -> None:
    arguments = ["segment", "--input", "ct=no.nii.gz", "--output", "s.nii.gz"]
    arguments.insert(place, "--debug")
    with pytest.raises(ReadError, match=r"no\.nii\.gz"):
        main(arguments)


def test_progress_bar_on_a_terminal_and_none_in_a_pipe(case: Path) -> None:
    command = [sys.executable, "-m", "TumorSegLib.cli", "segment", "--input", "ct=ct.nii.gz", "--model", "tiny"]
    command += ["--output", "seg.nii.gz"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3]), "TERM": "xterm"}
    piped = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert piped.stderr == ""
    leader, follower = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower, env=environment) as run:
        os.close(follower)
        shown = read_terminal(leader)
    assert run.returncode == 0
    assert "Segmenting" in shown
    assert "100 %" in shown


def read_terminal(leader: int) -> str:
    """All that is written until the last writer closes it, which Linux reports as an error and macOS as nothing."""
    parts = []
    with suppress(OSError), os.fdopen(leader, "rb", buffering=0) as terminal:
        while part := terminal.read(4096):
            parts.append(part)
    return b"".join(parts).decode()


def test_models_list_show_verify(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert "tiny" in capsys.readouterr().out
    (case / "models" / "tiny" / "MODEL_CARD.md").write_text("# tiny card")
    assert main(["models", "show", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert '"spacing_mm"' in shown
    assert "# tiny card" in shown
    assert "On this computer: " in shown.splitlines()[-1]
    assert main(["models", "verify", "tiny"]) == 0
    weights = case / "models" / "tiny" / "weights.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    capsys.readouterr()
    assert main(["models", "verify", "tiny"]) == 2
    assert "weights.safetensors is corrupt" in capsys.readouterr().err


@pytest.mark.parametrize("marked", [False, True])
def test_empty_result_is_reported_and_the_rest_is_written(
    case: Path, paint: Callable[..., None], capsys: pytest.CaptureFixture[str], marked: bool
) -> None:
    paint(two_parts() * marked)
    (case / "tumour.stl").write_text("of an earlier run")
    more = ["--surface", "tumour.stl", "--preview", "preview.png", "--info", "info.json"]
    assert segment(*more, *(["--min-volume", "5"] if marked else [])) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-2:] == [
        "tiny marked nothing; its purpose is not stated: check it",
        "written to seg.nii.gz",
    ]
    assert "no surface was written to tumour.stl" in printed
    assert ("no connected region has at least 5 ml" in printed) == marked
    assert not read_mask("seg.nii.gz").array.any()
    assert json.loads((case / "info.json").read_text())["shape"] is None
    assert (case / "preview.png").exists()
    assert not (case / "tumour.stl").exists()


@pytest.mark.parametrize(
    ("spec", "warning"),
    [
        ({"plausible_volume_ml": (1.0, 3.0)}, "3.7 ml is outside the volumes that tiny was trained on, 1 to 3 ml"),
        ({"plausible_volume_ml": (1.0, 4.0)}, ""),
        (
            {"trained_length_mm": 59.0},
            "the image is 60 mm long from head to foot, the training images of tiny at most 59 mm",
        ),
        ({"trained_length_mm": 61.0}, ""),
    ],
)
def test_implausible_results_give_a_warning_on_standard_error(
    paint: Callable[..., None], capsys: pytest.CaptureFixture[str], spec: dict[str, object], warning: str
) -> None:
    paint(two_parts(), made_for="lymphoma", **spec)
    assert segment() == 0
    captured = capsys.readouterr()
    assert captured.out == "tiny marked 3.7 ml; it was made for lymphoma: check it\nwritten to seg.nii.gz\n"
    assert captured.err.startswith(f"tumorseg: warning: {warning}") if warning else captured.err == ""
    assert captured.err.count("\n") == bool(warning)


def two_parts() -> np.ndarray:
    """A box of 300 voxels with a cavity of one, and a box of 8; a voxel is 0.012 ml."""
    array = np.zeros(GRID.shape, np.uint8)
    array[4:9, 4:10, 4:14] = 1
    array[6, 6, 6] = 0
    array[14:16, 18:20, 20:22] = 1
    return array


@pytest.mark.parametrize(
    ("options", "voxels"),
    [
        ([], 307),
        (["--min-volume", "0.096"], 307),
        (["--min-volume", "0.1"], 299),
        (["--fill-holes"], 308),
        (["--min-volume", "0.1", "--fill-holes"], 300),
    ],
)
def test_min_volume_and_fill_holes_change_the_mask_and_the_info(
    case: Path, paint: Callable[..., None], options: list[str], voxels: int
) -> None:
    paint(two_parts())
    assert segment(*options, "--probability", "p.nii.gz", "--info", "info.json") == 0
    assert np.count_nonzero(read_mask("seg.nii.gz").array) == voxels
    assert np.array_equal(read_volume("p.nii.gz", "probability").array, two_parts())
    info = json.loads((case / "info.json").read_text())
    assert info["volume_ml"] == pytest.approx(voxels * 0.012)
    assert info["fill_holes"] == ("--fill-holes" in options)
    assert info["min_volume_ml"] == (float(options[1]) if "--min-volume" in options else 0)


@pytest.mark.parametrize("suffix", ["stl", "vtp"])
def test_the_surface_is_that_of_the_mask_after_min_volume(case: Path, paint: Callable[..., None], suffix: str) -> None:
    array = two_parts()
    paint(array)
    assert segment("--surface", f"all.{suffix}", "--min-volume", "0") == 0
    assert segment("--surface", f"tidy.{suffix}", "--min-volume", "0.1", "--fill-holes") == 0
    array[14:] = 0
    array[6, 6, 6] = 1
    paint(array)
    assert segment("--surface", f"wanted.{suffix}") == 0
    assert (case / f"tidy.{suffix}").read_bytes() == (case / f"wanted.{suffix}").read_bytes()
    assert (case / f"tidy.{suffix}").stat().st_size < (case / f"all.{suffix}").stat().st_size


def test_interrupting_leaves_nothing_behind(
    case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # A shell that starts the tests in the background lets them ignore it.
    before_signal = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before_signal))
    seen = []

    def press_control_c(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)

    @contextmanager
    def bar(_: str) -> Iterator[Callable[[int, int], None]]:
        yield press_control_c

    monkeypatch.setattr(segment_command, "progress_bar", bar)
    before = sorted(case.rglob("*"))
    assert segment() == 130
    assert len(seen) == 3
    assert seen[-1][0] < seen[-1][1]
    assert "interrupted" in capsys.readouterr().err
    assert sorted(case.rglob("*")) == before
