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

#: Kind of model to the parameter with the name of the chosen one; empty where TumorSeg chooses.
MODEL_PARAMETERS = {"auto": "autoModel", "clicks": "clicksModel", "box": "boxModel"}
#: Parameters of the images, and at the same place those of their roles.
IMAGES, ROLES = ("image1", "image2", "image3", "image4"), ("role1", "role2", "role3", "role4")


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


class ImageRole(enum.Enum):
    """What an image is; the values are roles of the library."""

    ct = "ct"
    pet = "pet"
    image_pet = "image_pet"
    mr = "mr"
    mr_t1 = "mr_t1"
    mr_t1ce = "mr_t1ce"
    mr_t2 = "mr_t2"
    mr_flair = "mr_flair"
    mr_dwi = "mr_dwi"
    mr_adc = "mr_adc"
    image = "image"

    def label(self) -> str:
        """Text of the choice in the panel."""
        return {
            ImageRole.ct: _("CT"),
            ImageRole.pet: _("PET (SUV)"),
            ImageRole.image_pet: _("PET (not SUV)"),
            ImageRole.mr: _("MR"),
            ImageRole.mr_t1: _("T1 MR"),
            ImageRole.mr_t1ce: _("T1 MR with contrast"),
            ImageRole.mr_t2: _("T2 MR"),
            ImageRole.mr_flair: _("FLAIR MR"),
            ImageRole.mr_dwi: _("DWI MR"),
            ImageRole.mr_adc: _("ADC map"),
            ImageRole.image: _("other image"),
        }[self]

    @classmethod
    def of(cls, role: str) -> "ImageRole":
        """The choice for a role of the library: the same, without the number of a second image, or its family."""
        from TumorSegLib.images.roles import family

        plain = role.rstrip("0123456789").rstrip("_")
        return next((cls(each) for each in (role, plain, family(role)) if each in cls.__members__), cls.image)


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

    image1: slicer.vtkMRMLScalarVolumeNode
    image2: slicer.vtkMRMLScalarVolumeNode
    image3: slicer.vtkMRMLScalarVolumeNode
    image4: slicer.vtkMRMLScalarVolumeNode
    role1: ImageRole = ImageRole.image
    role2: ImageRole = ImageRole.image
    role3: ImageRole = ImageRole.image
    role4: ImageRole = ImageRole.image
    segmentation: slicer.vtkMRMLSegmentationNode
    segmentId: str = ""
    box: slicer.vtkMRMLMarkupsROINode
    autoModel: str = "sts-auto"
    clicksModel: str = ""
    boxModel: str = ""  # empty: that for clicks
    device: Device = Device.auto
    precision: Precision = Precision.auto
    overlap: OverwriteMode = OverwriteMode.ALLOW  # scenes store it under this name
    penWidthMm: Annotated[float, WithinRange(0.5, 50.0)] = 4.0
    strokesGuide: bool = False
    overlayOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    diameterLines: bool = False

    def values(self) -> dict[str, Any]:
        """Name to value of all settings."""
        return {name: getattr(self, name) for name in self.allParameters}
