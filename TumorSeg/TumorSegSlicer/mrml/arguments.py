"""What scripts give, checked before anything is done with it; what is wrong is named in an ``ArgumentError``."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence, Set
from typing import Any

import slicer

from TumorSegSlicer.mrml.session_nodes import Input

SEGMENTATION, VOLUME, ROI = "vtkMRMLSegmentationNode", "vtkMRMLScalarVolumeNode", "vtkMRMLMarkupsROINode"
LINE, CURVE = "vtkMRMLMarkupsLineNode", "vtkMRMLMarkupsClosedCurveNode"


def checkNode(node: Any, className: str, argument: str) -> None:
    """Raises ``ArgumentError`` unless something is a node of a class and in the scene.

    Args:
        node: what was given.
        className: e.g. :data:`SEGMENTATION`.
        argument: its name in the message.
    """
    from TumorSegLib import ArgumentError

    checkKind(node, className, argument)
    if not slicer.mrmlScene.IsNodePresent(node):
        raise ArgumentError(f"{argument}: {_described(node)} is not in the scene; it may have been deleted")


def checkKind(node: Any, className: str, argument: str) -> None:
    """As :func:`checkNode`, of a node that need not be in the scene."""
    from TumorSegLib import ArgumentError

    if not (isinstance(node, slicer.vtkMRMLNode) and node.IsA(className)):
        raise ArgumentError(f"{argument}: a node of class {className} is needed, got {_described(node)}")


def checkId(segmentId: Any) -> None:
    """Raises ``ArgumentError`` where something cannot be the id of a segment."""
    from TumorSegLib import ArgumentError

    if not isinstance(segmentId, str):
        raise ArgumentError(f"segmentId: the id of a segment, which is text, is needed, got {_described(segmentId)}")


def asIds(segmentIds: Any) -> list[str]:
    """Ids of at least two segments, each once; ``ArgumentError`` for anything else."""
    from TumorSegLib import ArgumentError

    given = list(segmentIds) if isinstance(segmentIds, Sequence) and not isinstance(segmentIds, str) else []
    for each in given:
        checkId(each)
    if len(set(given)) < 2 or len(set(given)) < len(given):
        raise ArgumentError(f"segmentIds: at least two different segments are needed, got {_described(segmentIds)}")
    return given


def checkSegment(node: Any, segmentId: Any) -> None:
    """Raises ``ArgumentError`` where there is no such segmentation in the scene, or no segment with the id in it."""
    from TumorSegLib import ArgumentError

    checkNode(node, SEGMENTATION, "segmentation")
    ids = list(node.GetSegmentation().GetSegmentIDs())
    if segmentId not in ids:
        known = ", ".join(ids) or "none"
        raise ArgumentError(
            f"segmentation '{node.GetName()}' has no segment with the id {segmentId!r}; the ids in it: {known}"
        )


def asInputs(inputs: Any) -> dict[str, Input]:
    """Role to input of what is given as volumes or inputs; those without a volume are left out.

    Raises:
        ArgumentError: not a mapping, a role that is not a string, or a node that is not a scalar volume of the scene.
    """
    from TumorSegLib import ArgumentError

    if not isinstance(inputs, Mapping) or not all(isinstance(role, str) for role in inputs):
        raise ArgumentError(f"inputs: role to volume is needed, e.g. {{'ct': volume}}, got {_described(inputs)}")
    given = {role: each if isinstance(each, Input) else Input(each) for role, each in inputs.items()}
    given = {role: each for role, each in given.items() if each.node is not None}
    for role, each in given.items():
        checkNode(each.node, VOLUME, f"the {role} volume")
    return given


def asRoi(box: Any) -> slicer.vtkMRMLMarkupsROINode:
    """A box as a ROI: the one given, or one of the world, not in the scene, with bounds.

    Args:
        box: a ROI, or bounds ``(r0, r1, a0, a1, s0, s1)`` in RAS mm.

    Raises:
        ArgumentError: another kind of node, or not six finite numbers, each pair rising.
    """
    from TumorSegLib import ArgumentError

    if isinstance(box, slicer.vtkMRMLNode):
        checkKind(box, ROI, "box")
        return box
    bounds = numbers(box)
    pairs = list(zip(bounds[::2], bounds[1::2]))
    if len(bounds) != 6 or not all(-math.inf < low < high < math.inf for low, high in pairs):
        raise ArgumentError(
            f"box: a ROI or bounds (r0, r1, a0, a1, s0, s1) in mm, each pair rising, are needed, got {_described(box)}"
        )
    roi = slicer.vtkMRMLMarkupsROINode()
    roi.SetName(f"({', '.join(f'{bound:g}' for bound in bounds)})")  # which messages name it by
    roi.SetXYZ([(low + high) / 2 for low, high in pairs])
    roi.SetRadiusXYZ([(high - low) / 2 for low, high in pairs])
    return roi


def asModel(model: Any) -> str | None:
    """The name of a model or the path of its folder as text, None for none; ``ArgumentError`` for anything else."""
    from TumorSegLib import ArgumentError

    if model is not None and not isinstance(model, (str, os.PathLike)):
        raise ArgumentError(f"model: the name of a model or the path of its folder is needed, got {_described(model)}")
    return None if model is None else os.fspath(model)


def asPoints(given: Any, className: str, argument: str) -> Any:
    """Points of the world, RAS mm: those of a line or closed curve, whose curve they follow, or those given.

    Raises:
        ArgumentError: another kind of node, or no list of points; elements are validated where they are used.
    """
    if not isinstance(given, slicer.vtkMRMLNode):
        checkPoints(given, argument)
        return given
    checkKind(given, className, argument)
    if className == CURVE and given.GetNumberOfControlPoints() > 2:
        return slicer.util.arrayFromMarkupsCurvePoints(given, world=True)
    return slicer.util.arrayFromMarkupsControlPoints(given, world=True)


def checkPoints(points: Any, argument: str = "points") -> None:
    """Raises ``ArgumentError`` unless points are a list or an array; elements are validated where they are used."""
    from TumorSegLib import ArgumentError

    if not hasattr(points, "__len__") or isinstance(points, (str, bytes, Mapping, Set)):
        raise ArgumentError(f"{argument}: a list of points in RAS mm is needed, got {_described(points)}")


def checkNoRole(role: Any) -> None:
    """Raises ``ArgumentError`` where a role is given to the model for clicks, which sees all images."""
    from TumorSegLib import ArgumentError

    if role:
        raise ArgumentError(f"role: only models of kind 'box' see one image alone: name one as model, got {role!r}")


def numbers(values: Any) -> list[float]:
    """Numbers as floats; empty where these are none."""
    try:
        return [] if isinstance(values, str) else [float(value) for value in values]
    except (TypeError, ValueError):
        return []


def _described(given: Any) -> str:
    if isinstance(given, slicer.vtkMRMLNode):
        return f"'{given.GetName()}' ({given.GetClassName()})"
    return repr(given)
