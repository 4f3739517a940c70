"""The phantom as sample data: a synthetic CT, PET and MR with a tumour, made on this computer."""

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.overlays import showImages
from TumorSegSlicer.mrml.volumes import UNIT_ATTRIBUTE

CATEGORY = "TumorSeg"
NAMES = {"ct": "Phantom CT", "pet": "Phantom PET", "mr_t1": "Phantom T1 MR"}
#: Colours of the PET, so that it shows over the CT; Slicer has them without any file.
PET_COLOURS = "vtkMRMLPETProceduralColorNodePET-Heat"
#: One that no model has learnt from, and the region that they know.
SEED, REGION = 101, "limb"


def register(thumbnail: Path) -> None:
    """Adds the phantom to the Sample Data module; for when the application has started."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=_("TumorSeg phantom (PET/CT and MR of a thigh)"),
        uris="",  # Slicer wants one of each, and none of them None
        fileNames="",
        nodeNames="",
        thumbnailFileName=str(thumbnail),
        customDownloader=_download,
    )


def _download(_source: object) -> list[slicer.vtkMRMLScalarVolumeNode]:
    volumes = loadPhantom()
    showImages(volumes["ct"], volumes["pet"])
    return list(volumes.values())


def loadPhantom(seed: int = SEED, **arguments: Any) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """Makes a phantom and adds its images to the scene; role to volume, the PET in SUV.

    Args:
        seed: which one.
        arguments: as for :func:`TumorSegLib.make_phantom`; a thigh with one tumour by default.
    """
    from TumorSegLib import make_phantom

    phantom = make_phantom(seed, **{"region": REGION, **arguments})
    return {role: addVolume(volume.array, volume.grid.affine, role) for role, volume in phantom.images.items()}


def addVolume(array: np.ndarray, affine: np.ndarray, role: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Adds an image to the scene, a PET as SUV.

    Args:
        array: voxels ``[k, j, i]``.
        affine: IJK to RAS mm.
        role: ``ct``, ``pet`` or ``mr_t1``, which gives the name and the window.
    """
    from TumorSegLib.images.display_windows import CT_WINDOWS, DEFAULT_CT_WINDOW, PET_SUV

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", NAMES[role])
    slicer.util.updateVolumeFromArray(node, array)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(affine.ravel().tolist())
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    if role == "pet":
        node.SetAttribute(UNIT_ATTRIBUTE, "{SUVbw}g/ml")
        node.GetDisplayNode().SetAndObserveColorNodeID(PET_COLOURS)
    window = {"ct": CT_WINDOWS[DEFAULT_CT_WINDOW], "pet": PET_SUV}.get(role)
    if window is not None:
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevelMinMax(*window)
    return node
