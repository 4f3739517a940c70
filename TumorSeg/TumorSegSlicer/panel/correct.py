"""The part of the panel that corrects: segments, clicks, box, undo, Slicer's own tools."""

from __future__ import annotations

import functools
from collections.abc import Callable

from slicer.i18n import tr as _

from TumorSegSlicer.panel.editing.brush import Brush
from TumorSegSlicer.panel.editing.embedded_editor import EmbeddedEditor
from TumorSegSlicer.panel.editing.opening import SegmentOpening
from TumorSegSlicer.panel.editing.place import ShownClicks
from TumorSegSlicer.panel.lesions.lesions import LesionsPanel
from TumorSegSlicer.panel.possible_steps import PossibleSteps
from TumorSegSlicer.panel.prompts import PromptPanel
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.parameters import IMAGES


class CorrectPanel:
    """Chooses a segment and corrects it."""

    def __init__(
        self,
        context: Context,
        opening: SegmentOpening,
        lesions: LesionsPanel,
        withModel: Callable[[str, Callable[[], None]], None],
    ) -> None:
        """Begins without a tool.

        Args:
            context: what the parts of the panel share.
            opening: opens segments before they are corrected.
            lesions: the list, which makes a segment where a tool needs one.
            withModel: calls a function once the model of a kind is there, which may have to be downloaded.
        """
        self._context, self._lesions = context, lesions
        self._opening = opening
        self._clicks = ShownClicks()
        self._editor = EmbeddedEditor(context, opening)
        self._brush = Brush(context, self._editor.effect)
        self.prompts = PromptPanel(context, opening, self._editor, lesions.addSegment, withModel)
        self._steps = PossibleSteps(context)
        self._connect()
        context.settings.onChanged.connect(self._onParameters)
        context.selection.onTarget.connect(self._showTarget)
        context.edits.onEdited.connect(self._showClicks)
        opening.onOpened.connect(self._editor.show)

    def keyActions(self) -> dict[str, Callable[[], None]]:
        """What the keys do."""
        ui = self._context.ui
        return {
            **self.prompts.keyActions(),
            "next": self._lesions.selectNext,
            "undo": ui.undoButton.click,
            "redo": ui.redoButton.click,
            "visibility": self._lesions.toggleVisibility,
        }

    def stopTools(self) -> None:
        """Deactivates all tools."""
        self.prompts.putDown()

    def batchEnded(self) -> None:
        """Shows the selection in Slicer's tools, which ignore updates during batch processing."""
        self._editor.show()

    def close(self) -> None:
        """The panel is going away."""
        self._clicks.remove()
        self._editor.close()
        self._brush.watch(None)
        self.prompts.close()

    def resume(self) -> None:
        """Goes on with the saved session of the selected segment, if there is one, so that its clicks are shown."""
        context, target = self._context, self._context.selection.target()
        if target is None or not context.packages.complete or context.logic.hasSession(*target):
            return
        if not context.logic.inputs(*target):
            return
        try:
            upToDate = context.logic.resume(*target)
        except Exception as error:  # no dialog, since the user has not started anything
            context.messages.say(str(error))
            return
        self._showClicks()
        self._steps.update()
        if upToDate:
            words = _("Saved work restored. Segment: {volume}")
            context.messages.say(words.format(volume=context.selection.volumeInWords(target)))
        else:  # saved before the last step was noted, or painted elsewhere since
            self._brush.wait()

    def update(self) -> None:
        """Shows the settings in the scene."""
        self._editor.update()
        self._showTarget()
        self.prompts.update()
        self._steps.update()

    def _connect(self) -> None:
        ui = self._context.ui
        for name, words, nothing in (
            ("undo", _("Undone. Segment now: {volume}"), _("Nothing to undo.")),
            ("redo", _("Redone. Segment now: {volume}"), _("Nothing to redo.")),
            ("reset", _("Reset to the initial segment: {volume}"), ""),
        ):
            act = functools.partial(self._act, name, words, nothing)
            getattr(ui, f"{name}Button").connect("clicked(bool)", lambda _on, act=act: act())

    def _onParameters(self, changed: set[str]) -> None:
        if changed.intersection(IMAGES):
            self._editor.show()

    def _showTarget(self) -> None:
        self._editor.show()
        self._brush.watch(self._context.parameters.segmentation)
        self._showClicks()

    def _showClicks(self) -> None:
        target = self._context.selection.target()
        self._clicks.show(self._context.logic.clickPoints(*target) if target is not None else [])

    def _act(self, name: str, words: str, nothing: str) -> None:
        target = self._context.selection.target()
        if target is not None and self._opening.opened(target, lambda: self._act(name, words, nothing)):
            getattr(self._context.logic, name)(*target, run=self.prompts.editing(words, nothing))
