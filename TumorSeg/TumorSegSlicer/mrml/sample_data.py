"""Synthetic images with tumours as sample data, made on this computer."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.overlays import showImages
from TumorSegSlicer.mrml.volumes import UNIT_ATTRIBUTE

CATEGORY = "TumorSeg"
NAMES = {"ct": "Phantom CT", "pet": "Phantom PET", "mr_t1": "Phantom T1 MR", "mr_flair": "Phantom FLAIR"}
#: Colours of the PET, so that it shows over the CT; Slicer has them without any file.
PET_COLOURS = "vtkMRMLPETProceduralColorNodePET-Heat"
#: One that no model has learnt from, and the region that they know.
SEED, REGION = 101, "limb"
#: Of the lesions that any model for clicks outlines.
LESION_SEED = 0


def register(thumbnail: Path) -> None:
    """Adds the phantoms to the Sample Data module; for when the application has started."""
    import SampleData

    for name, make in samples().items():
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            uris="",  # Slicer wants one of each, and none of them None
            fileNames="",
            nodeNames="",
            thumbnailFileName=str(thumbnail),
            customDownloader=lambda _source, make=make: _shown(make()),
        )


def samples() -> dict[str, Callable[[], Sequence[slicer.vtkMRMLScalarVolumeNode]]]:
    """Name of each sample to what makes its images."""
    return {
        _("TumorSeg phantom (PET/CT and MR of a thigh)"): lambda: list(loadPhantom().values()),
        _("TumorSeg phantom (CT of two lung nodules)"): lambda: [loadNodules()],
        _("TumorSeg phantom (FLAIR of a brain lesion)"): lambda: [loadBrainLesion()],
    }


def _shown(volumes: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> list[slicer.vtkMRMLScalarVolumeNode]:
    showImages(volumes[0], volumes[1] if len(volumes) > 1 else None)
    return list(volumes)


def loadNodules() -> slicer.vtkMRMLScalarVolumeNode:
    """Makes a CT of a lung with two nodules and adds it to the scene, in the window of lungs."""
    from TumorSegLib.images.display_windows import CT_WINDOWS
    from TumorSegLib.phantom.lesions import make_lung_nodules

    image = make_lung_nodules(LESION_SEED).image
    node = addVolume(image.array, image.grid.affine, image.role)
    node.GetDisplayNode().SetWindowLevelMinMax(*CT_WINDOWS["lung"])
    return node


def loadBrainLesion() -> slicer.vtkMRMLScalarVolumeNode:
    """Makes a FLAIR of a head with a lesion and adds it to the scene."""
    from TumorSegLib.phantom.lesions import make_brain_lesion

    image = make_brain_lesion(LESION_SEED).image
    return addVolume(image.array, image.grid.affine, image.role)


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
        role: ``ct``, ``pet``, ``mr_t1`` or ``mr_flair``, which gives the name and the window.
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
