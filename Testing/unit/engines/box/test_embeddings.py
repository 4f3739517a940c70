"""Embeddings of slices: bounded in bytes, the least recently used are dropped first."""

from __future__ import annotations

import pytest
import torch

from TumorSegLib.engines.box.embeddings import Embeddings
from TumorSegLib.engines.box.views import View
from TumorSegLib.geometry.grid import Grid

GRID = Grid.from_spacing((8, 8, 8), (1, 1, 1))
REGION = ((0, 8), (0, 8), (0, 8))
ACROSS, ALONG = View.of(GRID, REGION, 2, 16), View.of(GRID, REGION, 0, 16)
ONE = 4 * 3 * 3 * 2  # bytes of an embedding


def embedding(value: float) -> torch.Tensor:
    return torch.full((4, 3, 3), value, dtype=torch.float16)


def numbers(kept: Embeddings, view: View = ACROSS, count: int = 20) -> list[int]:
    return [number for number in range(count) if kept.get(view, number) is not None]


def test_embeddings_are_found_by_view_and_number_and_replaced_in_place() -> None:
    kept = Embeddings(3 * ONE)
    assert kept.get(ACROSS, 3) is None
    kept.keep(ALONG, 3, embedding(2))
    for value in range(10):
        kept.keep(ACROSS, 3, embedding(value))
    for view, value in ((View.of(GRID, REGION, 2, 16), 9), (ALONG, 2)):
        found = kept.get(view, 3)
        assert found is not None
        assert torch.equal(found, embedding(value))
    assert kept.get(ACROSS, 4) is None


def test_the_rest_of_a_batch_is_not_kept_in_memory() -> None:
    batch = torch.zeros((50, 4, 3, 3), dtype=torch.float16)
    kept = Embeddings().keep(ACROSS, 0, batch[7])
    assert kept.untyped_storage().nbytes() == ONE


@pytest.mark.parametrize(("budget", "left"), [(3 * ONE, 3), (4 * ONE - 1, 3), (ONE, 1), (100 * ONE, 8)])
def test_no_more_bytes_than_the_budget(budget: int, left: int) -> None:
    kept = Embeddings(budget)
    for number in range(8):
        kept.keep(ACROSS, number, embedding(number))
        assert numbers(kept)[-1] == number  # read in order: which of them goes next stays the same
    assert numbers(kept) == list(range(8 - left, 8))


def test_the_least_recently_used_embedding_is_dropped_first() -> None:
    kept = Embeddings(3 * ONE)
    for number in range(3):
        kept.keep(ACROSS, number, embedding(number))
    kept.get(ACROSS, 0)
    kept.keep(ACROSS, 3, embedding(3))
    kept.keep(ALONG, 0, embedding(4))
    assert numbers(kept) == [0, 3]
    assert numbers(kept, ALONG) == [0]


def test_one_larger_than_the_budget_is_usable_and_makes_room_for_the_next() -> None:
    kept = Embeddings(ONE - 1)
    for number in range(3):
        assert torch.equal(kept.keep(ACROSS, number, embedding(number)), embedding(number))
        assert numbers(kept) == [number]


def test_views_in_the_order_of_their_last_use() -> None:
    kept = Embeddings(3 * ONE)
    assert kept.views() == []
    kept.keep(ACROSS, 0, embedding(0))
    kept.keep(ALONG, 0, embedding(0))
    kept.keep(ALONG, 1, embedding(0))
    assert kept.views() == [ALONG, ACROSS]
    kept.get(ACROSS, 0)
    assert kept.views() == [ACROSS, ALONG]
    for number in range(2, 5):
        kept.keep(ALONG, number, embedding(0))
    assert kept.views() == [ALONG]
