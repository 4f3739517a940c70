"""Probabilities as sessions keep them: uint8, 255 for 1."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
EMPTY: Bytes = np.zeros((0, 0, 0), dtype=np.uint8)
#: A voxel is tumour from this value on.
TUMOUR = 128
