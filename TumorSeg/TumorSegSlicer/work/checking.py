"""The action that looks at the voxels of images before they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from TumorSegSlicer.mrml import volumes
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.work.runner import Action

if TYPE_CHECKING:
    from TumorSegLib import Volume
    from TumorSegLib.jobs import Cancel, Progress


class CheckImages(Action):
    """Makes images of the library, which checks their voxels, and imports what the first session needs.

    Its outcome is those images: as long as it is kept, using them again checks nothing. Images that cannot be used are
    left out, as the action that uses them says why.
    """

    def __init__(self, inputs: Mapping[str, Input]) -> None:
        self.inputs = inputs
        self.later: list[Callable[[], Volume]] = []

    def begin(self) -> Action | None:
        """Takes the voxels from the scene."""
        from TumorSegLib import TumorSegError

        for role, each in self.inputs.items():
            with suppress(TumorSegError):
                self.later.append(volumes.volumeLater(each.node, role, each.assumeSuv))
        return None

    def work(self, _progress: Progress, cancel: Cancel) -> list[Volume]:
        """Checks them, one by one."""
        import TumorSegLib.session  # noqa: F401 - takes longer than a click may
        from TumorSegLib import Cancelled, TumorSegError

        found = []
        for make in self.later:
            if cancel():
                raise Cancelled("stopped")
            with suppress(TumorSegError):
                found.append(make())
        return found
