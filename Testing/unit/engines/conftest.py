"""Tests of engines compute in one thread: their networks are tiny, and the order of sums stays the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def two_threads(one_thread: None) -> Iterator[None]:
    """Two threads of torch, so that windows and slices are computed side by side."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
