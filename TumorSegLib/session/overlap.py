"""Segments that overlap: the policies, and what the others keep from an edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import numpy as np

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.images.probability import TUMOUR
from TumorSegLib.prompts.types import Prompt


class Overlap(str, Enum):
    """What happens where an edit of one segment meets another.

    ``keep``: the other segment keeps its voxels; ``overwrite``: they move to the edited one; ``allow``: both have them.
    """

    KEEP = "keep"
    OVERWRITE = "overwrite"
    ALLOW = "allow"


def check_free(prompt: Prompt, others: Mapping[str, UInt8Array]) -> None:
    """Checks that a prompt does not lie wholly in segments that keep their voxels.

    Args:
        prompt: within the grid of the segments.
        others: name to probability, uint8 ``[k, j, i]``, of the segments that are not edited; at least one.

    Raises:
        ArgumentError: no voxel of a positive prompt may become tumour.
    """
    points = prompt.point_prompt()
    if points is None or not points.positive:
        return
    at = tuple(points.points.T[::-1].astype(np.intp))
    owned = {other: probability[at] >= TUMOUR for other, probability in others.items()}
    if np.any(list(owned.values()), axis=0).all():
        owners = ", ".join(repr(other) for other, voxels in owned.items() if voxels.any())
        raise ArgumentError(
            f"{prompt} lies in segment {owners}, which keeps its voxels; "
            'a session with overlap="overwrite" would take them'
        )


def outside_others(before: UInt8Array, after: UInt8Array, others: Sequence[UInt8Array]) -> UInt8Array:
    """New values of a segment, but the old ones where it would enter others, which keep their voxels.

    Args:
        before, after: probability of the segment in a box, uint8 ``[k, j, i]``.
        others: of the other segments in this box; at least one.
    """
    entered = (after >= TUMOUR) & (before < TUMOUR)
    blocked = np.any([probability >= TUMOUR for probability in others], axis=0) & entered
    return np.where(blocked, before, after)
