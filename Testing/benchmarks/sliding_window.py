"""Speed and memory of the automatic engine.

First a whole case through ``AutoEngine.segment``: a phantom's PET/CT, 512 x 512 x 200 voxels of 0.98 x 0.98 x 3.27 mm.

Then the window engine on each back end, in each number type that OpenVINO computes natively here and in int8, against
MONAI's ``sliding_window_inference`` on PyTorch in float32: same weights, windows, overlap and blending, networks loaded
and compiled before. What is counted begins with the network's input in memory and ends with the probabilities. MONAI
computes all windows, one at a time on all cores; the engine leaves out those beside the body. The ratio of the
processor's seconds, summed over its cores, depends less on what else the machine computes. The volume is a phantom's
CT and PET around its tumour, mirrored over and over until it fills the shape asked for, in voxels of the model's
spacing: all of it, or an elliptic cylinder of half its volume, with a couch below and noise in the air.

Rows of OpenVINO count the kernels that its convolutions ran on, since not every release heeds ``ONEDNN_MAX_CPU_ISA``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from Testing.benchmarks.cases import clinical_case
from Testing.benchmarks.measuring import cpu_timed, format_row, peak_memory_gib, timed
from training.evaluation.int8 import record_int8
from TumorSegLib.engines.auto.engine import WINDOWS_PER_PASS
from TumorSegLib.engines.auto.sliding_window import WindowPlan, predict
from TumorSegLib.engines.backends.openvino import OpenVinoNetwork, openvino_dtypes
from TumorSegLib.engines.inputs import Channels, prepare
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.placement import Placement
from TumorSegLib.engines.processor import has_int8
from TumorSegLib.engines.runtime import INT8, OPENVINO, Runtime, choose_runtime
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.models.folder import ModelFolder
from TumorSegLib.models.int8 import Agreement
from TumorSegLib.models.registry import find_model
from TumorSegLib.phantom.patient import make_phantom

MODEL, OVERLAP = "sts-auto", 0.25


def run(
    device: str, shape: tuple[int, int, int], backends: Sequence[str], report: Path | None, record: bool = False
) -> None:
    """Prints seconds, ratios, Dice, peak memory, and PyTorch's rate in a convolution to compare with, from one run.

    Args:
        device: e.g. ``cpu``.
        shape: of the volume, ``(k, j, i)``.
        backends: that are compared.
        report: JSON of the figures, written there.
        record: note the Dice of int8 in the body in ``model.json``.

    Raises:
        ArgumentError: int8, which is to be recorded, does not run.
    """
    runtime, model = choose_runtime(device), find_model(MODEL)
    each = runtimes(runtime, backends, model)
    if record and each[-1].precision != INT8:
        raise ArgumentError(f"--record: there is no int8 with {' or '.join(backends)}, {runtime.name} and {MODEL}")
    print(f"{runtime.name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {runtime.precision}")
    peak = convolution_peak(runtime)
    print(f"a 3 x 3 x 3 convolution of PyTorch: {peak / 1e9:.0f} GFLOP/s at best; volume {shape}, overlap {OVERLAP}")
    rows = time_case(device, shape, backends)
    print("\n".join(format_row(row) for row in rows), flush=True)
    bodies = "half", "all"
    ours = {body: [time_engine(model, make_channels(model, shape, body), one) for one in each] for body in bodies}
    # MONAI comes last: peak memory is of the whole process and cannot be taken back.
    for body in bodies:
        compared = compare_with_monai(model, shape, body, runtime.device, ours[body])
        print("\n".join(format_row(row) for row in compared), flush=True)
        rows += compared
    if report:
        report.write_text(json.dumps({"device": runtime.name, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    if record:
        record_agreement(model, shape, rows)


def record_agreement(model: ModelFolder, shape: tuple[int, int, int], rows: Sequence[dict[str, Any]]) -> None:
    """Notes in ``model.json`` how well the copy in int8 agrees with MONAI in the body, which has no reference."""
    in_body = {row["body"]: row["dice_in_body"] for row in rows if "body" in row and row["backend"].endswith("int8")}
    figures = {body: Agreement(1, found, found) for body, found in in_body.items()}
    record_int8(model, f"python -m Testing.benchmarks speed --shape {','.join(map(str, shape))}", figures)


def runtimes(runtime: Runtime, backends: Sequence[str], model: ModelFolder) -> list[Runtime]:
    """How the window engine runs: PyTorch as it is loaded by default, OpenVINO in every native number type and int8."""
    ways = []
    for name in backends:
        dtypes = openvino_dtypes() if name == OPENVINO else (runtime.dtype,)
        ways += [Runtime(runtime.device, dtype, name) for dtype in dtypes]
    if OPENVINO in backends and model.spec.int8 is not None and has_int8():
        ways.append(Runtime(runtime.device, torch.int8, OPENVINO, model.path))
    return ways


def time_case(device: str, shape: tuple[int, int, int], backends: Sequence[str]) -> list[dict[str, Any]]:
    """Seconds of each stage of a case by back end, from images in memory to the mask on their grid, and peak memory."""
    (images, truth), rows, first = clinical_case(shape), [], None
    for backend in backends:
        result = load_engine(MODEL, device, backend=backend, kind="auto").segment(images)
        found = result.mask.array > 0
        first = found if first is None else first
        rows.append(
            {
                "case": "x".join(map(str, truth.grid.size)),
                "backend": f"{result.info.backend} {result.info.precision}",
                **{f"{stage}_seconds": seconds for stage, seconds in result.info.seconds.items()},
                "windows": result.info["windows"],
                "skipped": result.info["windows_skipped"],
                "dice_to_first": dice(found, first),
                "peak_memory_gib": peak_memory_gib(),
            }
        )
    return rows


def make_channels(model: ModelFolder, shape: tuple[int, int, int], body: str) -> Channels:
    """Network input of the shape asked for, with a body in half of it or all of it."""
    spacing, rng = model.spec.volume_input.spacing_mm, np.random.default_rng(0)
    phantom = make_phantom(0, spacing_mm=spacing, shape=(72, 96, 96))
    (i0, i1), (j0, j1), (k0, k1) = phantom.tumour.bounding_box() or ((0, 1),) * 3
    block = tuple(slice(max(a - 8, 0), b + 8) for a, b in ((k0, k1), (j0, j1), (i0, i1)))
    inside = half_of(shape) if body == "half" else np.ones(shape[1:], dtype=bool)
    images = {}
    for role, air, couch in (("ct", -1000, -50), ("pet", 0, 0)):
        tile = phantom.images[role].array[block]
        filled = np.pad(tile, [(0, n - t) for n, t in zip(shape, tile.shape)], mode="symmetric")
        around = np.full(shape[1:], air, dtype=np.float32)
        around[int(0.92 * shape[1]) : int(0.92 * shape[1]) + 2] = couch
        if role == "pet":
            around = np.abs(rng.normal(0, 0.04, shape[1:])).astype(np.float32)
        images[role] = Volume(
            Grid.from_spacing(shape, spacing), np.where(inside, filled, around).astype(tile.dtype), role
        )
    return prepare(images, model.spec)


def half_of(shape: tuple[int, int, int]) -> np.ndarray:
    """An ellipse of half the area of a slice: semi-axes a share sqrt(2 / pi) of the half lengths. Bool ``[j, i]``."""
    j, i = (np.linspace(-1, 1, n) for n in shape[1:])
    inside: np.ndarray = j[:, None] ** 2 + i[None, :] ** 2 <= 2 / np.pi
    return inside


def time_engine(model: ModelFolder, channels: Channels, runtime: Runtime) -> tuple[dict[str, Any], np.ndarray]:
    """Figures of our engine and its mask."""
    original = load_network(model)
    placement = Placement(model.spec, original, runtime)
    if placement.notes:
        raise RuntimeError(placement.notes[0])
    network = placement.network(runtime)
    plan = WindowPlan(model.spec.volume_input.patch, OVERLAP, WINDOWS_PER_PASS[runtime.device.type])
    flops = window_flops(original, (1, len(model.spec.roles), *plan.size))
    array = torch.from_numpy(channels.array)
    warm_up = array[:, :48, :128, :128]
    predict(network, warm_up, np.ones(warm_up.shape[1:], dtype=bool), plan, runtime)
    cpu_seconds, (seconds, maps) = cpu_timed(
        lambda: timed(lambda: predict(network, array, channels.tissue, plan, runtime))
    )
    figures = {
        "backend": f"{runtime.backend} {runtime.precision}",
        "windows": maps.windows,
        "skipped": maps.skipped,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "gflops_per_second": flops * (maps.windows - maps.skipped) / seconds / 1e9,
        "peak_memory_gib": peak_memory_gib(),
        **({"kernels": kernels_of(network)} if isinstance(network, OpenVinoNetwork) else {}),
    }
    return figures, maps.probability > 0.5


def kernels_of(network: OpenVinoNetwork) -> dict[str, int]:
    """How many convolutions of a network that has run used each kernel, by OpenVINO's name, e.g. ``jit_avx2_f32``."""
    layers = [node.get_rt_info() for node in next(reversed(network._compiled.values())).get_runtime_model().get_ops()]
    return dict(Counter(each["primitiveType"].value for each in layers if "onvolution" in each["layerType"].value))


def compare_with_monai(
    model: ModelFolder,
    shape: tuple[int, int, int],
    body: str,
    device: torch.device,
    ours: Sequence[tuple[dict[str, Any], np.ndarray]],
) -> list[dict[str, Any]]:
    """Rows of our figures with MONAI's seconds, the ratios, and the Dice of the masks, in the body and anywhere."""
    network = load_network(model).to(device)
    array = torch.from_numpy(make_channels(model, shape, body).array)[None]
    monai_inference(network, model, array[..., :48, :128, :128], device)  # warm up
    cpu_seconds, (seconds, theirs) = cpu_timed(lambda: timed(lambda: monai_inference(network, model, array, device)))
    inside = half_of(shape) if body == "half" else np.ones(shape[1:], dtype=bool)
    return [
        {
            "body": body,
            **figures,
            "monai_seconds": seconds,
            "monai_cpu_seconds": cpu_seconds,
            "ratio": seconds / figures["seconds"],
            "cpu_ratio": cpu_seconds / figures["cpu_seconds"],
            "dice_in_body": dice(found & inside, theirs & inside),
            "dice_anywhere": dice(found, theirs),
        }
        for figures, found in ours
    ]


def monai_inference(network: nn.Module, model: ModelFolder, array: torch.Tensor, device: torch.device) -> np.ndarray:
    """MONAI's mask, bool ``[k, j, i]``, in float32, of channels ``[1, roles, k, j, i]``."""
    with torch.inference_mode():
        result = sliding_window_inference(
            array,
            model.spec.volume_input.patch,
            WINDOWS_PER_PASS[device.type],
            lambda windows: torch.sigmoid(network(windows)),
            overlap=OVERLAP,
            mode="gaussian",
            sw_device=device,
            device=device,
        )
    mask: np.ndarray = (result[0, 0] > 0.5).cpu().numpy()  # type: ignore[index]
    return mask


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two bool arrays; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def window_flops(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of the convolutions of a network on the CPU, for one input."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(shape))
    return int(counter.get_total_flops())


def convolution_peak(runtime: Runtime) -> float:
    """The best rate of a 3 x 3 x 3 convolution over several channel counts, in FLOP/s."""
    best = 0.0
    for channels in (32, 64, 128):
        layer = nn.Conv3d(channels, channels, 3, padding=1).to(device=runtime.device, dtype=runtime.dtype)
        images = torch.zeros(1, channels, 32, 64, 64, device=runtime.device, dtype=runtime.dtype)
        with torch.inference_mode():
            layer(images)
            seconds = min(timed(lambda: layer(images))[0] for _ in range(5))  # noqa: B023
        best = max(best, 2 * 27 * channels**2 * 32 * 64 * 64 / seconds)
    return best
