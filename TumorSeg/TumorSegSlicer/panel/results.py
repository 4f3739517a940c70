"""The parts of the panel that show results: overlays, uncertain regions, surface, measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.overlays import Foreground, isOverlay
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.mrml.tables import HEADINGS, tableText
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.parameters import IMAGES


class ResultsPanel:
    """Shows probability and uncertainty, and measures."""

    def __init__(self, context: Context, pet: Callable[[], Input | None]) -> None:
        """Begins without overlay and table; ``pet`` gives the PET in SUV that was chosen, if there is one."""
        self._context, self._pet = context, pet
        self._foreground = Foreground()
        self._positions: list[tuple[float, float, float]] = []
        self._table: slicer.vtkMRMLTableNode | None = None
        ui = context.ui
        self._filter = OverlayFilter([getattr(ui, f"{name}Selector") for name in (*IMAGES, "secondImage")])
        for text, kind in ((_("none"), ""), (_("probability"), "probability"), (_("uncertainty"), "uncertainty")):
            ui.overlaySelector.addItem(text, kind)
        ui.overlaySelector.connect("currentIndexChanged(int)", lambda _index: self._showOverlay())
        ui.nextPlaceButton.connect("clicked(bool)", self._onNextPlace)
        ui.surfaceCheckBox.connect("toggled(bool)", self._onSurface)
        for header in (ui.measurementsTable.horizontalHeader(), ui.measurementsTable.verticalHeader()):
            header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        ui.measurementsTable.verticalHeader().hide()
        ui.measureButton.connect("clicked(bool)", self._onMeasure)
        ui.copyButton.connect("clicked(bool)", self._onCopy)
        ui.csvButton.connect("clicked(bool)", self._onCsv)
        context.settings.onChanged.connect(self._onParameters)
        context.selection.onTarget.connect(self._onTarget)
        context.edits.onEdited.connect(self._onEdited)
        self._listener, self._surfaces, self._shownTable = Listener(), Listener(), Listener()
        scene = slicer.mrmlScene
        self._listener.listen((scene, scene.NodeRemovedEvent, self._onRemoved, vtk.VTK_OBJECT))

    def update(self) -> None:
        """Begins anew with overlay, also one that the scene was saved with, and table."""
        self._onTarget()
        self._foreground.hide()

    def close(self) -> None:
        """The module is being unloaded: the slices show what they did without it."""
        self._filter.close()
        for listener in (self._listener, self._surfaces, self._shownTable):
            listener.listen()
        self._foreground.hide()

    # See

    def _onTarget(self) -> None:
        """Another segment is selected: results of the former one are no longer shown."""
        self._positions = []
        self._fill(None)
        self._context.ui.overlaySelector.setCurrentIndex(0)
        target = self._context.selection.target()
        segmentation = target[0].GetSegmentation() if target is not None else None
        made = slicer.vtkSegmentation.ContainedRepresentationNamesModified
        self._surfaces.listen(*[(segmentation, made, self._showSurface)] if segmentation is not None else [])
        self._showSurface()

    def _showSurface(self, _segmentation: vtk.vtkObject | None = None) -> None:
        """Ticks the box where the segment has a surface, whoever made it."""
        target, box = self._context.selection.target(), self._context.ui.surfaceCheckBox
        blocked = box.blockSignals(True)
        name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        box.checked = target is not None and target[0].GetSegmentation().ContainsRepresentation(name)
        box.blockSignals(blocked)

    def _onEdited(self) -> None:
        """The segment has changed: overlay and uncertain regions are out of date."""
        self._positions = []
        if self._kind():
            self._showOverlay()

    def _kind(self) -> str:
        selector = self._context.ui.overlaySelector
        return str(selector.itemData(selector.currentIndex) or "")

    def _showOverlay(self) -> None:
        target, kind = self._context.selection.target(), self._kind()
        if not kind:
            self._foreground.hide()
        elif target is None:
            self._context.ui.overlaySelector.setCurrentIndex(0)
            self._context.messages.say(_("Select a segment first."))
        else:
            logic = self._context.logic
            show = logic.probabilityVolume if kind == "probability" else logic.uncertaintyVolume
            show(*target, run=self._context.tasks.starting(self._onOverlay))

    def _onOverlay(self, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        if not self._kind():
            return  # while it was made the user chose none, or another segment
        self._foreground.show(volume, self._context.parameters.overlayOpacity)
        legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(volume)
        legend.SetTitleText(volume.GetName())

    def _onParameters(self, changed: set[str]) -> None:
        if "overlayOpacity" in changed:
            self._foreground.setOpacity(self._context.parameters.overlayOpacity)

    def _onNextPlace(self, _checked: bool) -> None:
        target = self._context.selection.target()
        if target is None:
            self._context.messages.say(_("Select a segment first."))
        elif self._positions:
            self._jump()
        else:
            self._context.logic.uncertainPositions(*target, run=self._context.tasks.starting(self._onPositions))

    def _onPositions(self, positions: list[tuple[float, float, float]]) -> None:
        self._positions = list(positions)
        if positions:
            self._jump()
        else:
            self._context.messages.say(_("No region above the uncertainty threshold. The model can still be wrong."))

    def _jump(self) -> None:
        ras = self._positions.pop(0)
        slicer.modules.markups.logic().JumpSlicesToLocation(*ras, True)
        text = _("Uncertain region at RAS {ras} mm; {count} more.")
        self._context.messages.say(text.format(ras=", ".join(f"{x:.0f}" for x in ras), count=len(self._positions)))

    def _onSurface(self, shown: bool) -> None:
        target = self._context.selection.target()
        if target is None:
            self._showSurface()
            self._context.messages.say(_("Select a segment first."))
        elif shown:
            target[0].CreateClosedSurfaceRepresentation()
        else:
            target[0].RemoveClosedSurfaceRepresentation()

    # Measure

    def _onMeasure(self, _checked: bool) -> None:
        context = self._context
        target = context.selection.target()
        if target is None:
            context.messages.say(_("Select a segment first."))
            return
        lines = context.parameters.diameterLines
        context.logic.measure(*target, self._pet(), lines, run=context.tasks.starting(self._onMeasured))

    def _onMeasured(self, table: slicer.vtkMRMLTableNode) -> None:
        self._fill(table)
        self._context.messages.say(_("Measured: {name}").format(name=table.GetCellText(0, 1)))

    def _onRemoved(self, _scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
        """Shows no table that is no longer in the scene, as after its segment has changed."""
        if node is self._table:
            self._fill(None)

    def _fill(self, table: slicer.vtkMRMLTableNode | None) -> None:
        ui, self._table = self._context.ui, table
        # Its segment may be renamed.
        self._shownTable.listen(*[(table, vtk.vtkCommand.ModifiedEvent, self._fill)] if table is not None else [])
        ui.copyButton.enabled = ui.csvButton.enabled = table is not None
        shown = ui.measurementsTable
        shown.enabled = table is not None  # an empty one would take the focus without showing it
        shown.setColumnCount(len(HEADINGS))
        shown.setHorizontalHeaderLabels([_(heading) for heading in HEADINGS])
        shown.setRowCount(0)
        if table is not None:
            shown.setRowCount(table.GetNumberOfRows())
            for row in range(shown.rowCount):
                for column in range(len(HEADINGS)):
                    shown.setItem(row, column, qt.QTableWidgetItem(table.GetCellText(row, column)))
            shown.setRowHidden(shown.rowCount - 1, True)  # the note, which the panel shows at its top

    def _onCopy(self, _checked: bool) -> None:
        qt.QApplication.clipboard().setText(tableText(self._table, "\t"))
        self._context.messages.say(_("The measurements were copied."))

    def _onCsv(self, _checked: bool) -> None:
        title, kind = _("Write measurements"), _("CSV (*.csv)")
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, "measurements.csv", kind)
        if path and self._context.messages.succeeds(lambda: _writeCsv(path, tableText(self._table))):
            self._context.messages.say(_("The measurements were written to {path}.").format(path=Path(path).name))


def _writeCsv(path: str, text: str) -> None:
    from TumorSegLib.files import write_text

    write_text(path, "\ufeff" + text)  # without this mark Excel takes UTF-8 for the system's own encoding


class OverlayFilter:
    """Keeps overlays out of the panel's node selectors; other modules of Slicer go on offering them."""

    def __init__(self, selectors: Sequence[Any]) -> None:
        """Begins with the overlays that the scene has; ``selectors`` are of class ``qMRMLNodeComboBox``."""
        self._selectors, scene = selectors, slicer.mrmlScene
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        self._overlays = [volume.GetID() for volume in volumes if isOverlay(volume)]
        self._listener = Listener()
        self._listener.listen(
            (scene, scene.NodeAddedEvent, self._onAdded, vtk.VTK_OBJECT),
            # Another node may get the id of one that was removed.
            (scene, scene.NodeRemovedEvent, self._onRemoved, vtk.VTK_OBJECT),
        )
        self._hide()

    def close(self) -> None:
        """Removes the observers of the scene."""
        self._listener.listen()

    def _onAdded(self, _scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
        """Looks at this node alone: scenes of thousands of volumes are read one node at a time."""
        if isOverlay(node):
            self._overlays.append(node.GetID())
            self._hide()

    def _onRemoved(self, _scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
        if isOverlay(node) and node.GetID() in self._overlays:
            self._overlays.remove(node.GetID())
            self._hide()

    def _hide(self) -> None:
        for selector in self._selectors:
            selector.sortFilterProxyModel().hiddenNodeIDs = self._overlays
