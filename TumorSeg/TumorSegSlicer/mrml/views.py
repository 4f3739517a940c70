"""What the slice views show: the images that were chosen, a PET over the others."""

from __future__ import annotations

import slicer

from TumorSegSlicer.mrml.overlays import isOverlay

#: How much of a CT or MR a PET hides.
PET_OPACITY = 0.4

VolumeNode = "slicer.vtkMRMLScalarVolumeNode | None"


def showImages(ct: VolumeNode, mr: VolumeNode, pet: VolumeNode) -> None:
    """Shows the first of CT, MR and PET in all slice views, and the PET over the others.

    A view that shows an image already keeps how it does so; one in which a probability is laid over keeps that.
    """
    below = ct or mr or pet
    over = pet if pet is not below else None
    fit = False
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if below is not None and composite.GetBackgroundVolumeID() != below.GetID():
            composite.SetBackgroundVolumeID(below.GetID())
            fit = True
        overId = composite.GetForegroundVolumeID()
        laid = slicer.mrmlScene.GetNodeByID(overId) if overId else None
        if over is not None and laid is not over and not isOverlay(laid):
            composite.SetForegroundVolumeID(over.GetID())
            composite.SetForegroundOpacity(PET_OPACITY)
        elif laid is below and laid is not None:
            composite.SetForegroundVolumeID(None)
    if fit and slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(fit=True)
