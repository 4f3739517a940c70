"""What would make boxes faster, and moves their contours.

The processor's seconds, and Dice to the engine's answer and to the reference, on patients of ``data/sts`` not in
fold 0, so that nothing is chosen on test cases. Boxes are those of ``python -m training evaluate-boxes``, along k.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from Testing.benchmarks.measuring import cpu_timed, format_row
from training.data.cases import Case, read_case
from training.evaluation.boxes import AXIS, EVALUATED_ROLES, loose_box
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.box.slice_model import BoxCase
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.runtime import OPENVINO, Runtime
from TumorSegLib.engines.weights import load_network
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.models.registry import find_model
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions

MODEL, PATIENTS = "lite-medsam", ("STS_002", "STS_025")
# Middle slices of each box; a whole one has up to 86.
SLICES = 8
PRESENT = "engine"
#: Segments a box on new slices: the probability as uint8 in the box.
Way = Callable[[Case, str, BoxPrompt], np.ndarray]


def run(device: str) -> None:
    """Prints a row for each shortcut and image, then the means of each shortcut."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    data = Path(os.environ.get("TUMORSEG_DATA", "../shared/data")) / "sts"
    ways = _ways(device)
    for name in PATIENTS:
        case = read_case(data, name, EVALUATED_ROLES)
        for role in case.images:
            for way, row in _compare(ways, case, role).items():
                rows.setdefault(way, []).append(row)
                _print(f"{name}, {role}, {way}", [row])
    for way, found in rows.items():
        _print(f"mean of {len(found)} boxes, {way}", found)


def _print(name: str, found: Sequence[tuple[float, float, float]]) -> None:
    figures = (float(value) for value in np.mean(found, axis=0))
    names = ("processor_seconds", "dice_to_engine", "dice_to_reference")
    print(f"{name}: {format_row(dict(zip(names, figures)))}", flush=True)


def _compare(ways: dict[str, Way], case: Case, role: str) -> dict[str, tuple[float, float, float]]:
    box, truth = _middle(loose_box(case)), case.tumour.array > 0
    present, rows = np.zeros(truth.shape, bool), {}
    for name, way in ways.items():
        seconds, values = cpu_timed(partial(way, case, role, box))
        mask = np.zeros(truth.shape, bool)
        mask[slices(box.box)] = values >= 128
        present = mask if name == PRESENT else present
        inside = slices(box.box)
        rows[name] = seconds, dice(mask, present), dice(mask[inside], truth[inside])
    return rows


def _middle(box: BoxPrompt) -> BoxPrompt:
    low, high = box.box[AXIS]
    first = max((low + high - SLICES) // 2, low)
    return BoxPrompt((*box.box[:AXIS], (first, min(first + SLICES, high))))


def _ways(device: str) -> dict[str, Way]:
    engine = load_engine(MODEL, device, backend="torch", kind="box")
    model = find_model(MODEL)
    network = load_network(model)
    if not isinstance(network, Sam):
        raise TypeError(f"{MODEL} is no model for boxes")
    ways: dict[str, Way] = {
        PRESENT: lambda *given: _segment(engine, *given),
        "embeddings of every second slice interpolated": lambda *given: _segment(engine, *given, ahead=_every_second),
    }
    if device == "cpu":
        full = Runtime(torch.device("cpu"), torch.bfloat16, OPENVINO)
        rough = BoxEngine(model.spec, network, full)
        small = BoxEngine(model.spec, _int8(network), Runtime(torch.device("cpu"), torch.float32))
        ways["OpenVINO, all in bfloat16"] = lambda *given: _segment(rough, *given)
        ways["linear layers of the encoder in int8"] = lambda *given: _segment(small, *given)
    return ways


def _segment(
    engine: BoxEngine,
    case: Case,
    role: str,
    box: BoxPrompt,
    ahead: Callable[[BoxEngine, BoxCase, BoxPrompt], None] | None = None,
) -> np.ndarray:
    prepared = engine.prepare(case.images, BoxOptions(role))
    if ahead:
        ahead(engine, prepared, box)
    return engine.segment(prepared, box, BoxOptions(role, (AXIS,))).probability


def _every_second(engine: BoxEngine, prepared: BoxCase, box: BoxPrompt) -> None:
    """Embeds every second slice and the last one, and puts means of two neighbours between them."""
    low, high = box.box[AXIS]
    view = engine.view(prepared, box.box, AXIS)
    for number in _encoded(low, high):
        engine.embed(prepared, BoxPrompt((*box.box[:AXIS], (number, number + 1))))
    for number in set(range(low, high)) - set(_encoded(low, high)):
        sides = [prepared.embeddings.get(view, number + step) for step in (-1, 1)]
        mean = torch.stack([side for side in sides if side is not None]).float().mean(dim=0)
        prepared.embeddings.keep(view, number, mean.half())


def _encoded(low: int, high: int) -> Sequence[int]:
    return sorted({*range(low, high, 2), high - 1})


def _int8(network: Sam) -> Sam:
    """A copy whose encoder computes linear layers in int8, activations scaled as they come."""
    copied = copy.deepcopy(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch moves this function to another package
        copied.image_encoder = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            copied.image_encoder, {nn.Linear}, dtype=torch.qint8
        )
    return copied
