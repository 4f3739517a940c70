"""The state of sessions as JSON in hidden text nodes of the scene, which segmentations refer to.

The text is part of the scene file itself, so it survives .mrb, .mrml and the import into another scene, where ids of
nodes change but references follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import slicer

FORMAT, VERSION = "tumorseg-slicer-session", 1
#: Role of the references from a segmentation to the text nodes of its sessions.
STATE_ROLE = "TumorSegSession"
#: Attribute of a text node: the id of the segment.
SEGMENT_ATTRIBUTE = "TumorSeg.SegmentID"
#: Roles of the references from a text node to the volumes, with a number added.
INPUT_ROLE = "TumorSegInput"


@dataclass(frozen=True)
class Input:
    """A volume of the scene for one role, and whether the user said that a PET without a unit is in SUV."""

    node: slicer.vtkMRMLScalarVolumeNode
    assumeSuv: bool = False


@dataclass(frozen=True)
class Saved:
    """What the scene says about a session.

    Attributes:
        segmentationNode, segmentId: the segment.
        models: kind of engine (``auto``, ``clicks``, ``box``) to ``name`` and ``version`` of its model.
        inputs: role to volume, in the session's order; those whose volume is no longer in the scene are left out.
        roles: all of them, in that order.
        settings: as given to :meth:`Sessions.open`.
        summary: numbers of ``prompts``, ``steps`` in the history and ``undone`` ones among these.
        place: of the segmentation then, a matrix ``(4, 4)`` to RAS mm of the world, as rows; empty if not known.
        problem: why it cannot be resumed, in words; empty if it can.
    """

    segmentationNode: slicer.vtkMRMLSegmentationNode
    segmentId: str
    models: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, int] = field(default_factory=dict)
    place: Sequence[Sequence[float]] = ()
    problem: str = ""


def textNodes(node: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkMRMLTextNode]:
    """The text nodes with the sessions of a segmentation."""
    references = (node.GetNthNodeReference(STATE_ROLE, n) for n in range(node.GetNumberOfNodeReferences(STATE_ROLE)))
    return [text for text in references if text is not None]


def textNode(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> slicer.vtkMRMLTextNode | None:
    """The text node with the session of a segment."""
    return next((text for text in textNodes(node) if text.GetAttribute(SEGMENT_ATTRIBUTE) == segmentId), None)


def writeState(
    node: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    inputs: Mapping[str, Input],
    about: Mapping[str, Any],
    session: str,
) -> None:
    """Writes, or replaces, what the scene says about the session of a segment.

    Args:
        node, segmentId: the segment.
        inputs: role to volume, in the session's order.
        about: ``models``, ``settings`` and ``place``, see :class:`Saved`.
        session: JSON text of the library's session, taken over as it is since it is long.
    """
    text = textNode(node, segmentId) or _newTextNode(node, segmentId)
    entries = {}
    for number, (role, each) in enumerate(inputs.items()):
        text.SetNodeReferenceID(f"{INPUT_ROLE}{number}", each.node.GetID())
        entries[role] = {"reference": number, "assumeSuv": each.assumeSuv}
    head = json.dumps({"format": FORMAT, "version": VERSION, **about, "inputs": entries})
    text.SetText(f'{head[:-1]}, "session": {session}}}')


def readState(node: slicer.vtkMRMLSegmentationNode, text: slicer.vtkMRMLTextNode) -> tuple[Saved, Any]:
    """What a text node says, and the data of the library's session in it, None where they are not usable."""
    segmentId = text.GetAttribute(SEGMENT_ATTRIBUTE) or ""
    try:
        data = json.loads(text.GetText() or "")
        if data["format"] != FORMAT or data["version"] != VERSION:
            raise ValueError(f"its format is {data['format']} {data['version']}, not {FORMAT} {VERSION}")
        return _understood(node, segmentId, text, data), data["session"]
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        problem = f"what the scene says about an earlier session is damaged: {type(error).__name__}: {error}"
        return Saved(node, segmentId, problem=problem), None


def _newTextNode(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> slicer.vtkMRMLTextNode:
    text = slicer.vtkMRMLTextNode()
    text.SetName("TumorSegSession")
    text.SetHideFromEditors(True)
    # Within the scene file: a hidden node with a file of its own is left out when a scene is saved as .mrml.
    text.SetForceCreateStorageNode(slicer.vtkMRMLTextNode.CreateStorageNodeNever)
    text.SetAttribute(SEGMENT_ATTRIBUTE, segmentId)
    text = node.GetScene().AddNode(text)
    node.AddNodeReferenceID(STATE_ROLE, text.GetID())
    return text


def _understood(
    node: slicer.vtkMRMLSegmentationNode, segmentId: str, text: slicer.vtkMRMLTextNode, data: Mapping[str, Any]
) -> Saved:
    volumes = {
        role: (text.GetNodeReference(f"{INPUT_ROLE}{int(entry['reference'])}"), bool(entry["assumeSuv"]))
        for role, entry in data["inputs"].items()
    }
    history = data["session"]["history"]
    summary = {
        "prompts": sum(len(segment["prompts"]) for segment in data["session"]["segments"]),
        "steps": len(history["steps"]),
        "undone": len(history["steps"]) - int(history["position"]),
    }
    return Saved(
        segmentationNode=node,
        segmentId=segmentId,
        models={kind: dict(model) for kind, model in data["models"].items()},
        inputs={role: Input(volume, assume) for role, (volume, assume) in volumes.items() if volume is not None},
        roles=tuple(volumes),
        settings=dict(data["settings"]),
        summary=summary,
        place=data.get("place", ()),
    )
