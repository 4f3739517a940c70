"""What the panel is set to, kept in the scene."""

import enum

import slicer
from slicer.parameterNodeWrapper import parameterNodeWrapper


class Overlap(enum.Enum):
    """What other segments lose where a segment grows into them; the choices of Slicer's Segment Editor."""

    ALLOW = "allow"
    OVERWRITE_VISIBLE = "overwrite visible"
    OVERWRITE_ALL = "overwrite all"


@parameterNodeWrapper
class TumorSegParameters:
    """The panel's settings; each is saved with the scene as soon as it is set."""

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
    device: str = "auto"
    precision: str = "auto"
    overlap: Overlap = Overlap.ALLOW
    strokesGuide: bool = False
    overlayOpacity: float = 0.5
    diameterLines: bool = False
