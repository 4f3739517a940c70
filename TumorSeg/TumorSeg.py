"""TumorSeg: segments tumours on CT, PET and MR. Research software, not a medical device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from TumorSegSlicer.install import packages
from TumorSegSlicer.logic import TumorSegLogic  # Slicer looks for it here
from TumorSegSlicer.mrml import sample_data

if TYPE_CHECKING:
    from TumorSegSlicer.panel.panel import Panel

RESOURCES = Path(__file__).parent / "Resources"
#: Of observers of the scene: Slicer's own widgets have 0, the models of its selectors -10.
AFTER_WIDGETS = -100.0


class TumorSeg(ScriptedLoadableModule):
    """Title, category, dependencies and help of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("TumorSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Colors", "Markups", "SampleData", "SegmentEditor", "Segmentations", "Volumes"]
        parent.contributors = ["TumorSeg contributors"]
        parent.helpText = _(
            "Outlines tumours in any image by clicks, lines, lassos, boxes and brush, and marks what may be sarcoma on "
            "CT, PET and MR by itself; all can be undone and saved. Research software, not a medical device."
        )
        # Slicer's own link leads to its manual, which has the modules that come with Slicer only.
        parent.helpText += f'<p><a href="{packages.DOCUMENTATION}">{_("How to use TumorSeg")}</a></p>'
        parent.acknowledgementText = _(
            "The models that come with it were trained on the Soft-tissue-Sarcoma collection of The Cancer Imaging "
            "Archive (CC BY 3.0) and, for clicks on any lesion, on further sets; their cards have the attributions."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Offers the phantom in the Sample Data module."""
    sample_data.register(RESOURCES / "Icons" / "TumorSeg.png")


class TumorSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Makes the panel (``TumorSegSlicer/panel``) and passes on what happens to the module and the scene."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: TumorSegLogic | None = None
        self.panel: Panel | None = None
        self.uiWidget: Any = None
        self.outdated = False  # the scene was closed or read since the panel showed its settings

    def setup(self) -> None:
        """Called when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        problem = packages.libraryProblem()
        if problem:
            self.layout.addWidget(self.complaint(problem))
            return
        from TumorSegSlicer.panel.panel import Panel
        from TumorSegSlicer.panel.shared.context import Context

        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/TumorSeg.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = TumorSegLogic()
        self.panel = Panel(Context(self.ui, self.logic))
        self.observeScene()

    def observeScene(self) -> None:
        """Follows the scene as long as there is a panel."""
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndBatchProcessEvent, self.onBatchEnded, priority=AFTER_WIDGETS)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)

    def cleanup(self) -> None:
        """Called before the module is unloaded."""
        self.removeObservers()
        if self.panel is None or self.logic is None:
            return
        self.panel.close()
        self.logic.close()
        self.panel = None
        for widget in slicer.util.findChildren(self.uiWidget):
            widget.blockSignals(True)  # reloading only hides them: they would go on telling of the scene
        self.uiWidget.deleteLater()

    def enter(self) -> None:
        """Called when the user opens the module."""
        if self.panel is not None:
            self.panel.enter(slicer.util.mainWindow())

    def exit(self) -> None:
        """Called when the user opens another module."""
        if self.panel is not None:
            self.panel.exit()

    def onReload(self) -> None:
        """Called in developer mode; the module stays open, so that its keys go on working."""
        ScriptedLoadableModuleWidget.onReload(self)
        reloaded = slicer.modules.TumorSegWidget
        if reloaded is not self:
            reloaded.enter()

    @staticmethod
    def complaint(problem: str) -> qt.QLabel:
        """A label with the reason why there is no panel."""
        label = qt.QLabel(problem)
        label.setObjectName("complaint")
        label.setWordWrap(True)
        return label

    def onSceneStartClose(self, _caller: Any, _event: str) -> None:
        """The running action is stopped, since its segment is about to be removed."""
        if self.panel is not None:
            self.panel.sceneCloses()

    def onSceneStartImport(self, _caller: Any, _event: str) -> None:
        """Settings may come with the scene: what selectors show meanwhile is not the user's choice."""
        if self.panel is not None:
            self.panel.context.settings.disconnect()

    def onSceneChanged(self, _caller: Any, _event: str) -> None:
        """The panel is updated at the end of the batch process, which follows."""
        self.outdated = True

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller: Any, event: str, node: Any) -> None:
        """Makes the settings anew where their node was removed."""
        if self.panel is not None and node is self.panel.context.parameters.parameterNode:
            self.outdated = True
            if not slicer.mrmlScene.IsBatchProcessing():
                self.onBatchEnded(caller, event)

    def onBatchEnded(self, _caller: Any, _event: str) -> None:
        """Slicer's own widgets ignore updates during batch processing; they are up to date by now."""
        if self.panel is None:
            return
        if self.outdated:
            self.outdated = False
            self.panel.sceneChanged()
        self.panel.context.settings.read()
        self.panel.correct.batchEnded()


class TumorSegTest(ScriptedLoadableModuleTest):
    """Run by "Reload and Test": the phantom, from nothing to measurements, with the models that came with TumorSeg."""

    def runTest(self, **_named: Any) -> None:
        """Runs all tests."""
        self.test_phantom()

    def test_phantom(self) -> None:
        """The tumour is found, a click changes the segment, undo reverts it, and there are measurements."""
        missing = packages.missingPackages()
        if missing:
            self.skipTest("needs packages that the module installs when it is first used: " + ", ".join(missing))
        slicer.mrmlScene.Clear(False)
        self.delayDisplay("Looking for the tumour of the phantom")
        volumes = sample_data.loadPhantom()
        logic = TumorSegLogic()
        node, segmentId = logic.segment(volumes)
        found = logic.volumeMl(node, segmentId)
        self.assertGreater(found, 1.0)
        corner = [0.0] * 6
        volumes["ct"].GetRASBounds(corner)
        logic.addClick(node, segmentId, [sum(pair) / 2 for pair in zip(corner[::2], corner[1::2])])
        self.assertEqual(len(logic.clickPoints(node, segmentId)), 1)
        logic.undo(node, segmentId)
        self.assertAlmostEqual(logic.volumeMl(node, segmentId), found)
        self.assertGreater(logic.measure(node, segmentId).GetNumberOfRows(), 10)
        logic.close()
        self.delayDisplay("Done")
