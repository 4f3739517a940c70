"""PythonQt's idiom in the test host, ``.ui`` files and dialogs: what Slicer refuses is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.tiny import TINY

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


# PythonQt


def test_properties_are_attributes(qt: Any) -> None:
    button = qt.QPushButton("Start")
    button.enabled, button.toolTip, button.name = False, "help", "start"
    assert (button.enabled, button.text, button.objectName, button.className()) == (
        False,
        "Start",
        "start",
        "QPushButton",
    )
    box = qt.QSpinBox()
    box.maximum, box.value = 8.0, 7
    assert box.value == 7
    combo = qt.QComboBox()
    combo.addItem("one", {"model": 1})
    assert (combo.count, combo.currentText, combo.currentData) == (1, "one", {"model": 1})
    layout = qt.QHBoxLayout()
    layout.spacing = 3
    assert layout.spacing == 3


def refused_by_pythonqt() -> list[tuple[str, type[Exception], str, Callable[[Any, Any], Any]]]:
    return [
        ("property", AttributeError, "no property 'enabeld'", lambda qt, b: setattr(b, "enabeld", False)),
        ("method", AttributeError, "no property 'setText'", lambda qt, b: setattr(b, "setText", print)),
        ("read-only", AttributeError, "setter|can.t set", lambda qt, b: setattr(b, "width", 3)),
        ("called", TypeError, "not callable", lambda qt, b: b.text()),
        ("value", ValueError, "'enabled' of type 'bool'", lambda qt, b: setattr(b, "enabled", None)),
        ("attribute", AttributeError, "colour", lambda qt, b: b.colour),
        ("signal", ValueError, "no signal klicked", lambda qt, b: b.connect("klicked()", print)),
        ("signature", ValueError, r"clicked\(bool\)", lambda qt, b: b.connect("clicked(int)", print)),
        ("slot", ValueError, "can be called", lambda qt, b: b.connect("clicked()", None)),
        ("name", AttributeError, "QPushButon", lambda qt, b: qt.QPushButon()),
        ("PySide6", AttributeError, "Signal", lambda qt, b: qt.Signal(int)),
    ]


@pytest.mark.parametrize(
    ("_what", "error", "words", "wrong"), refused_by_pythonqt(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_pythonqt_refuses(
    qt: Any, _what: str, error: type[Exception], words: str, wrong: Callable[[Any, Any], Any]
) -> None:
    button = qt.QPushButton("Start")
    with pytest.raises(error, match=words):
        wrong(qt, button)


def test_signals_hand_over_what_the_function_takes(qt: Any) -> None:
    button, got = qt.QPushButton(), []
    button.checkable = True
    button.connect("clicked(bool)", got.append)
    button.connect("clicked()", lambda: got.append("none"))
    button.connect("toggled(bool)", lambda: got.append("trimmed"))
    button.connect("toggled(bool)", button, "setChecked(bool)")
    button.click()
    assert sorted(got, key=str) == [True, "none", "trimmed"]
    assert button.disconnect("clicked(bool)", got.append)
    assert not button.disconnect("clicked(bool)", got.append)
    got.clear()
    button.click()
    assert sorted(got) == ["none", "trimmed"]


def test_classes_of_the_module_may_have_attributes(qt: Any) -> None:
    class Mine(qt.QWidget):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

    mine = Mine()
    mine.count += 1
    mine.enabled = False
    assert (mine.count, mine.enabled) == (1, False)


def test_timers(host: Host, qt: Any) -> None:
    beats: list[str] = []
    timer = qt.QTimer()
    timer.interval, timer.singleShot = 1, False
    timer.connect("timeout()", lambda: beats.append("beat"))
    timer.start()
    qt.QTimer.singleShot(1, lambda: beats.append("once"))
    host.wait_until(lambda: beats.count("beat") > 3, "the timer")
    timer.stop()
    assert beats.count("once") == 1


def test_settings_last_for_a_test(host: Host, qt: Any) -> None:
    import slicer

    assert slicer.util.settingsValue("Tiny/device", "auto") == "auto"
    qt.QSettings().setValue("Tiny/device", "cpu")
    assert slicer.util.settingsValue("Tiny/device", "auto") == "cpu"
    host.clear()
    assert slicer.util.settingsValue("Tiny/device", "auto") == "auto"


def test_a_shortcut_lives_while_the_module_is_open(host: Host, tiny_panel: Any, qt: Any) -> None:
    import slicer
    from PySide6.QtTest import QTest

    host.window.show()
    host.window.activateWindow()
    host.process_events()
    QTest.keyClick(host.window, qt.Qt.Key_Z, qt.Qt.ControlModifier)
    slicer.util.selectModule("Markups")
    QTest.keyClick(host.window, qt.Qt.Key_Z, qt.Qt.ControlModifier)
    assert tiny_panel.calls == ["enter", "undo", "exit"]


def test_what_is_raised_in_a_slot_a_timer_or_an_observer_is_kept(host: Host, qt: Any) -> None:
    import vtk

    def fail(*_: Any) -> None:
        raise KeyError("lost")

    button, watched = qt.QPushButton(), vtk.vtkObject()
    button.connect("clicked()", fail)
    watched.AddObserver(vtk.vtkCommand.ModifiedEvent, fail)
    button.click()
    watched.Modified()
    assert [type(error) for error in host.errors] == [KeyError, KeyError]
    with pytest.raises(KeyError, match="lost"):
        host.raise_error()
    assert host.errors == []
    qt.QTimer.singleShot(0, fail)
    with pytest.raises(KeyError, match="lost"):
        host.wait_until(lambda: False, "an error")
    with pytest.raises(TimeoutError, match="the moon"):
        host.wait_until(lambda: False, "the moon", seconds=0.01)


# .ui files


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ('class="ctkSliderWidget"', 'class="ctkSlidreWidget"', "widget class ctkSlidreWidget"),
        ('name="addEnabled"', 'name="addEnable"', "volumeSelector has no property addEnable"),
        ("<signal>mrmlSceneChanged", "<signal>sceneChanged", "has no signal sceneChanged"),
        ("<slot>setMRMLScene", "<slot>setScene", "setScene"),
        ("<receiver>segments<", "<receiver>parts<", "names parts, which is not there"),
    ],
)
def test_a_ui_file_with_a_mistake_is_refused(host: Host, tmp_path: Path, right: str, wrong: str, words: str) -> None:
    import slicer

    text = (TINY.parent / "Resources" / "UI" / "Tiny.ui").read_text(encoding="utf-8")
    assert right in text
    path = tmp_path / "Wrong.ui"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    with pytest.raises(RuntimeError, match=words):
        slicer.util.loadUI(str(path))


# Dialogs and the status bar


def test_dialogs_are_answered_and_never_wait(host: Host, qt: Any) -> None:
    import slicer

    assert not slicer.util.confirmOkCancelDisplay("Download 12 MB?")
    host.dialogs.answer(qt.QMessageBox.Ok, "/models/new", lambda box: box.buttons()[1].text)
    assert slicer.util.confirmOkCancelDisplay("Download 12 MB again?")
    assert qt.QFileDialog.getExistingDirectory(None, "Models") == "/models/new"
    box = qt.QMessageBox()
    box.addButton("Treat as SUV", qt.QMessageBox.AcceptRole)
    box.addButton("Stop", qt.QMessageBox.RejectRole)
    assert box.exec_() in ("Stop", "Treat as SUV")
    assert qt.QFileDialog.getOpenFileName(None, "Model") == ""
    assert qt.QMessageBox.question(None, "Delete", "Delete the model?") == qt.QMessageBox.No
    slicer.util.warningDisplay("PET has no unit")
    assert host.dialogs.texts[-1] == "PET has no unit"
    assert host.dialogs.unused_answers == 0
    assert slicer.util.showStatusMessage("Ready", 1000)
    assert host.window.status_messages == ["Ready"]


def test_a_dialog_of_the_module_is_worked_by_the_test(host: Host, qt: Any) -> None:
    dialog = qt.QDialog()
    field = qt.QLineEdit(dialog)

    def fill(shown: Any) -> int:
        field.text = "typed"
        return 1

    host.dialogs.answer(fill)
    assert dialog.exec_() == 1
    assert (field.text, dialog.visible) == ("typed", False)


def test_the_heart_beats_unless_the_gui_stands_still(host: Host) -> None:
    import time

    with host.heartbeat() as gaps:
        host.wait_until(lambda: len(gaps) >= 5, "five beats")
        beats = len(gaps)
        time.sleep(0.15)
        host.wait_until(lambda: len(gaps) > beats, "another beat")
    assert gaps[beats] >= 145
