"""The training loop with a refinement network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from Testing.training.training_runs import CLICKS, SHORT, Configured, read_log, same
from training.loop.checkpoint import load_checkpoint
from training.loop.train import train
from training.losses.by_name import LOSSES
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ModelError
from TumorSegLib.models.folder import read_model_folder


def test_a_refinement_network_learns_to_correct(data: Path, configured: Configured, tmp_path: Path) -> None:
    longer = "steps = 24", "steps = 60", "every = 12", "every = 20", "batch = 1", "batch = 2"
    train(configured(*CLICKS, *longer), data, tmp_path, "cpu", "float32")
    first, _, last = read_log(tmp_path)
    assert float(last["loss"]) < 0.8 * float(first["loss"])
    for episode in load_checkpoint(tmp_path)["source"]["episodes"]:
        # Each of the 16 was visited seven or eight times, and every visit ends with a click or the next image.
        assert 2 <= episode["number"][1] + len(episode["hints"]) <= 9


def test_the_loss_weighs_voxels_near_the_last_click(
    data: Path, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor | None] = []
    loss = LOSSES["dice_ce"]

    def note_focus(logits: torch.Tensor, labels: torch.Tensor, focus: torch.Tensor | None = None) -> torch.Tensor:
        seen.append(focus)
        return loss(logits, labels, focus)

    monkeypatch.setitem(LOSSES, "dice_ce", note_focus)
    train(configured("steps = 6", "steps = 1"), data, tmp_path / "auto", "cpu", "float32")
    train(configured(*CLICKS, *SHORT), data, tmp_path / "clicks", "cpu", "float32")
    automatic, clicks = seen
    assert automatic is None
    assert clicks is not None
    assert clicks.shape == (1, 16, 16, 16)
    assert clicks.max() == 1


def test_a_refinement_network_begins_with_the_weights_of_its_first_stage(
    data: Path, configured: Configured, tmp_path: Path, model: Path
) -> None:
    still = "learning_rate = 1e-2", "learning_rate = 0.0"
    settings = "mean_rounds = 2.0", f"first_stage = '{model}'"
    train(configured(*CLICKS, *SHORT, *still, *settings), data, tmp_path / "run", "cpu", "float32")
    first_stage = load_network(read_model_folder(model)).state_dict()
    for name, value in load_checkpoint(tmp_path / "run")["network"].items():
        given = first_stage[name]
        assert torch.equal(value[:, : given.shape[1]] if value.ndim > 1 else value, given)
        if value.shape != given.shape:
            assert not value[:, given.shape[1] :].any()
    plain = configured(*CLICKS, *SHORT, *still)
    train(plain, data, tmp_path / "plain", "cpu", "float32")
    assert not same(load_checkpoint(tmp_path / "plain")["network"], load_checkpoint(tmp_path / "run")["network"])


def test_a_first_stage_that_does_not_fit_writes_nothing(
    data: Path, configured: Configured, tmp_path: Path, model: Path
) -> None:
    changes = "mean_rounds = 2.0", f"first_stage = '{model}'", "[4, 8, 8]", "[4, 8, 16]"
    with pytest.raises(ModelError, match=r"the first stage is another network: weights 'bottleneck.*there and .*here"):
        train(configured(*CLICKS, *SHORT, *changes), data, tmp_path / "run", "cpu", "float32")
    assert not (tmp_path / "run").exists()
