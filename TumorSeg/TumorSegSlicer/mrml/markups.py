"""Markups added to the scene without the mouse noticing."""

from __future__ import annotations

import slicer


def addMarkups(node: slicer.vtkMRMLMarkupsNode) -> slicer.vtkMRMLMarkupsNode:
    """Adds a markups node with a display node to the scene.

    Slicer lets the user place points of the markups added last; here those being placed go on being placed.
    """
    selection = slicer.app.applicationLogic().GetSelectionNode()
    active, kind = selection.GetActivePlaceNodeID(), selection.GetActivePlaceNodeClassName()
    added = slicer.mrmlScene.AddNode(node)
    added.CreateDefaultDisplayNodes()
    if active:
        selection.SetReferenceActivePlaceNodeClassName(kind)
        selection.SetReferenceActivePlaceNodeID(active)
    return added
