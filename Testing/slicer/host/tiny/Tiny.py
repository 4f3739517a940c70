"""A scripted module as small as can be, to test the host: a threshold segments a volume."""

import enum
from typing import Annotated

import qt
import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Speed(enum.Enum):
    SLOW = "slow"
    FAST = "fast"


@parameterNodeWrapper
class TinyParameters:
    volume: slicer.vtkMRMLScalarVolumeNode
    threshold: Annotated[float, WithinRange(0.0, 2000.0)] = 40.0
    speed: Speed
    count: int = 3
    label: str = "lesion"
    enabled: bool = True


class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Tiny")
        slicer.app.connect("startupCompleted()", registerSample)


def registerSample():
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Tiny",
        sampleName="TinyCube",
        uris="",
        fileNames="",
        nodeNames="",
        customDownloader=lambda source: TinyLogic().makeCube(),
    )


class TinyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.calls = []
        self.parameters = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/Tiny.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = TinyLogic()
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onVolume)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneClosed)
        self.initialise()

    def initialise(self):
        if self.parameters is not None:
            self.parameters.disconnectGui(self.tag)
        self.parameters = TinyParameters(self.logic.getParameterNode())
        mapping = {"volume": self.ui.volumeSelector, "threshold": self.ui.thresholdSlider}
        self.tag = self.parameters.connectParametersToGui(mapping)

    def enter(self):
        self.calls.append("enter")
        self.shortcut = qt.QShortcut(qt.QKeySequence("Ctrl+Z"), slicer.util.mainWindow())
        self.shortcut.connect("activated()", lambda: self.calls.append("undo"))

    def exit(self):
        self.calls.append("exit")
        self.shortcut.setParent(None)
        self.shortcut.deleteLater()

    def cleanup(self):
        self.calls.append("cleanup")
        self.parameters.disconnectGui(self.tag)
        self.removeObservers()

    def onSceneClosed(self, caller, event):
        self.calls.append("closed")
        self.initialise()

    def onVolume(self, node):
        self.ui.applyButton.enabled = node is not None

    def onApply(self):
        with slicer.util.tryWithErrorDisplay(_("Thresholding failed."), waitCursor=True):
            self.logic.threshold(self.parameters.volume, self.parameters.threshold)


class TinyLogic(ScriptedLoadableModuleLogic):
    def makeCube(self):
        import numpy as np

        array = np.zeros((12, 14, 16), dtype=np.int16)
        array[4:8, 5:9, 6:10] = 100
        matrix = np.array([[-2.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, -5], [0, 0, 0, 1]])
        volume = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name="Cube")
        volume.CreateDefaultDisplayNodes()
        return volume

    def threshold(self, volume, threshold):
        if threshold > 1000:
            raise ValueError("threshold is above 1000")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Result")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segment = node.GetSegmentation().AddEmptySegment("", "Above")
        mask = (slicer.util.arrayFromVolume(volume) > threshold).astype("uint8")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
        return node, segment
