"""Embeddings of slices, kept so that no slice is encoded twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import torch

from TumorSegLib.engines.box.views import View

#: Bytes kept, in main memory: 256 slices of LiteMedSAM or SAM, as float16.
BUDGET = 512 * 2**20
# Slices per pass of the decoder, and of the encoder on a GPU; more gain nothing and make cancelling slow.
SLICES_PER_PASS = 4


class Embeddings:
    """Embeddings by view and number of slice; those used least recently go first when there is no room."""

    def __init__(self, budget: int = BUDGET) -> None:
        """Begins empty; ``budget`` is in bytes."""
        self._budget = budget
        self._kept: OrderedDict[tuple[View, int], torch.Tensor] = OrderedDict()
        self._bytes = 0

    def views(self) -> list[View]:
        """Views that have slices here, the one used last first."""
        return list(dict.fromkeys(view for view, _ in reversed(self._kept)))

    def count(self, view: View, numbers: Iterable[int]) -> int:
        """How many of some slices of a view are here; does not count as access for the LRU order."""
        return sum((view, number) in self._kept for number in numbers)

    def keep(self, view: View, number: int, embedding: torch.Tensor) -> torch.Tensor:
        """Stores the embedding of a slice, replacing an older one, and returns it."""
        kept = embedding.clone()  # not a part of its batch, which would stay in memory with it
        before = self._kept.pop((view, number), None)
        self._bytes -= 0 if before is None else before.nbytes
        self._kept[view, number] = kept
        self._bytes += kept.nbytes
        while self._bytes > self._budget and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= gone.nbytes
        return kept

    def get(self, view: View, number: int) -> torch.Tensor | None:
        """The embedding ``[channels, s, s]`` of a slice; None if it is not here."""
        embedding = self._kept.get((view, number))
        if embedding is not None:
            self._kept.move_to_end((view, number))
        return embedding
