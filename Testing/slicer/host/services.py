"""Small services of the application: translation, package installation, sample data. What they are asked is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeAlias

from packaging.requirements import Requirement
from PySide6 import QtCore, QtWidgets

Requirements: TypeAlias = str | Requirement | list[str | Requirement]
#: So long a dialog of Slicer's is open.
SEEN_MS = 500


def i18n() -> ModuleType:
    """``slicer.i18n`` in English: every text is its own translation."""
    module = ModuleType("slicer.i18n")
    module.tr, module.translate = lambda text: text, lambda context, text: text
    return module


# Packages


@dataclass
class Packaging:
    """``slicer.packaging``, of what looks for packages: it looks for real.

    Attributes:
        missing: names of packages to take for not installed.
    """

    missing: set[str] = field(default_factory=set)

    def clear(self) -> None:
        """Forgets what was feigned."""
        self.missing.clear()

    def module(self) -> ModuleType:
        """The module itself."""
        module = ModuleType("slicer.packaging")
        module.load_requirements, module.pip_check = self.load_requirements, self.pip_check
        return module

    @staticmethod
    def load_requirements(path: str | Path) -> list[Requirement]:
        lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
        return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]

    def pip_check(self, req: Requirements) -> bool:
        applying = (r for r in _as_list(req) if r.marker is None or r.marker.evaluate())
        return all(r.name not in self.missing and _satisfied(r) for r in applying)


def _as_list(requirements: Requirements) -> list[Requirement]:
    several = requirements if isinstance(requirements, list) else [requirements]
    return [Requirement(r) if isinstance(r, str) else r for r in several]


def _satisfied(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


class PyTorchUtilsLogic:
    """The logic of the extension PyTorch: how it calls light-the-torch."""

    @staticmethod
    def _getPipInstallArguments(
        forceComputationBackend: str | None = None, torchVersionRequirement: str | None = None
    ) -> list[str]:
        backend = [f"--pytorch-computation-backend={forceComputationBackend}"] if forceComputationBackend else []
        return ["install", "torch" + (torchVersionRequirement or ""), "torchvision", *backend]


def pytorch_utils() -> ModuleType:
    """The module ``PyTorchUtils``."""
    module = ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    return module


# DICOM


@dataclass
class DicomDatabase:
    """``slicer.dicomDatabase``: where the files of instances lie; a test adds them as an import does."""

    paths: dict[str, str] = field(default_factory=dict)
    isOpen: bool = True

    def fileForInstance(self, sopInstanceUID: str) -> str:
        return self.paths.get(sopInstanceUID, "")

    def instanceValue(self, sopInstanceUID: str, tag: str) -> str:
        import pydicom

        path = self.fileForInstance(sopInstanceUID)
        group, element = (int(part, 16) for part in tag.split(","))
        found = pydicom.dcmread(path, stop_before_pixels=True).get((group, element)) if path else None
        return str(found.value) if found is not None else ""

    def clear(self) -> None:
        """Forgets all files."""
        self.paths.clear()
        self.isOpen = True


@dataclass
class DicomExportDialogs:
    """The dialogs of Slicer's DICOM export that were shown: what was selected in each, by its name, and chosen.

    As in Slicer the list is filled once the dialog is open, the first entry is chosen, and entries end with a plugin.
    """

    selected: list[str] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Forgets all dialogs."""
        self.selected.clear()
        self.chosen.clear()

    def dialog(self) -> type:
        """``slicer.qSlicerDICOMExportDialog``."""
        shown, chosen = self.selected, self.chosen

        class qSlicerDICOMExportDialog:
            def __init__(self, parent: Any = None) -> None:
                self._scene: Any = None

            def setMRMLScene(self, scene: Any) -> None:
                self._scene = scene

            def execDialog(self, itemToSelect: int = 0) -> bool:
                import slicer

                shown.append(self._scene.GetSubjectHierarchyNode().GetItemName(itemToSelect))
                window = QtWidgets.QDialog()
                choices = QtWidgets.QListWidget(window)
                choices.setObjectName("ExportablesListWidget")

                def fill() -> None:
                    choices.addItems([f"Export (50%, 1 series) ({name})" for name in slicer.modules.dicomPlugins])
                    choices.setCurrentRow(0)

                QtCore.QTimer.singleShot(0, fill)
                window.show()
                seen = QtCore.QEventLoop()
                QtCore.QTimer.singleShot(SEEN_MS, seen.quit)
                seen.exec()
                item = choices.currentItem()
                chosen.append(item.text() if item is not None else "")
                window.deleteLater()
                return False

        return qSlicerDICOMExportDialog


# Sample data


@dataclass
class SampleDataSource:
    """An entry of the Sample Data module; the parameters of ``registerCustomSampleDataSource``."""

    category: str | None = None
    sampleName: str | None = None
    uris: Any = None
    fileNames: Any = None
    nodeNames: Any = None
    customDownloader: Callable[[SampleDataSource], Any] | None = None
    thumbnailFileName: str | None = None
    loadFileType: Any = "VolumeFile"
    loadFiles: Any = None
    loadFileProperties: dict[str, Any] = field(default_factory=dict)
    checksums: Any = None

    def __post_init__(self) -> None:
        """As in Slicer, where it is easily overlooked, as one fails at the start of the application only."""
        lists = [_as_items(each) for each in (self.uris, self.fileNames, self.nodeNames)]
        if len({len(each) for each in lists}) != 1:
            raise ValueError(f"uris, fileNames and nodeNames must have the same length, got {lists}")


def _as_items(value: Any) -> list[Any]:
    """One or several, as a list; raises ``TypeError`` for None."""
    return [value] if isinstance(value, str) else list(value)


class SampleDataLogic:
    """``SampleData.SampleDataLogic``: keeps what is registered; only a source that makes its data itself can be had."""

    sources: ClassVar[list[SampleDataSource]] = []

    @staticmethod
    def registerCustomSampleDataSource(**parameters: Any) -> None:
        SampleDataLogic.sources.append(SampleDataSource(**parameters))

    def downloadSample(self, name: str) -> list[Any]:
        source = next((source for source in self.sources if source.sampleName == name), None)
        if source is None or source.customDownloader is None:
            raise ValueError(f"no sample {name!r} that is made locally; registered: {self.sources}")
        source.customDownloader(source)
        return []


def sample_data() -> ModuleType:
    """The module ``SampleData``."""
    module = ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    module.SampleDataSource = SampleDataSource
    module.downloadSample = lambda name: SampleDataLogic().downloadSample(name)
    return module
