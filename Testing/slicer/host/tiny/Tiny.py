"""A scripted module as small as can be, to test the host."""

import enum
from typing import Annotated

import numpy as np
import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)


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
    pass


class TinyWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/Tiny.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.parameters = TinyParameters(TinyLogic().getParameterNode())
        mapping = {"volume": self.ui.volumeSelector, "threshold": self.ui.thresholdSlider}
        self.tag = self.parameters.connectParametersToGui(mapping)

    def cleanup(self):
        self.parameters.disconnectGui(self.tag)


class TinyLogic(ScriptedLoadableModuleLogic):
    def makeCube(self):
        array = np.zeros((12, 14, 16), dtype=np.int16)
        array[4:8, 5:9, 6:10] = 100
        matrix = np.array([[-2.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, -5], [0, 0, 0, 1]])
        volume = slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name="Cube")
        volume.CreateDefaultDisplayNodes()
        return volume

    def threshold(self, volume, threshold):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Result")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segment = node.GetSegmentation().AddEmptySegment("", "Above")
        mask = (slicer.util.arrayFromVolume(volume) > threshold).astype("uint8")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
        return node, segment
