"""Someone who works with the module by mouse and keys, and whose actions are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtTest import QTest

from Testing.slicer.module import TUMORSEG, ras_of, voxels

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

#: Seconds that an answer may take; models load in 4 s where nothing else runs.
PATIENCE = 180


class User:
    """A user of the application with the module in it.

    Attributes:
        actions: presses of keys and buttons, clicks and strokes in views, since TumorSeg was opened.
        image: node of the image being worked on.
    """

    def __init__(self, host: Host) -> None:
        """The module is installed and not open."""
        self.host, self.widget = host, host.load_module(TUMORSEG)
        host.window.moduleSelector().selectModule("")
        self.actions, self.answered = 0, 0
        self.image: Any = None
        self.context.edits.onEdited.connect(self._count)

    def _count(self) -> None:
        self.answered += 1

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def context(self) -> Any:
        return self.widget.panel.context

    @property
    def said(self) -> str:
        """What the strip says."""
        return str(self.ui.statusLabel.text)

    def mask(self) -> np.ndarray:
        """The selected segment on the image, bool ``[k, j, i]``."""
        return np.asarray(voxels(*self.context.selection.target(), self.image)).astype(bool)

    def sample(self, name: str) -> None:
        """Gets sample data whose name ends so; the views show it."""
        import SampleData
        import slicer

        self.host.window.show()
        (found,) = [each for each in SampleData.SampleDataLogic.sources if each.sampleName.endswith(f"({name})")]
        SampleData.downloadSample(found.sampleName)
        self.image = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")[0]
        self.host.process_events()

    def open(self) -> None:
        """Opens TumorSeg; actions are counted from here."""
        self.host.window.moduleSelector().selectModule("TumorSeg")
        self.host.window.activateWindow()
        self.host.process_events()
        self.actions = 0

    def press(self, name: str, edits: bool = False) -> None:
        """Presses a button by the name of its widget, and waits until it is answered."""
        self._do(lambda: getattr(self.ui, name).click(), edits)

    def key(self, letter: str) -> None:
        """Presses a key over a slice view."""
        import qt

        view = self.host.app.layoutManager().sliceWidget("Red").sliceView()
        self._do(lambda: QTest.keyClick(view, getattr(qt.Qt, f"Key_{letter}")), False)

    def click(self, ijk: tuple[int, int, int]) -> None:
        """Clicks on a voxel of the image in the axial view, and waits for the answer."""
        self._do(lambda: self.host.mouse.click("Red", ras_of(self.image, ijk)), True)

    def _do(self, action: Any, edits: bool) -> None:
        before = self.answered
        action()
        self.actions += 1
        self.host.process_events()
        if edits:
            self.host.wait_until(lambda: self.answered > before, "an answer", PATIENCE)
        self.host.wait_until(lambda: not self.context.tasks.busy, "the panel to be done", PATIENCE)
