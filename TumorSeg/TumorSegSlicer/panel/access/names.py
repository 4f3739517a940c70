"""Names for screen readers, and words that do not fit into a list box."""

from __future__ import annotations

from typing import Any

import qt

from TumorSegSlicer.panel.access.watcher import Watcher

#: Parts of Slicer's own widgets that have the focus in their place.
PARTS = ("QComboBox", "QAbstractSlider", "QAbstractSpinBox")


def nameParts(ui: Any) -> None:
    """Gives widgets with a label the label's words as a name, and what has the focus within them the same.

    The label's words themselves reach a widget of Qt, but not the parts of Slicer's selectors and sliders.
    """
    for label in [each for each in vars(ui).values() if each.className() == "QLabel"]:
        widget = label.buddy()
        if widget is None:
            continue
        name = label.text.replace("&", "").rstrip(":")
        for part in (widget, *(part for kind in PARTS for part in widget.findChildren(getattr(qt, kind)))):
            part.accessibleName = name


class WholeChoices:
    """Puts the whole text of what is chosen into the tool tips of list boxes, which may be too narrow for it."""

    def __init__(self, ui: Any) -> None:
        """Sees to all list boxes of the panel, as long as this object lasts."""
        boxes = [each for each in vars(ui).values() if each.className() == "QComboBox"]
        self._watchers = [self._telling(box, box.toolTip) for box in boxes]

    @staticmethod
    def _telling(box: Any, tip: str) -> Watcher:
        def tell(_event: Any) -> None:  # the tool tip is about to be shown
            box.toolTip = "\n".join(words for words in (box.currentText, tip) if words)

        watcher = Watcher(("ToolTip",), tell)
        watcher.watch(box)
        return watcher
