"""From a run to a model folder that verifies, loads, and replaces an older one as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from training.data.cases import read_case
from training.export import export
from training.loop.checkpoint import CHECKPOINT, load_checkpoint
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ModelError
from TumorSegLib.evaluation.metrics import evaluate
from TumorSegLib.models.folder import read_model_folder


def test_folder_verifies_and_loads(finished_run: Path, data: Path, tmp_path: Path) -> None:
    output = export(finished_run, tmp_path / "new" / "tiny")
    assert output == tmp_path / "new" / "tiny"
    model = read_model_folder(output)
    model.verify()
    assert model.spec.name == "tiny"
    engine = load_engine(output, "cpu", "float32")
    case = read_case(data, "a", ("ct", "pet"))
    result = engine.segment(case.images)
    assert evaluate(result.mask, case.reference).dice > 0.5


def test_weights_are_the_averaged_ones(finished_run: Path, tmp_path: Path) -> None:
    model = read_model_folder(export(finished_run, tmp_path / "tiny", "float32"))
    weights, state = load_network(model).state_dict(), load_checkpoint(finished_run)
    assert weights.keys() == state["average"].keys()
    assert all(torch.equal(value, state["average"][name]) for name, value in weights.items())
    assert any(not torch.equal(value, state["network"][name]) for name, value in weights.items())


def test_half_precision_halves_the_file_and_agrees(finished_run: Path, data: Path, tmp_path: Path) -> None:
    folders = {kind: export(finished_run, tmp_path / kind, kind) for kind in ("float16", "float32")}
    tensors = {kind: load_file(folder / "weights.safetensors") for kind, folder in folders.items()}
    assert all(value.dtype is torch.float16 for value in tensors["float16"].values())
    size = {kind: sum(value.nbytes for value in named.values()) for kind, named in tensors.items()}
    assert size["float32"] == 2 * size["float16"]
    images = read_case(data, "b", ("ct", "pet")).images
    engines = [load_engine(folder, "cpu", "float32") for folder in folders.values()]
    half, full = (engine.segment(images).probability.array for engine in engines)
    assert np.ptp(full) > 0.2
    np.testing.assert_allclose(half, full, atol=0.01)


def test_card_and_other_files_are_kept(finished_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "tiny"
    (output / "pictures").mkdir(parents=True)
    (output / "MODEL_CARD.md").write_text("# a card", encoding="utf-8")
    (output / "pictures" / "one.png").write_bytes(b"png")
    (output / "weights.safetensors").write_bytes(b"old")
    export(finished_run, output)
    assert (output / "pictures" / "one.png").read_bytes() == b"png"
    assert (output / "MODEL_CARD.md").read_text(encoding="utf-8") == "# a card"
    read_model_folder(output).verify()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]  # nothing temporary is left


def test_weights_too_large_for_float16_are_refused(finished_run: Path, tmp_path: Path) -> None:
    state = load_checkpoint(finished_run)
    name = next(iter(state["average"]))
    for value, dtype, advice in (
        (7e4, "float16", "use --dtype float32"),
        (float("nan"), "float32", "train again with a lower learning_rate"),
    ):
        state["average"][name].view(-1)[-1] = value
        torch.save(state, tmp_path / CHECKPOINT)
        with pytest.raises(ModelError) as caught:
            export(tmp_path, tmp_path / "tiny", dtype)
        assert str(caught.value) == f"{tmp_path}: weights of {name} are not finite as {dtype}; {advice}"
        assert not (tmp_path / "tiny").exists()
    state["average"][name].view(-1)[-1] = 7e4
    torch.save(state, tmp_path / CHECKPOINT)
    read_model_folder(export(tmp_path, tmp_path / "tiny", "float32")).verify()
