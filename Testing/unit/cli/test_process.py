"""The process of a command: pipes that close, odd encodings, little memory, interruptions, and what libraries print."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from Testing.unit.cases.cli_cases import GRID, write_images
from TumorSegLib.cli.process import INTERRUPTED_MESSAGE
from TumorSegLib.images.volume import Mask
from TumorSegLib.io.images import write_mask

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A folder with ``mask.nii.gz`` and ``ct.nii.gz``."""
    array = np.zeros(GRID.shape, np.uint8)
    array[5:10, 5:10, 5:10] = 1
    write_mask(Mask(GRID, array), tmp_path / "mask.nii.gz")
    write_images(tmp_path)
    return tmp_path


def tumorseg(
    *arguments: str, before: str = "", after: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command in a shell; text before it, as ``ulimit``, and after it, as a pipe."""
    shell = f'{before} "$0" -m TumorSegLib.cli "$@" {after}'
    command = ["bash", "-c", shell, sys.executable, *arguments]
    return run_quietly(command, **environment)


def run_quietly(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    path = {**ENVIRONMENT, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=path, timeout=300)


@pytest.mark.parametrize("arguments", [["models", "show", "sts-auto"], ["segment", "--help"], ["models", "list"]])
def test_a_closed_pipe_ends_the_command_without_a_message(arguments: list[str]) -> None:
    # The reader is gone before the first word is written.
    run = tumorseg(*arguments, after="| true; echo ${PIPESTATUS[0]}")
    assert run.stderr == ""
    assert run.stdout in ("141\n", "0\n")  # 0 where the pipe took all of it in time
    assert run.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep this limit")
def test_output_that_cannot_be_written_is_one_line_and_status_2(case: Path) -> None:
    run = tumorseg("models", "show", "sts-auto", before="trap '' XFSZ; ulimit -f 0;", after=f"> {case / 'out.txt'}")
    assert run.returncode == 2
    assert run.stderr == "tumorseg: error: [Errno 27] File too large\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_file_name_outside_the_encoding_of_standard_output_is_escaped(case: Path, encoding: str) -> None:
    table = case / "\N{GREEK SMALL LETTER MU}.csv"
    arguments = ["measure", "--segmentation", str(case / "mask.nii.gz"), "--csv", str(table)]
    run = tumorseg(*arguments, PYTHONIOENCODING=encoding)
    assert (run.returncode, run.stderr) == (0, "")
    assert table.exists()
    shown = table.name if encoding == "utf-8" else "\\u03bc.csv"
    assert run.stdout == f"1 label(s) measured, written to {table.parent}/{shown}\n"
    run = tumorseg("evaluate", f"{table}.nii.gz", "b.nii.gz", PYTHONIOENCODING=encoding)
    assert run.returncode == 2
    assert f"{shown}.nii.gz" in run.stderr


SEGMENT = ["segment", "--input", "ct=ct.nii.gz", "--output", "o.nii.gz"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep this limit")
@pytest.mark.parametrize(
    ("kilobytes", "arguments", "said"),
    [
        (100_000, ["--help"], "0.10 GB of memory (ulimit -v); tumorseg needs at least 0.75 GB"),
        (400_000, ["evaluate", "mask.nii.gz", "mask.nii.gz"], "tumorseg needs at least 0.75 GB"),
        (1_000_000, SEGMENT, "neural network needs at least 2 GB"),
        (1_500_000, ["demo", "--output", "demo"], "with its pictures needs at least 3 GB"),
        (2_500_000, [*SEGMENT, "--preview", "p.png"], "--preview needs"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_too_little_memory_is_one_line_and_status_2(
    case: Path, kilobytes: int, arguments: list[str], said: str
) -> None:
    run = tumorseg(*arguments, before=f"cd {case}; ulimit -v {kilobytes};")
    assert run.returncode == 2
    assert run.stderr.startswith("tumorseg: error: this shell allows ")
    assert said in run.stderr
    assert run.stderr.count("\n") == 1
    assert not (case / "o.nii.gz").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep this limit")
def test_a_measurement_needs_little_memory_on_any_number_of_cores(case: Path) -> None:
    run = tumorseg("measure", "--segmentation", f"{case}/mask.nii.gz", before="ulimit -v 1000000;")
    assert (run.returncode, run.stderr) == (0, "")


PROGRAM = """
import logging, os, signal, sys, time, warnings
from TumorSegLib.cli import parser
from TumorSegLib.cli.entry import main
from TumorSegLib.errors import ReadError
from TumorSegLib.files import replacing

class Options:
    debug = False
    def run_command(self, options):
        ACT

class Parser:
    def parse_args(self, arguments):
        return Options()

parser.make_parser = Parser
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background lets its children ignore it
sys.exit(main(sys.argv[1:]))
"""


def program(act: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM.replace("ACT", "\n        ".join(act.strip().splitlines()))]


def test_messages_of_libraries_are_hidden_from_standard_error() -> None:
    command = program("""
os.write(2, b"ITK: a line of a C library\\n")
logging.getLogger("matplotlib").warning("a cache folder")
warnings.warn("of a package")
raise ReadError("the line that counts")
""")
    run = run_quietly(command)
    assert (run.returncode, run.stderr) == (2, "tumorseg: error: the line that counts\n")
    run = run_quietly([*command, "--debug"])
    assert run.returncode == 1
    assert all(words in run.stderr for words in ("C library", "a cache folder", "of a package", "Traceback"))


def test_a_warning_of_the_library_is_one_line(case: Path) -> None:
    (case / "models" / "bad").mkdir(parents=True)
    (case / "models" / "bad" / "model.json").write_text("{")
    run = tumorseg("models", "list", TUMORSEG_MODELS=str(case / "models"))
    assert run.returncode == 0
    assert run.stderr.startswith("tumorseg: warning: left out: ")
    assert run.stderr.count("\n") == 1


def test_a_picture_without_a_home_folder_prints_nothing_more() -> None:
    command = program("from TumorSegLib.render.preview import write_preview; print('drawn')")
    run = run_quietly(command, HOME="/proc/nowhere", XDG_CACHE_HOME="", MPLCONFIGDIR="")
    assert (run.returncode, run.stdout, run.stderr) == (0, "drawn\n", "")


# A library that holds on, as a network does: Python hears of the signal, but the call goes on.
BUSY = """
with replacing("FOLDER/mask.nii.gz") as temporary:
    temporary.write_text("half")
    print("begun", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signals")
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_ends_the_process_during_a_library_call(case: Path, times: int) -> None:
    command = program(BUSY.replace("FOLDER", str(case)))
    before = sorted(case.iterdir())
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as run:
        assert run.stdout.readline() == "begun\n"
        for _ in range(times):
            run.send_signal(signal.SIGINT)
            time.sleep(0.05)
        _, errors = run.communicate(timeout=50)  # the work itself takes a minute
    assert (run.returncode, errors) == (130, f"tumorseg: {INTERRUPTED_MESSAGE}\n")
    assert sorted(case.iterdir()) == before
