"""The training loop with a model of any image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from Testing.fakes import noise_volume
from Testing.training.objects.object_cases import GRID, any_configuration, write_suite
from Testing.training.training_runs import read_log, same
from training.export import export
from training.loop.checkpoint import load_checkpoint
from training.loop.train import train
from TumorSegLib.engines.clicks.any_image import AnyImageEngine
from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import ModelError
from TumorSegLib.prompts.types import Click
from TumorSegLib.session.session import Session


@pytest.mark.slow
def test_a_run_writes_a_checkpoint_goes_on_and_gives_a_model_that_answers(tmp_path: Path) -> None:
    root, run = write_suite(tmp_path / "data"), tmp_path / "run"
    train(any_configuration("", "steps = 2", "steps = 1"), root, run, "cpu", "float32")
    first = load_checkpoint(run)
    assert first["step"] == 1
    train(any_configuration(), root, run, "cpu", "float32")
    last = load_checkpoint(run)
    assert last["step"] == 2
    assert not same(first["network"], last["network"])
    assert [row["step"] for row in read_log(run)] == ["1", "2"]
    assert all(0 < float(row["loss"]) < 5 for row in read_log(run))
    # Another mix is another run.
    with pytest.raises(ModelError, match=r"differs in \[objects\] sources"):
        train(any_configuration("sources = { synthetic = 1 }"), root, run, "cpu", "float32")
    folder = export(run, tmp_path / "any", "float32")
    engine = load_engine(folder, "cpu", "float32", "torch", kind="clicks")
    assert isinstance(engine, AnyImageEngine)
    session = Session({"mr_flair": noise_volume(GRID, "mr_flair")}, clicks=engine)
    session.add(Click((12, 13, 14)))
    assert session.mask.array[14, 13, 12] == 1
    assert np.isfinite(session.probability.array).all()
