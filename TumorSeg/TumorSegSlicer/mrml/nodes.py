"""New nodes of the scene: in the study of others, and without an effect on the points being placed."""

from __future__ import annotations

import slicer


def placeBeside(node: slicer.vtkMRMLNode, other: slicer.vtkMRMLNode) -> None:
    """Puts a node into the study or folder that another one lies in, as Slicer's own Segment Editor does."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    if hierarchy is None:
        return
    item, beside = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(other)
    if item and beside:  # hidden nodes have none
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))


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
