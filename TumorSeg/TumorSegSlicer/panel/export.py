"""The menu of the button Export: by Slicer's own DICOM exporters, or to a file."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.work.exporting.files import NIFTI, SEGMENTATION, filled

#: Kind of DICOM object to the plugin of Slicer that writes it, and the extension that the plugin comes with.
PLUGINS = {
    "DICOM SEG": ("DICOMSegmentationPlugin", "QuantitativeReporting"),
    "RTSTRUCT": ("DicomRtImportExportPlugin", "SlicerRT"),
}
#: The list of Slicer's dialog, whose entries end with the plugin that writes them, and how often it is looked for:
#: Slicer fills it once the dialog is open, and chooses the plugin that is surest of itself.
CHOICES, LOOKING_MS = "ExportablesListWidget", 50


class ExportPanel:
    """Exports the chosen segmentation."""

    def __init__(self, context: Context) -> None:
        """Fills the menu."""
        self._context = context
        self._menu = qt.QMenu(context.ui.exportButton)
        self._actions: list[Any] = []
        for kind in PLUGINS:
            self._add(
                _("{kind}, by Slicer's DICOM export...").format(kind=kind), functools.partial(self._onDicom, kind)
            )
        self._add(_("NIfTI (.nii.gz), a number per segment..."), self._onNifti)
        self._add(_("Segmentation (.seg.nrrd), with names and colours..."), self._onSegmentation)
        self._add(_("Measurements (.csv)..."), self._onMeasurements)
        context.ui.exportButton.setMenu(self._menu)
        context.settings.onChanged.connect(lambda _changed: self.update())
        context.selection.onTarget.connect(self.update)

    def update(self) -> None:
        """Without a segmentation there is nothing to export."""
        self._context.ui.exportButton.enabled = self._context.parameters.segmentation is not None

    def _add(self, text: str, function: Callable[[], None]) -> None:
        action = self._menu.addAction(text)
        action.connect("triggered(bool)", lambda _checked: function())
        self._actions.append(action)

    def _node(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The chosen segmentation; None, and it is said why, where there is nothing in it to export."""
        node, messages = self._context.parameters.segmentation, self._context.messages
        if node is None:
            messages.say(_("Choose a segmentation first."))
            return None
        try:
            filled(node)
        except Exception as error:  # one line is enough: nothing was begun
            messages.say(str(error))
            return None
        return node

    # DICOM

    def _onDicom(self, kind: str) -> None:
        node = self._node()
        if node is None:
            return
        plugin, extension = PLUGINS[kind]
        if plugin not in getattr(slicer.modules, "dicomPlugins", {}):
            words = _("{kind} needs the extension {extension}: install it (View > Extensions Manager), restart Slicer.")
            self._context.messages.say(words.format(kind=kind, extension=extension))
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        item = hierarchy.GetItemByDataNode(node)
        study = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
        if not hierarchy.GetItemAncestorAtLevel(item, study):
            words = _(
                "'{name}' belongs to no study: in the module Data create a patient and a study (right click), and drag "
                "image and segmentation into it."
            )
            self._context.messages.say(words.format(name=node.GetName()))
            return
        self._context.messages.say(_("Choose {kind} in the list of Slicer's DICOM export.").format(kind=kind))
        dialog = slicer.qSlicerDICOMExportDialog()
        dialog.setMRMLScene(slicer.mrmlScene)
        looking = qt.QTimer()
        looking.setInterval(LOOKING_MS)
        looking.connect("timeout()", lambda: looking.stop() if self._chosen(kind, plugin) else None)
        looking.start()
        try:
            dialog.execDialog(item)
        finally:
            looking.stop()

    def _chosen(self, kind: str, plugin: str) -> bool:
        """Chooses what a plugin writes in Slicer's dialog; whether the list is there by now."""
        windows = qt.QApplication.topLevelWidgets()
        lists = [each for window in windows for each in slicer.util.findChildren(window, name=CHOICES)]
        for choices in (each for each in lists if each.count > 0):
            rows = [row for row in range(choices.count) if choices.item(row).text().endswith(f"({plugin})")]
            if rows:
                choices.setCurrentRow(rows[0])
                self._context.messages.say(_("{kind} is chosen in Slicer's DICOM export.").format(kind=kind))
            return True
        return False

    # Files

    def _onNifti(self) -> None:
        self._toFile(NIFTI, _("NIfTI (*.nii.gz)"))

    def _onSegmentation(self) -> None:
        self._toFile(SEGMENTATION, _("Segmentation (*.seg.nrrd)"))

    def _toFile(self, suffix: str, kind: str) -> None:
        """Asks where to, and writes."""
        node, context = self._node(), self._context
        if node is None:
            return
        proposed = str(_folderOf(node) / f"{_fileName(node.GetName())}{suffix}")
        path = str(qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Export"), proposed, kind))
        if path:
            path = path if path.lower().endswith(suffix) else f"{path}{suffix}"
            context.logic.export(node, path, run=context.tasks.starting(lambda remark: self._sayWritten(path, remark)))

    def _onMeasurements(self) -> None:
        button = self._context.ui.csvButton
        if button.enabled:
            button.click()
        else:
            self._context.messages.say(_("Press Measure first: there are no measurements of the segment as it is now."))

    def _sayWritten(self, path: str, remark: str) -> None:
        words = _("Written: {path}.").format(path=Path(path).name)
        self._context.messages.say(" ".join(part for part in (words, remark) if part))


def _fileName(name: str) -> str:
    """A name of a node as one of a file, without characters that some system refuses."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "_", name).strip(" .") or "segmentation"


def _folderOf(node: slicer.vtkMRMLSegmentationNode) -> Path:
    """The folder of the image that a segmentation was made on, else that of the scene, else the user's own.

    An image from the DICOM database lies in Slicer's folder, where nobody looks for files.
    """
    image = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    storage = image.GetStorageNode() if image is not None else None
    fromDicom = image is not None and image.GetAttribute("DICOM.instanceUIDs") is not None
    path = storage.GetFullNameFromFileName() if storage is not None and not fromDicom else ""
    folders = [Path(path).parent if path else None, Path(slicer.mrmlScene.GetRootDirectory() or "")]
    return next((each for each in folders if each is not None and each.is_dir() and each.is_absolute()), Path.home())
