"""Actions that show or measure a segment without changing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import slicer

from TumorSegSlicer.mrml import labelmaps, overlays, segments, tables, volumes
from TumorSegSlicer.mrml.arguments import checkSegment
from TumorSegSlicer.mrml.nodes import placeBeside
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.work.editing.edits import BoxEdit, SegmentAction
from TumorSegSlicer.work.runner import Action
from TumorSegSlicer.work.sessions import Sessions
from TumorSegSlicer.work.workbench import Workbench

if TYPE_CHECKING:
    from TumorSegLib import Grid, Volume
    from TumorSegLib.jobs import Cancel, Progress


class Overlay(SegmentAction):
    """Writes ``probability`` or ``uncertainty`` into a volume of the scene, which is its outcome."""

    def __init__(self, bench: Workbench, node: slicer.vtkMRMLSegmentationNode, segmentId: str, overlay: str) -> None:
        super().__init__(bench, node, segmentId)
        self.overlay = overlay

    def compute(self, _progress: Progress, _cancel: Cancel) -> Any:
        """The values of the volume in percent."""
        return overlays.percentages(self.session.probability.array, self.overlay)

    def finish(self, result: Any) -> slicer.vtkMRMLScalarVolumeNode:
        """Writes the volume."""
        volume = overlays.showAsVolume(result, self.session.grid, self.node, self.segmentId, self.overlay)
        placeBeside(volume, self.node)
        return volume


class UncertainPositions(SegmentAction):
    """Where a segment is least certain, the worst first; its outcome is a list of RAS mm."""

    def compute(self, _progress: Progress, _cancel: Cancel) -> list[tuple[float, float, float]]:
        """Looks for the positions."""
        return overlays.uncertainPositions(self.session.probability)


class Measure(Action):
    """Measures a segment on its own voxels into a table, which is its outcome."""

    def __init__(
        self,
        sessions: Sessions,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        pet: Mapping[str, Input],
        diameterLines: bool,
    ) -> None:
        self.sessions, self.node, self.segmentId = sessions, node, segmentId
        self.pet, self.diameterLines = pet, diameterLines

    def begin(self) -> Action | None:
        """Reads the segment and the images of its session that are still there."""
        checkSegment(self.node, self.segmentId)
        inputs = {**self.sessions.inputs(self.node, self.segmentId), **self.pet}
        self.images = {
            role: volumes.volumeFromNode(each.node, role, each.assumeSuv)
            for role, each in inputs.items()
            if slicer.mrmlScene.IsNodePresent(each.node)
        }
        self.voxels = labelmaps.ownLiveVoxels(self.node, self.segmentId)
        self.mask = tables.ownMask(self.node, self.segmentId, lambda: gridOf(self.node, self.images))
        return None

    def work(self, _progress: Progress, _cancel: Cancel) -> Any:
        """Measures."""
        import TumorSegLib

        return TumorSegLib.measure(self.mask(), self.images), segments.checksum(*self.voxels)

    def finish(self, result: Any) -> slicer.vtkMRMLTableNode:
        """Draws the diameters, where they are wanted, and writes the table."""
        found, checksum = result
        tables.drawDiameters(found.axial if self.diameterLines else None, self.node, self.segmentId)
        table = tables.writeTable(found, self.node, self.segmentId)
        tables.noteMeasured(self.node, self.segmentId, checksum)
        return table


class EmbedBox(BoxEdit):
    """Computes ahead what a box will need, and changes nothing; its outcome is the number of slices embedded."""

    edits = False

    def begin(self) -> Action | None:
        """As for a box; what was painted can wait."""
        super().begin()
        return None

    def compute(self, _progress: Progress, cancel: Cancel) -> int:
        """Embeds the slices of the box."""
        return self.session.embed_box(self.prompt, self.options, cancel)

    def finish(self, result: int) -> int:  # type: ignore[override]
        """Writes nothing."""
        return result


def gridOf(node: slicer.vtkMRMLSegmentationNode, images: Mapping[str, Volume]) -> Grid:
    """A grid for a segment that has no voxels of its own.

    Raises:
        ArgumentError: there is no image, nor a volume that the segmentation was made on.
    """
    from TumorSegLib import ArgumentError

    for image in images.values():
        return image.grid
    reference = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    if reference is None:
        raise ArgumentError(f"segmentation '{node.GetName()}' has no voxels and no volume to measure it on")
    return volumes.gridFromVolume(reference)
