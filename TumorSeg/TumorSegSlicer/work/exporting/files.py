"""A segmentation written to a file: NIfTI by the library, with a number per segment, or .seg.nrrd by Slicer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml import segments, tables, volumes
from TumorSegSlicer.work.runner import Action

if TYPE_CHECKING:
    from TumorSegLib import Grid
    from TumorSegLib.jobs import Cancel, Progress

NIFTI, SEGMENTATION = ".nii.gz", ".seg.nrrd"
MOST_LABELS = 255


class Export(Action):
    """Writes all segments that hold voxels, by the suffix of the path; its outcome is a remark, as text.

    NIfTI is one label map, 1 for the first segment; .seg.nrrd has names, colours and codes. A file is written
    completely or not at all.
    """

    def __init__(self, node: slicer.vtkMRMLSegmentationNode, path: str | Path) -> None:
        """Keeps what is written, and where."""
        self.node, self.path, self.shared = node, Path(path), 0

    @property
    def isNifti(self) -> bool:
        """Whether the library writes the file, not Slicer."""
        return str(self.path).lower().endswith(NIFTI)

    def begin(self) -> Action | None:
        """Reads the segments, on the voxels of the image that they were made on.

        Raises:
            ArgumentError: no segment holds voxels, or more do than there are numbers; another suffix.
        """
        from TumorSegLib import ArgumentError

        ids = filled(self.node)
        if self.isNifti:
            self._read(ids)
        elif not str(self.path).lower().endswith(SEGMENTATION):
            raise ArgumentError(
                _("{path} does not end with {nifti} or {segmentation}").format(
                    path=self.path, nifti=NIFTI, segmentation=SEGMENTATION
                )
            )
        return None

    def work(self, _progress: Progress, _cancel: Cancel) -> None:
        """Writes NIfTI."""
        import TumorSegLib

        if self.isNifti:
            TumorSegLib.write_mask(self.mask, self.path)

    def finish(self, _result: None) -> str:
        """Lets Slicer write .seg.nrrd; says that segments overlap, which a label map cannot hold."""
        if not self.isNifti:
            _write(self.node, self.path)
        if not self.shared:
            return ""
        words = _(
            "Segments overlap in {count} voxels, which the file gives to the last of them; {suffix} keeps all of them."
        )
        return words.format(count=self.shared, suffix=SEGMENTATION)

    def _read(self, ids: Sequence[str]) -> None:
        from TumorSegLib import ArgumentError, Mask

        if len(ids) > MOST_LABELS:
            raise ArgumentError(
                _("a label map has room for {most} segments, there are {count}: export as {suffix}").format(
                    most=MOST_LABELS, count=len(ids), suffix=SEGMENTATION
                )
            )
        grid = _gridOf(self.node, ids[0])
        labels = np.zeros(grid.shape, dtype=np.uint8)
        for number, segmentId in enumerate(ids, start=1):
            voxels = segments.maskFromSegment(self.node, segmentId, grid) > 0
            self.shared += int(np.count_nonzero(labels[voxels]))
            labels[voxels] = number
        self.mask = Mask(grid, labels)


def _write(node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    """Lets Slicer write a segmentation; where it saves the node with the scene stays as it is.

    Raises:
        WriteError: the folder is missing or not writable, or the disk is full.
    """
    from TumorSegLib import WriteError
    from TumorSegLib.files import replacing

    with replacing(path) as temporary:
        try:
            # A dictionary of its own: the function keeps the format in its default argument.
            written = slicer.util.exportNode(node, str(temporary), {}, world=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise WriteError(_("{path} cannot be written: {error}").format(path=path, error=error)) from error
        if not written or not temporary.is_file():
            logging.error("TumorSeg: Slicer could not write a segmentation")
            raise WriteError(
                _("{path} cannot be written: is the folder writable, and the disk not full?").format(path=path)
            )


def filled(node: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """Ids of the segments that hold voxels.

    Raises:
        ArgumentError: there is none.
    """
    from TumorSegLib import ArgumentError

    ids = [each for each in node.GetSegmentation().GetSegmentIDs() if not segments.isEmpty(node, each)]
    if not ids:
        raise ArgumentError(
            _("segmentation '{name}' has no voxels: there is nothing to export").format(name=node.GetName())
        )
    return ids


def _gridOf(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Grid:
    """The grid of the image that a segmentation was made on; that of a segment where there is none any more."""
    reference = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    if reference is not None and reference.IsA("vtkMRMLScalarVolumeNode"):
        return volumes.gridFromVolume(reference)
    return tables.ownMask(node, segmentId, _noGrid)().grid


def _noGrid() -> Grid:
    from TumorSegLib import ArgumentError

    raise ArgumentError(_("the segmentation has no voxels, and no image that it was made on"))
