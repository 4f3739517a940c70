"""Measure and export: figures are those of the segment, files read back are what was written."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from Testing.slicer.flows.tutorial.reader import Reader, step
from Testing.slicer.flows.tutorial.steps.common import assert_in_view, assert_said_volume
from Testing.slicer.module import voxels
from TumorSegLib import read_mask


@step("Press the key **P** and click on the tumour.")
def outline(reader: Reader) -> None:
    reader.user.key("P")
    reader.user.click(reader.missed())
    assert_said_volume(reader)
    assert reader.agreement() > 0.5


LONGEST, PERPENDICULAR = "Longest axial diameter (RECIST 1.1)", "Perpendicular diameter"


@step(
    'Tick **Draw diameters** and press **Measure**. The strip says "Measured: Tumour"; the table has volume, '
    "diameters and SUV."
)
def measure(reader: Reader) -> None:
    import slicer

    user = reader.user
    user.press("Draw diameters")
    user.press("Measure")
    found, inside = rows(reader), user.mask()
    pet = slicer.util.arrayFromVolume(slicer.util.getNode("Phantom PET"))
    voxel = float(np.prod(user.image.GetSpacing())) / 1000
    assert abs(float(found["Volume"]) - inside.sum() * voxel) < 0.01
    assert abs(float(found["SUVmax"]) - pet[inside].max()) < 0.01
    assert abs(float(found["SUVmean"]) - pet[inside].mean()) < 0.01
    drawn = sorted(line.GetLineLengthWorld() for line in lines())
    np.testing.assert_allclose(drawn, [float(found[PERPENDICULAR]), float(found[LONGEST])], atol=0.06)


def lines() -> list[Any]:
    """The nodes of the diameters."""
    import slicer

    return list(slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode"))


@step("Scroll the axial view to the slice with two lines: they are the diameters, where they were measured.")
def scroll_to_diameters(reader: Reader) -> None:
    heights = [line.GetNthControlPointPositionWorld(end)[2] for line in lines() for end in (0, 1)]
    np.testing.assert_allclose(heights, heights[0], atol=0.01)
    reader.user.host.slice_view_node("Red").SetSliceOffset(heights[0])
    assert_in_view(reader)


def rows(reader: Reader) -> dict[str, str]:
    """Measurement to value, as the table shows them."""
    table = reader.user.ui.measurementsTable
    return {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}


@step(
    'Press **Write CSV...** and choose a file, e.g. `tumour.csv`. The strip says "The measurements were '
    'written to tumour.csv."'
)
def write_csv(reader: Reader) -> None:
    path = reader.folder / "tumour.csv"
    reader.user.host.dialogs.answer(str(path))
    reader.user.press("Write CSV...")
    with path.open(newline="", encoding="utf-8-sig") as file:
        written = {row[0]: row[1] for row in csv.reader(file)}
    shown = rows(reader)
    assert len(shown) > 10
    assert {name: written[name] for name in shown} == shown


@step(
    "Press **Export...**, choose **NIfTI (.nii.gz), a number per segment...** and a file, e.g. "
    '`tumour.nii.gz`. The strip says "Written: tumour.nii.gz."'
)
def write_nifti(reader: Reader) -> None:
    path = export(reader, "NIfTI (.nii.gz), a number per segment...", "tumour.nii.gz")
    from TumorSegSlicer.mrml.volumes import gridFromVolume

    written = read_mask(path)
    assert written.grid == gridFromVolume(reader.user.image)
    np.testing.assert_array_equal(written.array == 1, reader.user.mask())


@step(
    "Or press **Export...** and choose **Segmentation (.seg.nrrd), with names and colours...**. The strip "
    'says "Written: tumour.seg.nrrd."'
)
def write_segmentation(reader: Reader) -> None:
    import slicer

    path = export(reader, "Segmentation (.seg.nrrd), with names and colours...", "tumour.seg.nrrd")
    node = slicer.util.loadSegmentation(str(path))
    (segment,) = node.GetSegmentation().GetSegmentIDs()
    assert node.GetSegmentation().GetSegment(segment).GetName() == "Tumour"
    np.testing.assert_array_equal(voxels(node, segment, reader.user.image).astype(bool), reader.user.mask())
    slicer.mrmlScene.RemoveNode(node)


def export(reader: Reader, words: str, name: str) -> Path:
    """Exports to a file of the folder by an entry of the menu."""
    reader.user.host.dialogs.answer(str(reader.folder / name))
    reader.user.press("Export...")
    reader.user.pick(words)
    return reader.folder / name


@step(
    "Save the scene: File > Save, as .mrb. Once it is opened again, the module goes on where you stopped. The "
    'strip says "Saved work restored. Segment: … ml"'
)
def save_and_open(reader: Reader) -> None:
    import slicer

    user, before, path = reader.user, reader.user.mask(), str(reader.folder / "case.mrb")
    user.host.wait_until(lambda: not user.context.edits.unsaved, "the session to be in the scene", 60)
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(path)
    user.host.process_events()
    user.image = slicer.util.getNode("Phantom CT")
    np.testing.assert_array_equal(user.mask(), before)
    assert_said_volume(reader)


@step('Undo goes on, too: press the key **Z**, then **Y**. The strip says "Redone. Segment now: … ml"')
def undo_after_opening(reader: Reader) -> None:
    user, before = reader.user, reader.user.mask()
    user.key("Z", edits=True)
    assert not user.mask().any()
    user.key("Y", edits=True)
    np.testing.assert_array_equal(user.mask(), before)
