"""The settings of the module, kept in the scene: the one place where the panel and actions read them."""

import enum
from typing import TYPE_CHECKING, Annotated, Any

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

if TYPE_CHECKING:
    from collections.abc import Mapping

    class _Wrapped:
        """What Slicer's decorator adds to the class."""

        def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
            self.parameterNode = parameterNode
            self.allParameters: Mapping[str, Any] = {}

        def connectParametersToGui(self, mapping: Mapping[str, Any]) -> int: ...
        def disconnectGui(self, tag: int) -> None: ...

else:
    _Wrapped = object

#: Kind of model to the parameter with the name of the chosen one.
MODEL_PARAMETERS = {"auto": "autoModel", "clicks": "clicksModel", "box": "boxModel"}


# Scenes store the name of an enum's member: names of members must not change.
class OverwriteMode(enum.Enum):
    """What other segments lose where a segment grows into them; the choices of Slicer's Segment Editor.

    Segments that are marked as completed never lose voxels.
    """

    ALLOW = "allow"
    OVERWRITE_VISIBLE = "overwrite visible"
    OVERWRITE_ALL = "overwrite all"

    def label(self) -> str:
        """Text of the choice in the panel."""
        return {
            OverwriteMode.ALLOW: _("keep their voxels, segments may overlap"),
            OverwriteMode.OVERWRITE_VISIBLE: _("are overwritten where they are visible"),
            OverwriteMode.OVERWRITE_ALL: _("are overwritten"),
        }[self]


# As scenes store names of members, those below are the ones that TumorSegLib.load_engine takes.
class Device(enum.Enum):
    """Where models run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"

    def label(self) -> str:
        """Text of the choice in the panel."""
        return _("automatic") if self is Device.auto else str(self.value)


class Precision(enum.Enum):
    """Number format of the computation."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"

    def label(self) -> str:
        """Text of the choice in the panel."""
        return _("automatic") if self is Precision.auto else str(self.value)


@parameterNodeWrapper
class TumorSegParameters(_Wrapped):
    """The settings; each is saved with the scene as soon as it is set."""

    ct: slicer.vtkMRMLScalarVolumeNode
    pet: slicer.vtkMRMLScalarVolumeNode
    mr: slicer.vtkMRMLScalarVolumeNode
    assumeSuv: bool = False
    segmentation: slicer.vtkMRMLSegmentationNode
    segmentId: str = ""
    box: slicer.vtkMRMLMarkupsROINode
    autoModel: str = "sts-auto"
    clicksModel: str = "sts-clicks"
    boxModel: str = "lite-medsam"
    device: Device = Device.auto
    precision: Precision = Precision.auto
    overlap: OverwriteMode = OverwriteMode.ALLOW  # scenes store it under this name
    strokesGuide: bool = False
    overlayOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    diameterLines: bool = False

    def values(self) -> dict[str, Any]:
        """Name to value of all settings."""
        return {name: getattr(self, name) for name in self.allParameters}
