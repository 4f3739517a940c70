"""The segment as it was before the last edit, as long as the key is held; nothing is changed by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtTest import QTest

from Testing.slicer.desk import Desk
from Testing.slicer.module import voxels

C = QtCore.Qt.Key.Key_C


@pytest.fixture
def edited(desk: Desk) -> Desk:
    """A segment that was found and then clicked."""
    desk.find()
    desk.host.show(desk.volumes["ct"])
    desk.host.window.activateWindow()
    desk.before = desk.mask()
    desk.start_click((5, 5, 5))
    desk.wait()
    desk.wait_saved()
    return desk


def press(desk: Desk) -> None:
    QTest.keyPress(desk.host.window, C)
    desk.host.process_events()


def release(desk: Desk) -> None:
    QTest.keyRelease(desk.host.window, C)
    desk.host.process_events()


def former() -> Any:
    """The segmentation that is shown in place of the segment; None where it is shown itself."""
    import slicer

    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return next((node for node in nodes if node.GetName() == "Before the last edit"), None)


def shown(desk: Desk) -> tuple[bool, bool]:
    display = desk.node.GetDisplayNode()
    return display.GetSegmentVisibility2DFill(desk.segment), display.GetSegmentVisibility2DOutline(desk.segment)


def test_the_segment_is_seen_as_it_was_and_then_as_it_is(edited: Desk) -> None:
    import slicer

    after, steps = edited.mask(), edited.widget.logic.possibleSteps(edited.node, edited.segment)
    assert not np.array_equal(after, edited.before)
    changed = edited.node.GetSegmentation().GetSegment(edited.segment).GetRepresentation("Binary labelmap").GetMTime()
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    press(edited)
    np.testing.assert_array_equal(voxels(former(), edited.segment, edited.volumes["ct"]), edited.before)
    assert shown(edited) == (False, False)
    assert former().GetDisplayNode().GetVisibility2D()
    assert not former().GetDisplayNode().GetVisibility3D()
    assert (former().GetHideFromEditors(), former().GetSaveWithScene()) == (1, 0)
    QTest.keyPress(edited.host.window, C)  # as the keyboard repeats
    assert edited.status == "Before the last edit: this is what is shown until you let go."
    release(edited)
    assert former() is None
    assert shown(edited) == (True, True)
    assert edited.status == "After the last edit."
    np.testing.assert_array_equal(edited.mask(), after)
    segment = edited.node.GetSegmentation().GetSegment(edited.segment)
    assert segment.GetRepresentation("Binary labelmap").GetMTime() == changed
    assert edited.widget.logic.possibleSteps(edited.node, edited.segment) == steps
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert not edited.context.edits.unsaved


def test_the_views_show_the_difference(edited: Desk) -> None:
    import slicer

    gone = np.argwhere((edited.mask() > 0) & (edited.before == 0))[0]
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    view.mrmlSliceNode().JumpSliceByOffsetting(*edited.ras(*map(int, gone[::-1])))

    def pixels() -> np.ndarray:
        edited.host.process_events()
        return view.picture()[..., :3].astype(int)

    now = pixels()
    press(edited)
    then = pixels()
    release(edited)
    assert (np.abs(now - then).sum(axis=2) > 30).sum() > 5
    np.testing.assert_array_equal(pixels(), now)


def leave_the_window(desk: Desk) -> None:
    event = QtCore.QEvent(QtCore.QEvent.Type.WindowDeactivate)
    QtWidgets.QApplication.sendEvent(desk.host.window, event)


def press_the_mouse(desk: Desk) -> None:
    QTest.mouseClick(desk.ui.disclaimerLabel, QtCore.Qt.MouseButton.LeftButton)


def begin_an_action(desk: Desk) -> None:
    desk.start_click((6, 6, 6))
    assert former() is None  # before it is answered
    desk.wait()


def select_another(desk: Desk) -> None:
    desk.press("newSegmentButton")


def open_another_module(desk: Desk) -> None:
    desk.host.window.moduleSelector().selectModule("")


@pytest.mark.parametrize(
    "turn", [leave_the_window, press_the_mouse, begin_an_action, select_another, open_another_module]
)
def test_turning_to_something_else_ends_it(edited: Desk, turn: Callable[[Desk], None]) -> None:
    node, segment = edited.node, edited.segment
    press(edited)
    assert former() is not None
    turn(edited)
    assert former() is None
    display = node.GetDisplayNode()
    assert display.GetSegmentVisibility2DFill(segment)
    assert display.GetSegmentVisibility2DOutline(segment)
    release(edited)  # which changes nothing any more
    assert former() is None


def test_closing_the_scene_or_deleting_the_segmentation_meanwhile_is_safe(edited: Desk) -> None:
    import slicer

    press(edited)
    slicer.mrmlScene.RemoveNode(edited.node)
    release(edited)
    assert former() is None
    edited.find()
    edited.start_click((5, 5, 5))
    edited.wait()
    press(edited)
    assert former() is not None
    slicer.mrmlScene.Clear(False)
    release(edited)
    assert former() is None


def test_a_hidden_filling_stays_hidden_and_completed_segments_are_compared(edited: Desk) -> None:
    import slicer

    display = edited.node.GetDisplayNode()
    display.SetSegmentVisibility2DFill(edited.segment, False)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(edited.node.GetSegmentation().GetSegment(edited.segment), logic.Completed)
    press(edited)
    assert former() is not None
    release(edited)
    assert shown(edited) == (False, True)


def test_without_an_edit_there_is_nothing_to_compare(desk: Desk) -> None:
    desk.host.window.show()
    desk.host.window.activateWindow()
    said = desk.status
    press(desk)
    assert (former(), desk.status) == (None, said)
    release(desk)
    desk.press("newSegmentButton")
    press(desk)
    assert (former(), desk.status) == (None, "There is no edit to compare with.")
    release(desk)


def test_the_key_is_given_back_with_the_module_and_goes_to_text_fields(edited: Desk) -> None:
    field = QtWidgets.QLineEdit(edited.host.window)
    field.show()
    field.setFocus()
    QTest.keyClick(field, C)
    assert field.text == "c"
    assert former() is None
    field.setParent(None)
    edited.host.window.moduleSelector().selectModule("")
    press(edited)
    assert former() is None
    release(edited)


def test_a_button_does_the_same(edited: Desk) -> None:
    button = edited.ui.compareButton
    edited.ui.seeSection.collapsed = False
    edited.host.process_events()
    QTest.mousePress(button, QtCore.Qt.MouseButton.LeftButton)
    assert former() is not None
    QTest.mouseRelease(button, QtCore.Qt.MouseButton.LeftButton)
    assert former() is None
    assert shown(edited) == (True, True)
    edited.press("newSegmentButton")
    assert not button.enabled


def test_a_repeated_release_does_not_end_it(edited: Desk) -> None:
    press(edited)
    repeated = QtGui.QKeyEvent(
        QtCore.QEvent.Type.KeyRelease, C, QtCore.Qt.KeyboardModifier.NoModifier, "c", autorep=True
    )
    QtWidgets.QApplication.sendEvent(edited.host.window, repeated)
    assert former() is not None
    release(edited)
    assert former() is None
