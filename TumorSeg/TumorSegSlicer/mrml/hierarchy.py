"""Where new nodes lie in the subject hierarchy: in the patient's study, or its export would leave them out."""

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
