"""What the parts of the panel share, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from TumorSegSlicer.logic import TumorSegLogic
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.panel.shared.edited_segments import EditedSegments
from TumorSegSlicer.panel.shared.installing import Packages
from TumorSegSlicer.panel.shared.messages import Messages
from TumorSegSlicer.panel.shared.selection import Selection
from TumorSegSlicer.panel.shared.settings import Settings
from TumorSegSlicer.panel.shared.tasks import Tasks
from TumorSegSlicer.parameters import TumorSegParameters


class Context:
    """What the parts of the panel share.

    Attributes:
        ui: the widgets of the ``.ui`` file by name.
        logic: the module's logic.
        messages: shows the user what is done, and asks.
        settings: the settings in the scene, connected with their widgets.
        selection: the images and the segment chosen.
        packages: the Python packages that actions need.
        tasks: does actions.
        edits: signals which segments were edited, and saves their sessions.
    """

    def __init__(self, ui: Any, logic: TumorSegLogic) -> None:
        self.ui, self.logic, self.messages = ui, logic, Messages(ui)
        self.settings = Settings(ui, logic)
        self.selection = Selection(self.settings, logic)
        self.packages = Packages(self.messages)
        self.tasks = Tasks(self.packages, self.messages)
        self.edits = EditedSegments(logic, self.tasks, self.messages)

    @property
    def parameters(self) -> TumorSegParameters:
        """The settings in the scene; another object after the scene was closed or read."""
        return self.settings.parameters

    def noteOtherShown(self, inputs: Mapping[str, Input]) -> None:
        """Says, until the action after the next one, where the views show another image than those worked on."""
        words = self.selection.otherShown([each.node for each in inputs.values()])
        if words:
            (self.messages.notice if self.tasks.busy else self.messages.noticeNext)(words)

    def connectGui(self) -> None:
        """Connects the widgets with the settings in the scene; to be called again after it was closed or read."""
        self.settings.connect()
        self.selection.restart()

    def abandon(self) -> None:
        """Stops everything, as the scene is being closed."""
        self.tasks.abandon()
        self.edits.clear()

    def close(self) -> None:
        """Ends the thread; nothing can be done afterwards."""
        self.messages.close()
        self.packages.close()
        self.settings.disconnect()
        self.tasks.close()
        self.edits.clear()
