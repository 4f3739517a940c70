"""The settings in the scene, connected with the widgets that show them."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.parameterNodeWrapper import GuiConnector, SlicerParameterNamePropertyName

from TumorSegSlicer.logic import TumorSegLogic
from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.panel.shared.signals import Signal


class Settings:
    """The settings in the scene, connected with the widgets that show them.

    Attributes:
        parameters: the settings; another object after the scene was closed or read.
        connectors: name of a parameter to its widget, or to what connects the two where Slicer has no connector for it.
        onChanged: emitted with the names of the settings that were changed, by the user or by a script.
    """

    def __init__(self, ui: Any, logic: TumorSegLogic) -> None:
        """Begins without a connection; ``ui`` holds the widgets of the ``.ui`` file by name."""
        self._logic = logic
        self.parameters = logic.parameters
        # Once, as Slicer's editor makes and deletes widgets of its own later.
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in vars(ui).values()}
        self.connectors: dict[str, qt.QWidget | GuiConnector] = {name: each for name, each in named.items() if name}
        self.onChanged = Signal()
        self._values = self.parameters.values()
        self._listener = Listener()
        self._tag: int | None = None

    def connect(self) -> None:
        """Connects the widgets with the settings in the scene.

        Slicer's own ``connectGui`` returns no tag, so that its connections cannot be ended (5.12 and 5.13).
        """
        self.disconnect()
        self.parameters = self._logic.parameters
        self._tag = self.parameters.connectParametersToGui(self.connectors)
        self._values = self.parameters.values()
        self._listener.listen((self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.read))

    def disconnect(self) -> None:
        """Ends the connection: while a scene is closed or read, selectors show what the user did not choose."""
        self._listener.listen()
        if self._tag is not None:
            self.parameters.disconnectGui(self._tag)
            self._tag = None

    def read(self, _node: vtk.vtkObject = None) -> None:
        """Emits onChanged for settings that were changed; during batch processing not before its end."""
        if slicer.mrmlScene.IsBatchProcessing():
            return
        values = self.parameters.values()
        changed = {name for name, value in values.items() if value != self._values[name]}
        self._values = values
        if changed:
            self.onChanged.emit(changed)

    def setQuietly(self, **values: Any) -> None:
        """Sets several settings at once without emitting onChanged."""
        self._values.update(values)
        with slicer.util.NodeModify(self.parameters):
            for name, value in values.items():
                setattr(self.parameters, name, value)
