"""Errors are told in the strip, with a sign, and stay there until the user has seen them."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6 import QtCore
from PySide6.QtTest import QTest

from Testing.slicer.desk import Desk
from TumorSegLib import ResourceError

FULL = "the disk is full: 3 MB are missing in the folder of the study, which is on the drive of the ward"


@pytest.fixture
def failed(desk: Desk) -> Desk:
    """A panel that could not segment."""

    def fails(_images: Any) -> Any:
        raise ResourceError(FULL)

    desk.host.window.show()
    desk.find()
    desk.rule = desk.engines.engines["auto"].rule  # type: ignore[attr-defined]
    desk.engines.engines["auto"].rule = fails
    desk.press("segmentButton")
    desk.engines.engines["auto"].rule = desk.rule  # type: ignore[attr-defined]
    return desk


def test_an_error_is_told_whole_in_the_strip_without_a_dialog(failed: Desk, caplog: pytest.LogCaptureFixture) -> None:
    assert failed.error == FULL
    assert failed.host.dialogs.shown == []
    assert failed.ui.statusLabel.wordWrap
    assert failed.ui.errorSign.isVisible()
    (logged,) = caplog.get_records("setup")
    assert "ResourceError" in logged.getMessage()
    assert FULL not in logged.getMessage()
    assert failed.host.window.error_log_opened == 0
    failed.ui.errorButton.click()
    assert failed.host.window.error_log_opened == 1
    assert failed.error == FULL


def test_what_is_said_in_the_meantime_does_not_take_the_place_of_an_error(failed: Desk) -> None:
    failed.context.messages.say("Stroke kept.")
    assert failed.error == f"{FULL} Stroke kept."
    failed.context.messages.say("Saved.")
    assert failed.error == f"{FULL} Saved."


@pytest.mark.parametrize("how", ["mouse", "key"])
def test_an_error_goes_with_the_next_words_after_the_user_did_something(failed: Desk, how: str) -> None:
    if how == "mouse":
        QTest.mouseClick(failed.ui.signButton, QtCore.Qt.MouseButton.LeftButton)
    else:
        QTest.keyClick(failed.ui.signButton, QtCore.Qt.Key.Key_Space)
    assert failed.error == FULL  # nothing was said
    failed.context.messages.say("Saved.")
    assert (failed.error, failed.status) == ("", "Saved.")
    failed.context.messages.say("Done.")
    assert failed.status == "Done."


def test_an_error_goes_when_the_next_action_begins(failed: Desk) -> None:
    failed.find()
    assert failed.error == ""
    assert FULL not in failed.status
    assert not failed.ui.errorButton.isVisible()


def test_a_second_error_takes_the_place_of_the_first(failed: Desk) -> None:
    from TumorSegSlicer.work.failures import Failure

    failed.context.messages.fail(Failure.of(OSError("no such drive")))
    assert FULL not in failed.error
    assert "no such drive" in failed.error


def test_slips_and_stops_are_no_errors(desk: Desk) -> None:
    desk.ui.undoButton.enabled = True
    slow = desk.begin_slowly()
    desk.ui.cancelButton.click()
    desk.wait()
    slow.go.set()
    assert (desk.error, desk.status) == ("", "Stopped; nothing was changed.")
    desk.find()
    desk.host.show(desk.volumes["ct"])
    desk.ui.pointButton.click()
    desk.host.click("Red", desk.ras(32, 64, 16))
    desk.host.wait_until(lambda: "outside" in desk.status, "the words", 60)
    assert desk.error == ""


def test_the_panel_of_a_reloaded_module_listens_no_more(failed: Desk) -> None:
    before = failed.ui.statusLabel.text
    failed.host.unload_modules()
    QTest.keyClick(failed.host.window, QtCore.Qt.Key.Key_A)
    assert before == FULL
