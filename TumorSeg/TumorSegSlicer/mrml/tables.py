"""Measurements of a segment as a table of the scene, as text, and as lines in the views."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import slicer
import vtk

from TumorSegSlicer.mrml import labelmaps, segments, volumes
from TumorSegSlicer.mrml.labelmaps import BINARY
from TumorSegSlicer.mrml.nodes import addMarkups, placeBeside

if TYPE_CHECKING:
    from TumorSegLib import Grid, Mask, Measurements
    from TumorSegLib.measurements.diameters import AxialDiameters, Line

HEADINGS = ("Measurement", "Value", "Unit")
#: References from a segmentation to its tables and lines begin so, and end with the id of the segment.
TABLE_ROLE, LINE_ROLE = "TumorSegTable.", "TumorSegLine."
LINES = ("longest axial diameter", "perpendicular diameter")
#: Attribute of tables and lines: a checksum of the voxels that were measured.
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
    name = f"{segmentName} measurements"
    if table is None:
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
        node.SetNodeReferenceID(TABLE_ROLE + segmentId, table.GetID())
        placeBeside(table, node)
    elif not table.GetName().startswith(name):  # the segment was renamed
        table.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    columns = list(zip(*tableRows(found, segmentName)))
    table.RemoveAllColumns()
    for heading, values in zip(HEADINGS, columns):
        column = vtk.vtkStringArray()
        column.SetName(heading)
        for value in values:
            column.InsertNextValue(value)
        table.AddColumn(column)
    return table


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
    segmentName = node.GetSegmentation().GetSegment(segmentId).GetName()
    for number, (name, line) in enumerate(zip(LINES, drawn)):
        _drawLine(line, node, f"{LINE_ROLE}{number}.{segmentId}", f"{segmentName} {name}")


def _drawLine(line: Line | None, node: slicer.vtkMRMLSegmentationNode, role: str, name: str) -> None:
    markup = node.GetNodeReference(role)
    if line is None:
        if markup is not None:
            slicer.mrmlScene.RemoveNode(markup)
        return
    if markup is None:
        markup = addMarkups(slicer.vtkMRMLMarkupsLineNode())
        node.SetNodeReferenceID(role, markup.GetID())
        placeBeside(markup, node)
    markup.SetName(name)
    markup.SetLocked(False)
    markup.RemoveAllControlPoints()
    for point in line.ends_ras:
        markup.AddControlPointWorld(vtk.vtkVector3d(*point))
    markup.SetLocked(True)


def noteMeasured(node: slicer.vtkMRMLSegmentationNode, segmentId: str, checksum: str) -> None:
    """Notes in the table and lines of a segment which voxels they are of, see :func:`segments.checksum`."""
    for _role, made in _measured(node, segmentId):
        made.SetAttribute(VOXELS_ATTRIBUTE, checksum)


def removeMeasured(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Removes the table and the lines of a segment from the scene; copies of the segmentation keep theirs."""
    for role, made in _measured(node, segmentId):
        node.RemoveNodeReferenceIDs(role)
        others = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", made.GetScene())
        if not any(each.HasNodeReferenceID(role, made.GetID()) for each in others):
            made.GetScene().RemoveNode(made)


def _measured(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> list[tuple[str, slicer.vtkMRMLNode]]:
    """Roles and nodes of the table and the lines of a segment."""
    roles = [TABLE_ROLE + segmentId, *(f"{LINE_ROLE}{number}.{segmentId}" for number in range(len(LINES)))]
    found = [(role, node.GetNodeReference(role)) for role in roles]
    return [(role, made) for role, made in found if made is not None]


class Outdated:
    """Removes measurements of segments that have changed since, by whatever tool."""

    def __init__(self) -> None:
        """Begins without having looked at any segment."""
        self._seen: dict[tuple[str, str], int] = {}  # modification times of label maps

    def remove(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Removes those of segments that hold other voxels than were measured.

        Segments share label maps: where one of them is painted on, the voxels of the others tell that they are the
        same. No voxel is looked at of segments without measurements.
        """
        for segmentId in node.GetSegmentation().GetSegmentIDs():
            noted = {made.GetAttribute(VOXELS_ATTRIBUTE) for _role, made in _measured(node, segmentId)} - {None}
            labelmap = node.GetSegmentation().GetSegment(segmentId).GetRepresentation(BINARY) if noted else None
            time = labelmap.GetMTime() if labelmap is not None else 0
            if not noted or self._seen.get((node.GetID(), segmentId)) == time:
                continue
            self._seen[node.GetID(), segmentId] = time
            if noted != {segments.checksum(*labelmaps.ownLiveVoxels(node, segmentId))}:
                removeMeasured(node, segmentId)
