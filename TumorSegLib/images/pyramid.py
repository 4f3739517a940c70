"""An image at several resolutions, each made when it is first asked for."""

from __future__ import annotations

import numpy as np

from TumorSegLib.images.resample import average_blocks
from TumorSegLib.images.volume import Volume


class Pyramid:
    """An image with blocks of 1, 2, 4, ... voxels averaged along each axis; training and inference read the same.

    Threads may share one: two that need the same level at once make it twice.
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._levels: dict[tuple[int, ...], Volume] = {}

    def level(self, spacing_mm: float) -> Volume:
        """The coarsest level none of whose voxels is longer than a spacing, or than the image's own.

        Linear interpolation of it at that spacing skips no voxels.

        Args:
            spacing_mm: edge of the voxels that are wanted.

        Returns:
            float32 where blocks are averaged, else the image itself.
        """
        ratio = spacing_mm / np.asarray(self.volume.grid.spacing)
        blocks = 2 ** np.floor(np.log2(np.maximum(ratio, 1)) + 1e-3).astype(int)
        key = tuple(blocks.tolist())
        if key not in self._levels:
            target = self.volume.grid.with_spacing(tuple(blocks * self.volume.grid.spacing))
            self._levels[key] = average_blocks(self.volume, target)
        return self._levels[key]
