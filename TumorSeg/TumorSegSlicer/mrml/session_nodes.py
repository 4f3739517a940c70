"""Sessions as hidden text nodes of the scene, which segmentations refer to.

All is kept in attributes of the text node: the head (models, images, place, list of steps), and a record for every
step, which never changes once written. So the head is known without reading any step, and saving only adds the steps
that are new. Attributes are part of the scene file itself, so they survive .mrb, .mrml and the import into another
scene, where ids of nodes change but references follow.

A copy of a segmentation refers to the text nodes of the original. So a text node that several segmentations refer to is
never changed, and is removed with the last of them; the one whose session is saved gets a copy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import slicer

FORMAT, VERSION = "tumorseg-slicer-session", 2
#: Role of the references from a segmentation to the text nodes of its sessions.
STATE_ROLE = "TumorSegSession"
#: Attributes of a text node: the id of the segment, and the head as JSON.
SEGMENT_ATTRIBUTE, HEAD_ATTRIBUTE = "TumorSeg.SegmentID", "TumorSeg.SessionHead"
#: Attributes with the records of steps begin so; the number of the step follows.
RECORD_ATTRIBUTE = "TumorSeg.SessionRecord."
#: Roles of the references from a text node to the volumes, with a number added.
INPUT_ROLE = "TumorSegInput"
#: In scenes of version 1 all is in the node's text: the head is its beginning, and the session follows here.
SESSION_KEY = ', "session": '


@dataclass(frozen=True)
class Input:
    """A volume of the scene for one role, and whether the user said that a PET without a unit is in SUV."""

    node: slicer.vtkMRMLScalarVolumeNode
    assumeSuv: bool = False


def firstImage(inputs: Mapping[str, Input]) -> slicer.vtkMRMLScalarVolumeNode:
    """The image on whose voxels a segment lies: the first one, as the reference of ``TumorSegLib``'s ``ImageSet``."""
    return next(iter(inputs.values())).node


@dataclass(frozen=True)
class Saved:
    """The head of a saved session.

    Attributes:
        segmentationNode, segmentId: the segment.
        models: kind (``auto``, ``clicks``, ``box``) to ``name`` and ``version`` of the model that was used last.
        inputs: role to volume, in the session's order; those whose volume is no longer in the scene are left out.
        roles: all of them, in that order.
        place: of the segmentation then, a matrix ``(4, 4)`` to RAS mm of the world, as rows; empty if not known.
        last: number of the last record; -1 in scenes of version 1, which have none.
        problem: why the session cannot be resumed, as text; empty if it can.
    """

    segmentationNode: slicer.vtkMRMLSegmentationNode
    segmentId: str
    models: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    place: Sequence[Sequence[float]] = ()
    last: int = -1
    problem: str = ""


def textNodes(node: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkMRMLTextNode]:
    """The text nodes with the sessions of a segmentation."""
    references = (node.GetNthNodeReference(STATE_ROLE, n) for n in range(node.GetNumberOfNodeReferences(STATE_ROLE)))
    return [text for text in references if text is not None]


def textNode(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> slicer.vtkMRMLTextNode | None:
    """The text node with the session of a segment."""
    return next((text for text in textNodes(node) if text.GetAttribute(SEGMENT_ATTRIBUTE) == segmentId), None)


def writeSession(
    node: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    about: Mapping[str, Any],
    inputs: Mapping[str, Input],
    session: Mapping[str, Any],
    records: Mapping[int, str],
) -> None:
    """Writes, or brings up to date, the saved session of a segment.

    Args:
        node, segmentId: the segment.
        about: ``models`` and ``place``, see :class:`Saved`.
        inputs: role to volume, in the session's order.
        session: head of a snapshot of the library's session.
        records: those of the snapshot that are not in the scene yet, by number; others that its head does not list are
            removed.
    """
    text = _ownTextNode(node, segmentId)
    entries = {}
    for number, (role, each) in enumerate(inputs.items()):
        text.SetNodeReferenceID(f"{INPUT_ROLE}{number}", each.node.GetID())
        entries[role] = {"reference": number, "assumeSuv": each.assumeSuv}
    modified = text.StartModify()  # one event, not one for each attribute
    for number, record in records.items():
        text.SetAttribute(f"{RECORD_ATTRIBUTE}{number}", record)
    wanted = _recordNames(session)
    for name in text.GetAttributeNames():
        if name.startswith(RECORD_ATTRIBUTE) and name not in wanted:
            text.RemoveAttribute(name)
    head = {"format": FORMAT, "version": VERSION, **about, "inputs": entries, "session": session}
    text.SetAttribute(HEAD_ATTRIBUTE, json.dumps(head))
    text.SetText("")
    text.EndModify(modified)


def removeSession(node: slicer.vtkMRMLSegmentationNode, text: slicer.vtkMRMLTextNode) -> None:
    """Removes the saved session in a text node from a segmentation; copies of the segmentation keep it."""
    count = node.GetNumberOfNodeReferences(STATE_ROLE)
    for number in reversed(range(count)):
        if node.GetNthNodeReferenceID(STATE_ROLE, number) == text.GetID():
            node.RemoveNthNodeReferenceID(STATE_ROLE, number)
    if not _isReferred(text):
        text.GetScene().RemoveNode(text)


def readHead(node: slicer.vtkMRMLSegmentationNode, text: slicer.vtkMRMLTextNode) -> Saved:
    """The head of the session in a text node; the session itself is not read."""
    segmentId = text.GetAttribute(SEGMENT_ATTRIBUTE) or ""
    try:
        return _understood(node, segmentId, text, json.loads(_headText(text)))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        return Saved(node, segmentId, problem=_damaged(error))


def readSession(text: slicer.vtkMRMLTextNode) -> tuple[Any, str]:
    """The data of the library's session in a text node and an empty text; or None, and what is wrong, as text."""
    try:
        head = text.GetAttribute(HEAD_ATTRIBUTE)
        if not head:
            return json.loads(text.GetText() or "")["session"], ""
        session = json.loads(head)["session"]
        records = {number: text.GetAttribute(name) for name, number in _recordNames(session).items()}
        return {**session, "records": {number: record for number, record in records.items() if record is not None}}, ""
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        return None, _damaged(error)


def _recordNames(session: Mapping[str, Any]) -> dict[str, str]:
    """The attributes with the records that the head of a session lists, and their numbers as text."""
    return {f"{RECORD_ATTRIBUTE}{number}": str(number) for number in (0, *session["history"]["steps"])}


def _headText(text: slicer.vtkMRMLTextNode) -> str:
    head = text.GetAttribute(HEAD_ATTRIBUTE)
    if head:
        return str(head)
    first, key, _session = (text.GetText() or "").partition(SESSION_KEY)
    return f"{first}}}" if key else first


def _damaged(error: Exception) -> str:
    return f"the saved session of an earlier time is damaged: {type(error).__name__}: {error}"


def _ownTextNode(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> slicer.vtkMRMLTextNode:
    """The text node with the session of a segment, which no other segmentation refers to; made where there is none."""
    text = textNode(node, segmentId)
    if text is None:
        return _newTextNode(node, segmentId)
    if not _isReferred(text, node):
        return text
    removeSession(node, text)
    own = _newTextNode(node, segmentId)
    own.Copy(text)
    return own


def _isReferred(text: slicer.vtkMRMLTextNode, without: slicer.vtkMRMLSegmentationNode | None = None) -> bool:
    """Whether a segmentation of the scene, but for one, refers to a text node."""
    nodes = text.GetScene().GetNodesByClass("vtkMRMLSegmentationNode")
    nodes.UnRegister(None)  # GetNodesByClass leaves it to its caller
    return any(node is not without and text in textNodes(node) for node in nodes)


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
    if data["format"] != FORMAT or data["version"] not in (1, VERSION):
        raise ValueError(f"its format is {data['format']} {data['version']}, not {FORMAT} {VERSION}")
    volumes = {
        role: (text.GetNodeReference(f"{INPUT_ROLE}{int(entry['reference'])}"), bool(entry["assumeSuv"]))
        for role, entry in data["inputs"].items()
    }
    return Saved(
        segmentationNode=node,
        segmentId=segmentId,
        models={kind: dict(model) for kind, model in data["models"].items()},
        inputs={role: Input(volume, assume) for role, (volume, assume) in volumes.items() if volume is not None},
        roles=tuple(volumes),
        place=data.get("place", ()),
        last=-1 if data["version"] == 1 else int(data["session"]["history"]["last"]),
    )
