"""Checkpoints that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.loop.checkpoint import CHECKPOINT, load_checkpoint
from TumorSegLib.errors import ModelError


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 truncated"])
def test_damaged_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(ModelError, match=r"last\.pt: damaged, or not a checkpoint"):
        load_checkpoint(tmp_path)


def test_foreign_or_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no checkpoint last\.pt"):
        load_checkpoint(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(ModelError, match="not the checkpoint of a training run; it must have average, config"):
        load_checkpoint(tmp_path)
