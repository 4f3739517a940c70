"""Correct a contour from elsewhere: a file that somebody else made, beside the lesion and too large."""

from __future__ import annotations

from typing import Any

import numpy as np

from Testing.slicer.flows.tutorial.reader import Reader, step
from Testing.slicer.flows.tutorial.steps.common import assert_said_volume, shown
from Testing.slicer.lesion_list import NAME
from Testing.slicer.module import voxels
from TumorSegLib.phantom.lesions import make_brain_lesion

#: Of the brush and of where it paints, in mm.
BRUSH_MM = 4.0


@step("Load the image, and the segmentation: DICOM SEG, RTSTRUCT, .seg.nrrd or any other that Slicer reads.")
def load(reader: Reader) -> None:
    import slicer

    reader.user.sample("TumorSeg phantom (FLAIR of a brain lesion)")
    reader.user.used.clear()  # any image will do
    reader.lesions = [make_brain_lesion(0).lesions.array > 0]
    assert shown() == ["Phantom FLAIR"]
    path = str(reader.folder / "GTV.seg.nrrd")
    made = contour(reader)
    assert slicer.util.exportNode(made, path)
    slicer.mrmlScene.RemoveNode(made)
    as_surface(slicer.util.loadSegmentation(path))


def contour(reader: Reader) -> Any:
    """A segmentation of the lesion that is too large, and 5 mm to the left of it."""
    import slicer
    from scipy.ndimage import binary_dilation

    drawn = np.roll(binary_dilation(reader.truth), 3, axis=2).astype(np.uint8)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "GTV")
    node.SetReferenceImageGeometryParameterFromVolumeNode(reader.user.image)
    segment = node.GetSegmentation().AddEmptySegment("GTV", "GTV")
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, node, segment, reader.user.image)
    return node


def as_surface(node: Any) -> None:
    """Stored as a surface alone, as SlicerRT stores what it makes of contours."""
    segmentation = node.GetSegmentation()
    assert segmentation.CreateRepresentation("Closed surface")
    segmentation.SetSourceRepresentationName("Closed surface")
    segmentation.RemoveRepresentation("Binary labelmap")
    node.CreateDefaultDisplayNodes()


@step("Under Lesions choose it at **Segmentation**, e.g. **GTV**, and click on the row of the structure to correct.")
def choose(reader: Reader) -> None:
    user = reader.user
    user.choose("Segmentation", "GTV")
    assert user.lesions.texts(NAME) == ["GTV"]
    user.click_row("GTV")
    assert reader.agreement() < 0.6


@step(
    "Press the key **P**, hold **Ctrl** and click on what is not tumour. If the segmentation is one of "
    "contours or surfaces, as RTSTRUCT is, you are asked whether it may become voxels: press **Yes**. The "
    'strip says "Removed. Segment now: … ml"'
)
def remove(reader: Reader) -> None:
    user, place, before = reader.user, reader.wrong(), reader.agreement()
    user.key("P")
    with user.answering("Yes"):
        user.click(place, ctrl=True)
    assert "is stored as 'Closed surface'" in user.host.dialogs.texts[-1]
    assert not user.mask()[place[::-1]]
    assert_said_volume(reader)
    assert reader.agreement() > before


@step('Click on tumour that was missed. The strip says "Added. Segment now: … ml"')
def add(reader: Reader) -> None:
    place, before = reader.missed(), reader.agreement()
    reader.user.click(place)
    assert reader.user.mask()[place[::-1]]
    assert_said_volume(reader)
    assert reader.agreement() > max(before, 0.8)


@step('For an edge that no model knows, press the key **E** and paint. The strip says "Stroke kept. Segment now: … ml"')
def paint(reader: Reader) -> None:
    user, before, place = reader.user, reader.user.mask(), reader.corners(margin=0)[0]
    user.key("E")
    user.paint(place, BRUSH_MM)
    assert not before[place[::-1]]
    assert user.mask()[place[::-1]]
    assert not (before & ~user.mask()).any()
    assert_said_volume(reader)


@step(
    'Hold the key **C**: the views show the segment as it was before the last edit. The strip says "After the '
    'last edit." once you let go.'
)
def compare(reader: Reader) -> None:
    import slicer

    user, after = reader.user, reader.user.mask()
    with user.holding("C"):
        former = slicer.util.getNode("Before the last edit")
        assert 0 < voxels(former, user.segment, user.image).sum() < after.sum()
    np.testing.assert_array_equal(user.mask(), after)
