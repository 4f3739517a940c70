"""Measurements of a segment as a table of the scene, as text, and as lines in the views."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk

from TumorSegSlicer.mrml import labelmaps, segments, volumes
from TumorSegSlicer.mrml.labelmaps import BINARY
from TumorSegSlicer.mrml.nodes import addMarkups, placeBeside

if TYPE_CHECKING:
    from TumorSegLib import Grid, Mask, Measurements
    from TumorSegLib.measurements.diameters import AxialDiameters, RasPoint

HEADINGS = ("Measurement", "Value", "Unit")
#: References from a segmentation to its tables and lines begin so, and end with the id of the segment.
TABLE_ROLE, LINE_ROLE = "TumorSegTable.", "TumorSegLine."
LINES = ("longest axial diameter", "perpendicular diameter")
#: Of these, what stands at one end of the line, where the words of the other do not lie over it.
LABELS = ("{name}: {length:.1f} mm", "{length:.1f} mm")
#: Attribute of tables and lines: a checksum of the voxels that were measured, and their place beside the image.
VOXELS_ATTRIBUTE = "TumorSeg.MeasuredVoxels"


def ownMask(node: slicer.vtkMRMLSegmentationNode, segmentId: str, fallback: Callable[[], Grid]) -> Callable[[], Mask]:
    """A segment on the lattice of its own label map, in the world; on that of the fallback where it has no voxels.

    Returns:
        What makes the mask, in any thread: to copy a label map of 900 slices takes a tenth of a second.

    Raises:
        ArgumentError: there is no such segment.
        GeometryError: a parent transform of the segmentation is not linear, or shears it.
    """
    from TumorSegLib import Grid, Mask

    segments.checkExists(node, segmentId)
    live, lattice = labelmaps.ownLiveVoxels(node, segmentId)
    if not live.labels.size:
        grid = fallback()
        array = segments.maskFromSegment(node, segmentId, grid)  # contours and surfaces have no label map
        return lambda: Mask(grid, array)
    affine = volumes.toWorld(node) @ lattice
    affine[:3, 3] += affine[:3, :3] @ [low for low, _high in live.box]
    grid = Grid(live.labels.shape, affine)
    return lambda: Mask(grid, live.copied())


def tableRows(found: Measurements, segmentName: str) -> Iterator[tuple[str, str, str]]:
    """What was measured as (measurement, value, unit).

    The first row names the segment, the last one says that this is research software. What could not be measured has
    no value.
    """
    from TumorSegLib.disclaimer import DISCLAIMER
    from TumorSegLib.measurements.rows import measurement_rows

    yield "Segment", segmentName, ""
    yield from ((row.name, row.text, row.unit) for row in measurement_rows(found))
    yield "Note", DISCLAIMER, ""


def writeTable(found: Measurements, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> slicer.vtkMRMLTableNode:
    """Writes measurements into the table of a segment, which is made where there is none."""
    table = node.GetNodeReference(TABLE_ROLE + segmentId)
    segmentName = node.GetSegmentation().GetSegment(segmentId).GetName()
    if table is None:
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _tableName(segmentName))
        node.SetNodeReferenceID(TABLE_ROLE + segmentId, table.GetID())
        placeBeside(table, node)
    columns = list(zip(*tableRows(found, segmentName)))
    table.RemoveAllColumns()
    for heading, values in zip(HEADINGS, columns):
        column = vtk.vtkStringArray()
        column.SetName(heading)
        for value in values:
            column.InsertNextValue(value)
        table.AddColumn(column)
    return table


def _tableName(segmentName: str) -> str:
    return f"{segmentName} measurements"


def tableText(table: slicer.vtkMRMLTableNode, delimiter: str = ",") -> str:
    """A table as text, with its headings: as CSV, or with tabs as spreadsheets paste it."""
    columns = range(table.GetNumberOfColumns())
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(table.GetColumnName(column) for column in columns)
    for row in range(table.GetNumberOfRows()):
        writer.writerow(table.GetCellText(row, column) for column in columns)
    return text.getvalue()


def drawDiameters(axial: AxialDiameters | None, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Draws the longest axial diameter and its perpendicular as locked lines; takes them away where there is none."""
    drawn = (axial.longest, axial.perpendicular) if axial is not None else (None, None)
    for number, line in enumerate(drawn):
        # The ends are labelled that lie lowest, of the longest, and highest, of the other: apart in an axial view.
        ends = sorted(line.ends_ras, key=lambda ras: ras[1], reverse=number == 0) if line is not None else []
        _drawLine(ends, node, _lineRole(number, segmentId))
    _name(node, segmentId)


def _lineRole(number: int, segmentId: str) -> str:
    return f"{LINE_ROLE}{number}.{segmentId}"


def _drawLine(ends: Sequence[RasPoint], node: slicer.vtkMRMLSegmentationNode, role: str) -> None:
    """Draws a line between two ends; removes it where there are none."""
    markup = node.GetNodeReference(role)
    if not ends:
        if markup is not None:
            slicer.mrmlScene.RemoveNode(markup)
        return
    if markup is None:
        markup = addMarkups(slicer.vtkMRMLMarkupsLineNode())
        node.SetNodeReferenceID(role, markup.GetID())
        placeBeside(markup, node)
    markup.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    markup.SetLocked(False)
    markup.RemoveAllControlPoints()
    for point in ends:
        markup.AddControlPointWorld(vtk.vtkVector3d(*point))
    markup.SetLocked(True)
    display = markup.GetDisplayNode()
    display.SetPropertiesLabelVisibility(False)  # in the middle of the line, where the other one crosses it
    display.SetPointLabelsVisibility(True)


def _nameLine(markup: slicer.vtkMRMLMarkupsLineNode, number: int, segmentName: str) -> None:
    """Names a line after its segment, which may have another name now."""
    markup.SetName(f"{segmentName} {LINES[number]}")
    markup.SetNthControlPointLabel(0, "")
    markup.SetNthControlPointLabel(1, LABELS[number].format(name=segmentName, length=markup.GetLineLengthWorld()))


def noteMeasured(node: slicer.vtkMRMLSegmentationNode, segmentId: str, checksum: str) -> None:
    """Notes in the table and lines of a segment which voxels they are of, see :func:`segments.checksum`, and where."""
    for _role, made in _measured(node, segmentId):
        made.SetAttribute(VOXELS_ATTRIBUTE, checksum + place(node))


def place(node: slicer.vtkMRMLSegmentationNode) -> str:
    """Where a segmentation lies beside the image that it was made on, and how long a mm is there; empty as it was made.

    It stays the same where both are moved, as in a study under a transform.
    """
    from TumorSegLib import GeometryError

    image = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    try:
        own = volumes.toWorld(node)
        beside = np.linalg.solve(volumes.toWorld(image), own) if image is not None else np.eye(4)
    except GeometryError:
        return " under a transform that is not linear"
    lengths = np.linalg.svd(own[:3, :3], compute_uv=False)
    moved = [*(beside - np.eye(4))[:3].ravel(), *(lengths - 1)]
    return "" if np.allclose(moved, 0, atol=1e-3) else "".join(f" {each + 0.0:.3f}" for each in moved)


def removeMeasured(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Removes the table and the lines of a segment from the scene; copies of the segmentation keep theirs."""
    for role, made in _measured(node, segmentId):
        shared = _isShared(node, role, made)
        node.RemoveNodeReferenceIDs(role)
        if not shared:
            made.GetScene().RemoveNode(made)


def _isShared(node: slicer.vtkMRMLSegmentationNode, role: str, made: slicer.vtkMRMLNode) -> bool:
    """Whether a table or line is also that of another segmentation, of which one is a copy."""
    every = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", made.GetScene())
    return any(each is not node and each.HasNodeReferenceID(role, made.GetID()) for each in every)


def _measured(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> list[tuple[str, slicer.vtkMRMLNode]]:
    """Roles and nodes of the table and the lines of a segment."""
    roles = [TABLE_ROLE + segmentId, *(_lineRole(number, segmentId) for number in range(len(LINES)))]
    found = [(role, node.GetNodeReference(role)) for role in roles]
    return [(role, made) for role, made in found if made is not None]


def _name(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Names the table and the lines of a segment after it; those of a copy of the segmentation keep their names."""
    name = node.GetSegmentation().GetSegment(segmentId).GetName()
    for role, made in _measured(node, segmentId):
        if _isShared(node, role, made):
            continue
        if role.startswith(LINE_ROLE):
            _nameLine(made, int(role.removeprefix(LINE_ROLE).partition(".")[0]), name)
        elif made.GetNumberOfRows() and made.GetCellText(0, 1) != name:
            made.SetName(made.GetScene().GenerateUniqueName(_tableName(name)))
            made.SetCellText(0, 1, name)
            made.Modified()


class Followers:
    """Lets measurements follow their segments: their names and transforms; removes those that are out of date."""

    def __init__(self) -> None:
        """Begins without having looked at any segment."""
        self._seen: dict[tuple[str, str], tuple[int, str]] = {}  # modification times of label maps, and places

    def update(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Looks after those of segments that have changed, by whatever tool.

        Out of date are those of segments that hold other voxels than were measured, or lie elsewhere beside the image.
        Segments share label maps: where one of them is painted on, the voxels of the others tell that they are the
        same. No voxel is looked at of segments without measurements.
        """
        now: str | None = None
        for segmentId in node.GetSegmentation().GetSegmentIDs():
            made = [each for _role, each in _measured(node, segmentId)]
            if not made:
                continue
            now = place(node) if now is None else now
            if self._isOutdated(node, segmentId, {each.GetAttribute(VOXELS_ATTRIBUTE) for each in made} - {None}, now):
                removeMeasured(node, segmentId)
                continue
            _name(node, segmentId)
            for each in made:
                if each.IsA("vtkMRMLTransformableNode") and each.GetTransformNodeID() != node.GetTransformNodeID():
                    each.SetAndObserveTransformNodeID(node.GetTransformNodeID())

    def _isOutdated(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, noted: set[str], placeNow: str) -> bool:
        labelmap = node.GetSegmentation().GetSegment(segmentId).GetRepresentation(BINARY) if noted else None
        now = (labelmap.GetMTime() if labelmap is not None else 0, placeNow)
        if not noted or self._seen.get((node.GetID(), segmentId)) == now:
            return False
        self._seen[node.GetID(), segmentId] = now
        return noted != {segments.checksum(*labelmaps.ownLiveVoxels(node, segmentId)) + placeNow}
