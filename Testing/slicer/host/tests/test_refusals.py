"""What Slicer refuses the test host refuses, and what is raised where Qt and VTK drop it fails the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.tiny import TINY, cube

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


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
def test_pythonqt_refuses_wrong_calls(
    qt: Any, _what: str, error: type[Exception], words: str, wrong: Callable[[Any, Any], Any]
) -> None:
    button = qt.QPushButton("Start")
    with pytest.raises(error, match=words):
        wrong(qt, button)


def test_signals_pass_as_many_arguments_as_the_slot_takes(qt: Any) -> None:
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


def test_exceptions_in_slots_timers_and_observers_are_recorded(host: Host, qt: Any) -> None:
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


@pytest.mark.parametrize(("name", "value"), [("count", 2.5), ("label", None), ("enabled", "yes"), ("volume", "Cube")])
def test_parameters_of_the_wrong_type_are_refused(host: Host, tiny_panel: Any, name: str, value: Any) -> None:
    before = getattr(tiny_panel.parameters, name)
    with pytest.raises(TypeError, match=f"{name} must be"):
        setattr(tiny_panel.parameters, name, value)
    assert getattr(tiny_panel.parameters, name) == before


def test_slicer_has_only_the_names_of_the_application(host: Host) -> None:
    import slicer

    assert not hasattr(slicer, "arrayFromVolume")
    assert slicer.mrmlScene is slicer.app.mrmlScene() is host.scene
    assert slicer.modules.segmentations.logic().IsA("vtkSlicerSegmentationsModuleLogic")
    assert slicer.app.moduleManager().module("Markups") is slicer.modules.markups
    with pytest.raises(AttributeError):
        _ = slicer.modules.totalsegmentator
    with pytest.raises(AttributeError):
        _ = slicer.app.noSuchThing
    with pytest.raises(ValueError, match=r"no signal startup\(\)"):
        slicer.app.connect("startup()", print)


def test_packages_are_checked(host: Host, tmp_path: Path) -> None:
    import slicer.packaging

    path = tmp_path / "requirements.txt"
    path.write_text("# comment\nnumpy>=1\nno-such-package>=3; python_version >= '3'\nother; python_version < '3'\n")
    requirements = slicer.packaging.load_requirements(str(path))
    assert [slicer.packaging.pip_check(each) for each in requirements] == [True, False, True]
    assert not slicer.packaging.pip_check(requirements)


def test_unknown_layouts_are_refused(host: Host) -> None:
    with pytest.raises(ValueError, match="no layout 4711"):
        host.app.layoutManager().setLayout(4711)


def test_a_click_beside_the_view_is_refused(host: Host, tiny_panel: Any) -> None:
    host.show(cube())
    with pytest.raises(ValueError, match="outside what the view Red shows"):
        host.click("Red", (400.0, 0.0, 0.0))
