"""Someone who works with the module by mouse and keys, and whose actions are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6 import QtCore, QtWidgets
from PySide6.QtTest import QTest

from Testing.slicer.lesion_list import LesionList
from Testing.slicer.module import TUMORSEG, ras_of, voxels

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

#: Seconds that an answer may take; models load in 4 s where nothing else runs.
PATIENCE = 180
CTRL = ("ControlModifier",)


class User:
    """A user of the application with the module in it, who finds controls by the words on them.

    Attributes:
        actions: presses of keys and buttons, clicks and strokes in views, since TumorSeg was opened.
        used: the words on the controls used, samples and modules opened, keys pressed; the last one last.
        last: the control of the panel used last.
        image: node of the image being worked on.
    """

    def __init__(self, host: Host, engines: Any = None) -> None:
        """The module is installed and not open; engines that were loaded before may be given."""
        self.host, self._engines = host, engines
        self.actions, self.answered = 0, 0
        self.used: list[str] = []
        self.image: Any = None
        self.last: Any = None
        self._start()

    def _start(self) -> None:
        self.widget = self.host.load_module(TUMORSEG)
        if self._engines is not None:
            self.widget.logic.bench.engineSource = self._engines
        self.host.window.moduleSelector().selectModule("")
        self.context.edits.onEdited.connect(self._count)

    def restart(self, missing: Iterable[str] = ()) -> None:
        """Ends the application, as far as the module sees it, and starts it again, without some packages perhaps."""
        self.host.clear()
        self.host.activate()
        self.host.packaging.missing |= set(missing)
        self._start()

    def _count(self) -> None:
        self.answered += 1

    @property
    def engines(self) -> Any:
        """The engines that are loaded, for another user."""
        return self.widget.logic.bench.engineSource

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def context(self) -> Any:
        return self.widget.panel.context

    @property
    def node(self) -> Any:
        """The chosen segmentation."""
        return self.context.parameters.segmentation

    @property
    def segment(self) -> str:
        """Id of the selected segment."""
        return str(self.context.parameters.segmentId)

    @property
    def said(self) -> str:
        """What the strip says."""
        return str(self.ui.statusLabel.text)

    @property
    def lesions(self) -> LesionList:
        """The list of lesions, with all its figures."""
        return LesionList(self).settled()  # type: ignore[arg-type]

    def mask(self) -> np.ndarray:
        """The selected segment on the image, bool ``[k, j, i]``; empty where there is none."""
        target = self.context.selection.target()
        if target is None:
            return np.zeros(np.asarray(self._array()).shape, bool)
        return np.asarray(voxels(*target, self.image)).astype(bool)

    def _array(self) -> Any:
        import slicer

        return slicer.util.arrayFromVolume(self.image)

    # In the application

    def sample(self, name: str) -> None:
        """Gets sample data by its name; the views show it."""
        import SampleData
        import slicer

        self.host.window.show()
        self.host.process_events()
        SampleData.downloadSample(name)
        self.used.append(name)
        self.image = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")[0]
        self.host.process_events()

    def open(self, title: str = "TumorSeg") -> None:
        """Opens the module; actions are counted from here."""
        import slicer

        assert slicer.modules.tumorseg.title == title
        self.host.window.show()
        self.host.window.moduleSelector().selectModule("TumorSeg")
        self._return_to_window()
        self.used.append(title)
        self.actions = 0

    @contextmanager
    def answering(self, words: str) -> Iterator[None]:
        """Presses a button, by its words, of the one question that comes."""
        asked: list[str] = []

        def answer(box: Any) -> Any:
            asked.append(box.text)
            self.used.append(words)
            (button,) = [each for each in box.buttons() if _plain(each.text) == words]
            return box.standardButton(button)

        self.host.dialogs.answer(answer)
        yield
        assert len(asked) == 1, f"no question was asked that {words} answers"
        self._return_to_window()

    def _return_to_window(self) -> None:
        """What the window system does after a dialog and a menu."""
        self.host.window.activateWindow()
        self.host.process_events()

    # In the panel

    def press(self, words: str, edits: bool = False) -> None:
        """Presses the button, check box or section with these words, and waits until it is answered."""
        button = self._button(words)
        self.used.append(words)
        self.last = button
        self._do(button.click, edits)

    def pick(self, words: str) -> None:
        """Chooses an entry of the menu of the button pressed last, and waits."""
        menu = self.ui.exportButton.menu()
        entries = {_plain(action.text): action for action in menu.actions()}
        menu.close()
        self._return_to_window()
        self.used.append(words)
        self._do(entries[words].trigger, False)

    def choose(self, label: str, words: str) -> None:
        """Chooses an entry of the list with a label."""
        (shown,) = [each for each in self._shown(QtWidgets.QLabel) if _plain(each.text) == f"{label}:"]
        box = shown.buddy()
        box = box if isinstance(box, QtWidgets.QComboBox) else box.findChild(QtWidgets.QComboBox)
        index = box.findText(words)
        assert index >= 0, f"{label} offers no {words!r}"
        self.used += [label, words]
        self.last = box

        def act() -> None:
            box.setCurrentIndex(index)
            box.activated.emit(index)

        self._do(act, False)

    def click_row(self, name: str, to: str = "") -> None:
        """Clicks on a lesion in the list by its name, or double-clicks there and types another name."""
        lesions = self.lesions
        segmentation = self.node.GetSegmentation()
        (found,) = [each for each in segmentation.GetSegmentIDs() if segmentation.GetSegment(each).GetName() == name]
        self.used.append(name)
        self.last = lesions.widget
        self._do(lambda: lesions.rename(found, to) if to else lesions.click(found), False)

    # Keys, and the mouse in the views

    def key(self, letter: str, edits: bool = False) -> None:
        """Presses a key over a slice view, and waits until it is answered."""
        self.used.append(letter)
        self._do(lambda: QTest.keyClick(self._view(), _key(letter)), edits)

    @contextmanager
    def holding(self, letter: str) -> Iterator[None]:
        """Holds a key down."""
        self.used.append(letter)
        self.actions += 1
        QTest.keyPress(self.host.window, _key(letter))
        self.host.process_events()
        yield
        QTest.keyRelease(self.host.window, _key(letter))
        self.host.process_events()

    def click(self, ijk: tuple[int, int, int], view: str = "Red", ctrl: bool = False) -> None:
        """Clicks on a voxel of the image in a slice view, and waits for the answer."""
        self._hold(ctrl)
        self._do(lambda: self.host.mouse.click(view, ras_of(self.image, ijk), held=CTRL if ctrl else ()), True)

    def corners(self, *places: tuple[int, int, int], view: str = "Red") -> None:
        """Clicks on voxels one after the other, and waits for the answer to the last."""
        *first, last = places
        for ijk in first:
            self._do(lambda ijk=ijk: self.host.mouse.click(view, ras_of(self.image, ijk)), False)
        self.click(last, view)

    def draw(self, places: Sequence[tuple[int, int, int]], view: str = "Red", ctrl: bool = False) -> None:
        """Draws through voxels with the left button held, and waits for the answer."""
        self._hold(ctrl)
        points = [ras_of(self.image, ijk) for ijk in places]
        self._do(lambda: self.host.mouse.drag(view, points, CTRL if ctrl else ()), True)

    def paint(self, ijk: tuple[int, int, int], radius_mm: float) -> None:
        """Makes a dab of the brush on a voxel of the image, and waits for the answer."""
        from Testing.slicer.host.segment_editor import paint

        assert self.ui.brushButton.checked
        self._do(lambda: paint(self.ui.editor, ras_of(self.image, ijk), radius_mm), True)

    def _hold(self, ctrl: bool) -> None:
        self.used += ["Ctrl"] if ctrl else []

    def _view(self) -> Any:
        return self.host.app.layoutManager().sliceWidget("Red").sliceView()

    def _shown(self, kind: Any) -> list[Any]:
        return [each for each in self.widget.parent.findChildren(kind) if each.isVisible()]

    def _button(self, words: str) -> Any:
        """The button with these words that can be pressed; a section only where no other button has them."""
        import ctk

        buttons = self._shown(QtWidgets.QAbstractButton)
        found = [each for each in buttons if _plain(each.text) == words and each.isEnabled()]
        (button,) = [each for each in found if not isinstance(each, ctk.ctkCollapsibleButton)] or found
        return button

    def _do(self, action: Callable[[], Any], edits: bool) -> None:
        before = self.answered
        action()
        self.actions += 1
        self.host.process_events()
        if edits:
            self.host.wait_until(lambda: self.answered > before, "an answer", PATIENCE)
        self.host.wait_until(lambda: not self.context.tasks.busy, "the panel to be done", PATIENCE)


def _plain(text: str) -> str:
    """Words on a control without the mark of their key."""
    return text.replace("&&", "\0").replace("&", "").replace("\0", "&")


def _key(letter: str) -> QtCore.Qt.Key:
    return QtCore.Qt.Key[{"Esc": "Key_Escape"}.get(letter, f"Key_{letter}")]
