"""TumorSeg: segments tumours on CT, PET and MR. Research software, not a medical device."""

from pathlib import Path

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

RESOURCES = Path(__file__).parent / "Resources"
#: Of observers of the scene: Slicer's own widgets have 0, the models of its selectors -10.
AFTER_WIDGETS = -100.0


class TumorSeg(ScriptedLoadableModule):
    """What Slicer shows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("TumorSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Colors", "Markups", "SampleData", "SegmentEditor", "Segmentations", "Volumes"]
        parent.contributors = ["TumorSeg contributors"]
        parent.helpText = _(
            "Marks what may be tumour on any of CT, PET and MR, and lets you correct it with clicks, a box and the "
            "brush, in one session that can be undone and saved. Research software, not a medical device."
        )
        # Slicer's own link leads to its manual, which has the modules that come with Slicer only.
        parent.helpText += f'<p><a href="{packages.DOCUMENTATION}">{_("How to use TumorSeg")}</a></p>'
        parent.acknowledgementText = _(
            "The models that come with it were trained on the Soft-tissue-Sarcoma collection of The Cancer Imaging "
            "Archive (CC BY 3.0); their cards have the attribution."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offers the phantom in the Sample Data module."""
    sample_data.register(RESOURCES / "Icons" / "TumorSeg.png")


class TumorSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel's life in the application; what it does is in ``TumorSegSlicer/panel``."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.panel = self.uiWidget = None
        self.outdated = False  # the panel shows the settings of a scene that is no more

    def setup(self):
        """Called when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        problem = packages.libraryProblem()
        if problem:
            self.layout.addWidget(self.complaint(problem))
            return
        from TumorSegSlicer.panel.context import Context
        from TumorSegSlicer.panel.panel import Panel

        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/TumorSeg.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = TumorSegLogic()
        self.panel = Panel(Context(self.ui, self.logic))
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndBatchProcessEvent, self.onBatchEnded, priority=AFTER_WIDGETS)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)

    def cleanup(self):
        """Called before the module is unloaded."""
        self.removeObservers()
        if self.panel is None:
            return
        self.panel.close()
        self.logic.close()
        self.panel = None
        for widget in slicer.util.findChildren(self.uiWidget):
            widget.blockSignals(True)  # reloading only hides them: they would go on telling of the scene
        self.uiWidget.deleteLater()

    def enter(self):
        """Called when the user opens the module."""
        if self.panel is not None:
            self.panel.enter(slicer.util.mainWindow())

    def exit(self):
        """Called when the user opens another module."""
        if self.panel is not None:
            self.panel.exit()

    def onReload(self):
        """Called in developer mode; the module stays open, so that its keys go on working."""
        ScriptedLoadableModuleWidget.onReload(self)
        reloaded = slicer.modules.TumorSegWidget
        if reloaded is not self:
            reloaded.enter()

    @staticmethod
    def complaint(problem):
        """What is shown in place of the panel where it cannot work."""
        label = qt.QLabel(problem)
        label.setObjectName("complaint")
        label.setWordWrap(True)
        return label

    def onSceneStartClose(self, _caller, _event):
        """What is being done would have nowhere to go."""
        self.panel.context.abandon()
        self.panel.context.disconnectGui()
        self.panel.correct.stopTools()

    def onSceneStartImport(self, _caller, _event):
        """Settings may come with the scene: what selectors show meanwhile is not the user's choice."""
        self.panel.context.disconnectGui()

    def onSceneChanged(self, _caller, _event):
        """Settings are kept in the scene, which is another one now; the end of the batch follows."""
        self.outdated = True

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller, event, node):
        """Somebody removed the settings."""
        if node is self.panel.context.parameters.parameterNode:
            self.outdated = True
            if not slicer.mrmlScene.IsBatchProcessing():
                self.onBatchEnded(caller, event)

    def onBatchEnded(self, _caller, _event):
        """Slicer's own widgets have taken everything to heart by now, and not before."""
        if self.outdated:
            self.outdated = False
            self.panel.sceneChanged()
        self.panel.context.readParameters()
        self.panel.correct.batchEnded()


class TumorSegTest(ScriptedLoadableModuleTest):
    """Run by "Reload and Test": the phantom, from nothing to measurements, with the models that came with TumorSeg."""

    def runTest(self, **_named):
        """Does everything once."""
        self.test_phantom()

    def test_phantom(self):
        """The tumour is found, a click is obeyed, undo takes it back, and there are measurements."""
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
