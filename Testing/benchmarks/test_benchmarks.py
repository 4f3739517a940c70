"""The benchmarks run, on a volume small enough for a test, and check their options; how fast is not asked here."""

from __future__ import annotations

import json
import os
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.benchmarks import (
    conversion,
    import_time,
    networks,
    sliding_window,
    whole_command,
    windows,
)
from Testing.benchmarks.__main__ import BACKENDS, BENCHMARKS, main
from Testing.benchmarks.box import boxes, shortcuts
from Testing.benchmarks.cases import SMALLEST, STEP, clinical_case
from Testing.unit.engines.box_cases import VOLUME_BOX, BrightSam, ball, bright_engine, ct_of, pasted
from Testing.unit.engines.click_cases import CUBE
from TumorSegLib import GeometryError
from TumorSegLib.engines.auto.sliding_window import Maps
from TumorSegLib.engines.inputs import Channels
from TumorSegLib.engines.processor import describe_processor, has_bfloat16, has_int8
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.io.images import write_volume
from TumorSegLib.models.folder import read_model_folder
from TumorSegLib.models.registry import find_model, list_models
from TumorSegLib.phantom.patient import make_phantom


@pytest.mark.slow
def test_speed_compares_the_same_work_and_records_how_well_int8_agrees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(find_model("sts-auto").path, tmp_path / "sts-auto"))
    monkeypatch.setattr(sliding_window, "MODEL", str(model))
    sliding_window.run("cpu", (48, 124, 124), ("torch", "openvino"), tmp_path / "speed.json", has_int8())
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    cases, half, full = rows[:2], *([row for row in rows if row.get("body") == body] for body in ("half", "all"))
    assert [case["case"] for case in cases] == ["124x124x48"] * 2
    assert [case["backend"].split()[0] for case in cases] == ["torch", "openvino"]
    assert cases[1]["dice_to_first"] > 0.99
    number_types = ["bfloat16", "float32"] if has_bfloat16() else ["float32"]
    int8 = ["int8"] if has_int8() else []
    backends = [f"torch {number_types[0]}", *(f"openvino {name}" for name in (*number_types, *int8))]
    assert [row["backend"] for row in half] == [row["backend"] for row in full] == backends
    for row in (*half, *full):
        assert row["windows"] == full[0]["windows"]
        assert row["dice_in_body"] > 0.98
        assert row["gflops_per_second"] > 0
        assert row["cpu_ratio"] == row["monai_cpu_seconds"] / row["cpu_seconds"] > 0
        kernels = row.get("kernels", {})
        assert bool(kernels) == row["backend"].startswith("openvino")
        assert any(name.lower().endswith("_i8") for name in kernels) == row["backend"].endswith("int8")
    assert {row["skipped"] for row in full} == {0}
    assert full[len(number_types)]["dice_in_body"] > 0.999  # float32
    assert "GFLOP/s" in capsys.readouterr().out
    if has_int8():
        copy = read_model_folder(model).spec.int8
        assert copy is not None
        recorded = copy.measured["python -m Testing.benchmarks speed --shape 48,124,124"]
        worst = min(half[-1]["dice_in_body"], full[-1]["dice_in_body"])
        assert (recorded.mean, recorded.dice_loss) == (worst, None)


def test_int8_is_not_recorded_where_it_does_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["speed", "--shape", "48,124,124", "--backend", "torch", "--record"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("error: speed: --record: there is no int8 with torch, cpu and sts-auto")


@pytest.mark.slow
def test_other_windows_and_a_coarse_pass_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORSEG_DATA", str(tmp_path))
    monkeypatch.setattr(windows, "HALF", (48, 96, 96))
    monkeypatch.setattr(windows, "OTHERS", {"the same": (windows.PLAN, 0), "moved": (windows.PLAN, 7)})
    monkeypatch.setattr(windows, "TRUNKS", {"set/a": ("ct",), "set/missing": ("ct",)})
    ct = make_phantom(0, shape=(60, 80, 80), spacing_mm=(3.0, 3.0, 3.0)).images["ct"]
    (tmp_path / "general" / "set").mkdir(parents=True)
    write_volume(ct, tmp_path / "general" / "set" / "a_ct.nii.gz")
    windows.run("cpu")
    *others, coarse = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[:2] for line in others] == [
        [image, f"windows {name}"] for image in ("a", "half image") for name in ("the same", "moved")
    ]
    same, moved = (float(line.rpartition(" ")[2]) for line in others[:2])
    assert same == 1 > moved
    assert coarse.startswith("a, ct, windows ")


def test_marks_that_a_coarse_pass_misses_are_counted() -> None:
    def engine(channels: Channels, plan: windows.WindowPlan) -> Maps:
        return Maps(channels.array[0].astype(np.float16), channels.tissue.view(np.uint8), None, 0, 0)

    def channels(array: np.ndarray) -> Channels:
        return Channels(Grid.from_spacing(array.shape, (3, 3, 3)), array[None], np.ones(array.shape, bool), (0,), ())

    found, marks = np.zeros((96, 128, 128), np.float32), np.zeros((96, 128, 128), np.float32)
    marks[:4, :4, :4] = marks[-2:, -2:, -2:] = 1
    found[0, 0, 0], found[-1, -1, -1] = 1, 0.05
    row = windows.coarse_pass(engine, channels(marks), channels(found))
    assert (row["windows"], row["with_marks"]) == (27, pytest.approx(2 / 27))
    assert (row["kept_at_0.1"], row["lost_at_0.1"]) == (pytest.approx(1 / 27), pytest.approx(8 / 72))
    assert (row["kept_at_0.02"], row["lost_at_0.02"]) == (pytest.approx(2 / 27), 0)


def test_import_time_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_time, "RUNS", 1)
    import_time.run()
    assert "import TumorSegLib" in capsys.readouterr().out


def test_reading_a_kept_network_converts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "MODELS", ("sts-clicks",))
    before = os.environ.get("TUMORSEG_CACHE")
    conversion.run()
    assert os.environ.get("TUMORSEG_CACHE") == before
    (row,) = capsys.readouterr().out.splitlines()
    figures = dict(part.split(" ") for part in row.partition(": ")[2].split(", "))
    assert float(figures["read_seconds"]) < float(figures["convert_seconds"])
    assert float(figures["first_window_seconds"]) > 0


@pytest.mark.slow
def test_the_whole_command_reads_both_kinds_of_files(capsys: pytest.CaptureFixture[str]) -> None:
    whole_command.run("cpu", (20, 124, 124), ("torch",))
    rows = [dict(part.split(maxsplit=1) for part in line.split(", ")) for line in capsys.readouterr().out.splitlines()]
    assert [(row["segment"], row["files"]) for row in rows] == [("124x124x20", "NIfTI"), ("124x124x20", "DICOM")]
    for row in rows:
        assert row["backend"].startswith("torch ")
        assert 0 < float(row["network_seconds"]) < float(row["seconds"])
        assert 0.1 < float(row["peak_memory_gib"]) < 4


def test_networks_are_timed_in_each_native_precision(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "RUNS", 1)
    monkeypatch.setattr(networks, "MODELS", ("sts-auto",))
    networks.run("cpu")
    *layers, window = capsys.readouterr().out.splitlines()
    assert len(layers) == 3
    assert window.startswith("sts-auto window of 48 x 64 x 64: float32 ")
    assert ("bfloat16" in window) is has_bfloat16()


@pytest.mark.slow
def test_boxes_compare_the_same_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if boxes.MODEL not in {model.spec.name for model in list_models()}:
        pytest.skip(f"{boxes.MODEL} is not installed")
    monkeypatch.setattr(boxes, "SLICES", 6)
    boxes.run("cpu", (48, 160, 160))
    first = capsys.readouterr().out.splitlines()[1]
    figures = dict(part.split() for part in first.split(", "))
    assert float(figures["slices"]) == 6
    assert float(figures["dice_to_plain"]) > 0.99
    assert float(figures["share_in_tumour"]) > 0


def test_the_shortcut_encodes_every_second_slice_and_keeps_all() -> None:
    network, tumour = BrightSam(), ball(CUBE, 9)
    engine = bright_engine(network)
    prepared = engine.prepare({"ct": ct_of(CUBE, tumour)})
    shortcuts._every_second(engine, prepared, VOLUME_BOX)
    assert sum(network.encoded) == 12
    network.encoded.clear()
    answer = engine.segment(prepared, VOLUME_BOX)
    assert network.encoded == []
    assert dice(pasted(CUBE, answer), tumour) > 0.85


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Which benchmarks were begun, with what; none is run."""
    calls: list[tuple[Any, ...]] = []
    for name, (module, _) in BENCHMARKS.items():
        run = import_module(f"Testing.benchmarks.{module}")
        monkeypatch.setattr(run, "run", lambda *given, name=name: calls.append((name, *given)))
    return calls


def test_the_processor_is_described_first(begun: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    main(["import"])
    first = capsys.readouterr().out.splitlines()[0]
    words = [each for each in describe_processor().split(", ") if "threads" not in each]
    assert first.startswith("processor: ")
    assert all(each in first for each in words)
    assert begun == [("import",)]


def test_all_benchmarks_are_run_unless_some_are_named(begun: list[tuple[Any, ...]], tmp_path: Path) -> None:
    shape = (200, 512, 512)
    main([])
    first = [("import",), ("panel", shape), ("stalls",)]
    first += [("clicks", "cpu", shape, BACKENDS), ("boxes", "cpu", shape, BACKENDS), ("shortcuts", "cpu")]
    whole = [("speed", "cpu", shape, BACKENDS, None, False), ("windows", "cpu"), ("conversion",)]
    whole += [("segment", "cpu", shape, BACKENDS)]
    assert begun == [*first, *whole, ("networks", "cpu"), ("accuracy", "cpu")]
    begun.clear()
    file = tmp_path / "speed.json"
    main(["speed", "import", "--device", "auto", "--shape", "48,160,124", "--json", str(file), "--record"])
    assert begun == [("import",), ("speed", "auto", (48, 160, 124), ("torch",), file, True)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["nothing"],
            "'nothing' is not one of import, panel, stalls, clicks, boxes, shortcuts, speed, windows, conversion",
        ),
        (["import", "imort"], "'imort' is not one of import"),
        (["--shape", "1,2"], "'1,2' is not k,j,i: three whole numbers, at least 19,124,124, j and i multiples of 4"),
        (["--shape", "200,512,x"], "'200,512,x' is not k,j,i"),
        (["--shape", "18,512,512"], "'18,512,512' is not k,j,i"),
        (["--shape", "200,510,512"], "'200,510,512' is not k,j,i"),
        (["speed", "--json", "nowhere/speed.json"], "--json: nowhere is not a folder"),
        (["--device", "tpu"], "device 'tpu' is not one of auto, cpu, cuda, cuda:N, mps"),
        (["boxes", "--device", "cuda:99"], "device 'cuda:99' is not available here"),
    ],
)
def test_options_are_refused_before_the_first_benchmark(
    begun: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert words in capsys.readouterr().err
    assert begun == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_smallest_shape_is_the_smallest(axis: int) -> None:
    images, tumour = clinical_case(SMALLEST)
    assert images["ct"].grid.shape == SMALLEST
    assert tumour.array.any()
    depth, height, width = (n - (1, STEP, STEP)[axis] * (at == axis) for at, n in enumerate(SMALLEST))
    with pytest.raises(GeometryError, match="too small for the body"):
        clinical_case((depth, height, width))
