"""The list of lesions: what it shows, and what clicks and keys do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk, paint_box
from Testing.slicer.lesion_list import (
    BOXES,
    COLOUR,
    DIAMETER,
    NAME,
    SUV,
    VOLUME,
    LesionList,
    lock,
    paint,
    split,
)

# What it shows


def test_the_list_shows_figures_of_each_segment(lesions: LesionList) -> None:
    desk = lesions.desk
    ids = split(lesions)
    assert lesions.texts(NAME) == ["Tumour", "Tumour 2", "Tumour 3"]
    assert lesions.texts(VOLUME) == [f"{size * 0.08:.1f}" for size in (216, 125, 27)]
    for segment, diameter, suv in zip(ids, lesions.texts(DIAMETER), lesions.texts(SUV)):
        table = desk.widget.logic.measure(desk.node, segment, desk.volumes["pet"])
        figures = {table.GetCellText(row, 0): table.GetCellText(row, 1) for row in range(table.GetNumberOfRows())}
        assert float(diameter) == pytest.approx(float(figures["Longest axial diameter (RECIST 1.1)"]), abs=0.06)
        assert float(suv) == pytest.approx(float(figures["SUVmax"]), abs=0.06)


def test_volume_is_there_at_once_and_other_figures_are_never_out_of_date(lesions: LesionList) -> None:
    desk = lesions.desk
    desk.start_click((50, 50, 20))
    seen: list[tuple[str, ...]] = []
    desk.context.edits.onEdited.connect(lambda: (desk.widget.panel.lesions.update(), seen.append(shown(lesions))))
    desk.wait()
    volume = desk.widget.logic.volumeMl(desk.node, desk.segment)
    assert seen == [(f"{volume:.1f}", "...", "...")]
    lesions.settled()
    assert shown(lesions)[0] == f"{volume:.1f}"
    assert "..." not in shown(lesions)


def measured(desk: Desk) -> list[tuple[str, str]]:
    """Names and values of the table of measurements."""
    table = desk.ui.measurementsTable
    return [(table.item(row, 0).text(), table.item(row, 1).text()) for row in range(table.rowCount)]


def shown(lesions: LesionList, row: int = 0) -> tuple[str, ...]:
    return tuple(lesions.texts(column)[row] for column in (VOLUME, DIAMETER, SUV))


def test_a_stroke_makes_figures_unknown_until_it_is_read(lesions: LesionList) -> None:
    paint_box(lesions.desk, (30, 10, 10), (4, 4, 4))  # type: ignore[arg-type]
    lesions.desk.widget.panel.lesions.update()
    assert shown(lesions) == ("...", "...", "...")
    lesions.settled()
    lesions.desk.host.wait_until(lambda: "..." not in shown(lesions), "the figures", 60)
    assert shown(lesions)[0] == f"{(216 + 125 + 27 + 64) * 0.08:.1f}"


def test_without_a_pet_there_is_no_column_for_suv(desk: Desk) -> None:
    desk.choose("pet", None)
    desk.press("newSegmentButton")
    paint(desk, *BOXES[0])
    lesions = LesionList(desk).settled()
    assert lesions.widget.isColumnHidden(SUV)
    desk.choose("pet", desk.volumes["pet"])
    lesions.settled()
    assert not lesions.widget.isColumnHidden(SUV)
    assert float(lesions.texts(SUV)[0]) > 0


def test_a_segment_from_elsewhere_and_an_empty_one_have_their_figures(desk: Desk) -> None:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "From elsewhere")
    node.SetReferenceImageGeometryParameterFromVolumeNode(desk.volumes["ct"])
    mask = np.zeros(slicer.util.arrayFromVolume(desk.volumes["ct"]).shape, np.uint8)
    mask[10:14, 20:30, 20:30] = 1
    for name, array in (("GTV", mask), ("Nothing", np.zeros_like(mask))):
        segment = node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment, desk.volumes["ct"])
    desk.ui.segmentationSelector.setCurrentNode(node)
    lesions = LesionList(desk).settled()
    assert lesions.texts(VOLUME) == ["32.0", "0.0"]
    assert float(lesions.texts(DIAMETER)[0]) > 36
    assert lesions.texts(DIAMETER)[1] == lesions.texts(SUV)[1] == ""
    # What is kept as a surface is not turned into voxels for the list, which would stop the window.
    assert node.GetSegmentation().CreateRepresentation("Closed surface")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.GetSegmentation().RemoveRepresentation("Binary labelmap")
    lesions.settled()
    assert shown(lesions) == ("", "", "")
    desk.host.show(desk.volumes["ct"])
    lesions.click("GTV")
    assert desk.host.slice_offsets()["Red"] == pytest.approx(desk.ras(25, 25, 12)[2], abs=5.1)
    desk.press("measureButton")
    assert desk.status == "Measured: GTV"
    volume = next(row for row in measured(desk) if row[0] == "Volume")
    assert float(volume[1]) == pytest.approx(32.0, rel=0.2)


def test_a_segmentation_under_a_transform_that_is_not_linear_is_listed_without_figures(desk: Desk) -> None:
    import slicer

    desk.find()
    lesions = LesionList(desk).settled()
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    desk.node.SetAndObserveTransformNodeID(warp.GetID())
    lesions.settled()
    assert shown(lesions) == ("", "", "")
    desk.node.SetAndObserveTransformNodeID(None)
    lesions.settled()
    assert "" not in shown(lesions)


def test_what_is_changed_elsewhere_is_followed(lesions: LesionList, qt: Any) -> None:
    desk = lesions.desk
    segment = desk.node.GetSegmentation().GetSegment(desk.segment)
    segment.SetName("GTV")
    lesions.settled()
    assert lesions.texts(NAME) == ["GTV"]
    desk.node.GetDisplayNode().SetSegmentVisibility(desk.segment, False)
    lesions.settled()
    assert lesions.widget.item(0, 0).checkState() == qt.Qt.Unchecked
    segment.SetColor(0.0, 0.0, 1.0)
    lesions.settled()
    assert lesions.widget.item(0, COLOUR).icon().pixmap(14, 14).toImage().pixelColor(7, 7).name() == "#0000ff"
    lock(desk, desk.segment)
    lesions.settled()
    assert lesions.widget.item(0, NAME).font().italic()
    desk.node.GetSegmentation().AddEmptySegment("other", "other")
    lesions.settled()
    assert lesions.texts(NAME) == ["GTV", "other"]


# What the user does in it


def test_a_click_selects_the_segment_and_shows_its_middle_where_its_diameter_is(lesions: LesionList) -> None:
    desk = lesions.desk
    desk.host.show(desk.volumes["ct"])
    ids = split(lesions)
    for segment, (low, size) in reversed(list(zip(ids, BOXES))):
        lesions.click(segment)
        assert desk.segment == segment
        assert lesions.selected() == [segment]
        middle = desk.ras(*(n + edge // 2 for n, edge in zip(low, size)))
        # Along the normals of the views, one of which leads to the left.
        offsets = {view: abs(offset) for view, offset in desk.host.slice_offsets().items()}
        assert offsets["Red"] == pytest.approx(abs(desk.ras(*low)[2]), abs=5.1)  # of slices alike the first one
        assert offsets["Green"] == pytest.approx(abs(middle[1]), abs=4.1)
        assert offsets["Yellow"] == pytest.approx(abs(middle[0]), abs=4.1)
    here = desk.host.slice_offsets()
    desk.host.app.layout_manager.sliceWidget("Red").sliceView().mrmlSliceNode().JumpSliceByOffsetting(0, 0, 40)
    assert desk.host.slice_offsets() != here
    lesions.click(ids[0])  # which is selected already
    assert desk.host.slice_offsets() == here


def test_up_and_down_go_through_the_list(lesions: LesionList) -> None:
    desk = lesions.desk
    desk.host.show(desk.volumes["ct"])
    ids = split(lesions)
    first = desk.host.slice_offsets()
    for key, segment in (("Key_Down", ids[1]), ("Key_Down", ids[2]), ("Key_Down", ids[2]), ("Key_Up", ids[1])):
        lesions.press_key(key)
        assert desk.segment == segment
        assert lesions.selected() == [segment]
    assert desk.host.slice_offsets() != first


def test_a_name_is_edited_in_place(lesions: LesionList) -> None:
    desk = lesions.desk
    lesions.rename(desk.segment, "  GTV left ")
    assert desk.node.GetSegmentation().GetSegment(desk.segment).GetName() == "GTV left"
    lesions.settled()
    assert lesions.texts(NAME) == ["GTV left"]
    lesions.rename(desk.segment, " ")
    lesions.settled()
    assert lesions.texts(NAME) == ["GTV left"]
    assert desk.status == "A segment needs a name."


def test_visibility_and_colour_are_changed_in_the_list(lesions: LesionList, qt: Any) -> None:
    desk = lesions.desk
    display = desk.node.GetDisplayNode()
    lesions.toggle(desk.segment)
    assert not display.GetSegmentVisibility(desk.segment)
    lesions.settled().toggle(desk.segment)
    assert display.GetSegmentVisibility(desk.segment)
    lesions.click(desk.segment, COLOUR, double=True)  # nobody answers: the colour stays
    segment = desk.node.GetSegmentation().GetSegment(desk.segment)
    before = segment.GetColor()
    desk.host.dialogs.answer(qt.QColor("#00ff00"))
    lesions.click(desk.segment, COLOUR, double=True)
    assert segment.GetColor() == pytest.approx((0.0, 1.0, 0.0))
    assert before != segment.GetColor()


def test_everything_in_the_list_has_a_name_for_screen_readers(desk: Desk) -> None:
    for name in ("lesionsTable", "deleteSegmentButton", "splitButton", "mergeButton"):
        assert getattr(desk.ui, name).accessibleName, name
    headers = [desk.ui.lesionsTable.horizontalHeaderItem(column) for column in range(6)]
    assert all(header.toolTip() for header in headers)


# Split, merge, delete


def test_the_state_of_each_segment_is_looked_at_once_when_the_list_is_shown(
    lesions: LesionList, monkeypatch: pytest.MonkeyPatch
) -> None:
    from TumorSegSlicer.panel.lesions import figures

    ids, looked = split(lesions), []
    stamp = figures.stampOf
    monkeypatch.setattr(figures, "stampOf", lambda *given: (looked.append(given[1]), stamp(*given))[1])
    lesions.desk.widget.panel.lesions.update()
    assert looked == ids
