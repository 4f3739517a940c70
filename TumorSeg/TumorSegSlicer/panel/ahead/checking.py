"""Looks at the voxels of the chosen images in the background, before a segment is made from them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.work.checking import CheckImages
from TumorSegSlicer.work.failures import Failure

if TYPE_CHECKING:
    from TumorSegLib import Volume

#: It begins this long after the last choice of an image or a role.
SETTLED_MS = 200


class CheckingAhead:
    """Checks the chosen images in advance, so that the first segment made from them is there at once.

    In an image of 900 slices this takes a tenth of a second. Any action of the user stops it; it goes on afterwards.
    """

    def __init__(self, context: Context, inputs: Callable[[], dict[str, Input]]) -> None:
        """Begins without images; ``inputs`` gives those that are chosen."""
        self._context, self._inputs = context, inputs
        self._kept: list[Volume] = []
        self._timer = context.tasks.timer(SETTLED_MS, self._check)

    def wait(self) -> None:
        """Other images may be chosen, or have other roles."""
        self._timer.start()

    def _check(self) -> None:
        inputs = self._inputs()
        if not inputs:
            self._kept = []
        elif self._context.packages.complete:
            run = self._context.tasks.startingQuietly(self._onChecked, self._onStopped)
            run(CheckImages(inputs))

    def _onChecked(self, found: list[Volume]) -> None:
        self._kept = found

    def _onStopped(self, failure: Failure) -> None:
        if failure.cancelled:
            self._timer.start()
        else:
            logging.info("TumorSeg: the images were not checked ahead: %s", failure.details)
