"""Scribbles that were painted into a segment."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from TumorSegLib import Edit, Mask, Scribble, Session


def importBrush(session: Session, painted: Mask, guides: Collection[bool], cancel: Callable[[], bool]) -> Edit | None:
    """Makes a painted mask one step of a session: as a scribble that the model goes on from, or as it is.

    Args:
        session: its active segment is what was painted on; no other thread edits it meanwhile.
        painted: on the session's grid; voxels where it differs from the session's mask are kept as painted.
        guides: True where added voxels are a positive scribble, False where removed ones are a negative one.
        cancel: asked often; True stops the model, and then nothing is imported.

    Returns:
        What changed; None where nothing was painted.

    Raises:
        TumorSegError: as ``Session.add_scribble``.
    """
    now = session.mask
    if np.array_equal(painted.array, now.array):
        return None
    scribble = scribbleFromChange(now, painted)
    if scribble is None or scribble.positive not in guides:
        return session.replace_mask(painted)
    return session.add_scribble(scribble, cancel=cancel)


def scribbleFromChange(before: Mask, after: Mask) -> Scribble | None:
    """The voxels that were added to a mask, or those that were removed; None where there are both, or neither.

    Args:
        before, after: masks on one grid; what is not background is tumour.
    """
    from TumorSegLib import Scribble
    from TumorSegLib.geometry.boxes import bounding_box, slices

    old, new = before.array > 0, after.array > 0
    box = bounding_box(old != new)
    if box is None:
        return None
    added, removed = new[slices(box)] & ~old[slices(box)], old[slices(box)] & ~new[slices(box)]
    if added.any() and removed.any():
        return None
    return Scribble.in_box(before.grid, box, (added | removed).view(np.uint8), bool(added.any()))
