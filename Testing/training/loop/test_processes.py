"""Which process computes where, and that the group is left again; a real pair of processes is in test_train.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

from training.loop.processes import LONGEST_WAIT, Process, joined_processes


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Process 5 of 8, the second of its machine, which has four GPUs; what is asked of torch."""
    made: list[Any] = []
    for name, value in {"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    monkeypatch.setattr(dist, "init_process_group", lambda *options, **more: made.append((options, more)))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: made.append("left"))
    return made


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_each_process_of_a_machine_has_its_own_gpu(calls: list[Any], device: str) -> None:
    with joined_processes(device) as process:
        assert process == Process(rank=5, world=8, device="cuda:1")
    assert calls == ["cuda:1", (("cpu:gloo,cuda:nccl",), {"timeout": LONGEST_WAIT}), "left"]


def test_a_device_asked_for_is_kept(calls: list[Any]) -> None:
    with joined_processes("cpu") as process:
        assert process.device == "cpu"
    assert len(calls) == 2


def test_process_group_is_left_after_an_error(calls: list[Any]) -> None:
    with pytest.raises(KeyboardInterrupt), joined_processes("auto"):
        raise KeyboardInterrupt
    assert calls[-1] == "left"


def test_one_process_joins_no_group(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined_processes("auto") as process:
        assert process == Process(rank=0, world=1, device="auto")
    assert calls == []
