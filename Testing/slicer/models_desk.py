"""The open panel as tests of its models work with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from Testing.slicer.desk import Desk

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

#: The model for boxes that is chosen at first; the only one that the fixture ``site`` publishes.
NAME = "lite-medsam"


class ModelsDesk(Desk):
    """A user who looks after models; engines are those of the models on this computer."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        from TumorSegSlicer.install.torch_libraries import loadEngine

        from TumorSegLib.engines.lazy import EngineCache

        self.widget.logic.bench.engineSource = EngineCache(loadEngine)

    def lines(self) -> list[str]:
        return [self.ui.modelsList.item(row).text() for row in range(self.ui.modelsList.count)]

    def select(self, name: str) -> Any:
        (row,) = [row for row, line in enumerate(self.lines()) if line.split()[0] == name]
        self.ui.modelsList.setCurrentRow(row)
        return self.ui.modelsList.item(row)

    def line_of(self, name: str) -> str:
        return str(self.select(name).text())
