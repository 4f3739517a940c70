"""The host itself: one per process, cleared for every test."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

# Read once, when Qt's application and VTK's first window are made: draw into memory, without a display.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if sys.platform == "linux":
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtTest import QTest

from Testing.slicer.host import parameter_nodes, scripted, segment_editor, services
from Testing.slicer.host.application import Application, MainWindow, Module
from Testing.slicer.host.mouse import Mouse
from Testing.slicer.host.qt import ctk_widgets, mrml_widgets, pythonqt
from Testing.slicer.host.qt.dialogs import Dialogs, intercept
from Testing.slicer.host.qt.ui_files import UiLoader
from Testing.slicer.host.scene import Scene
from Testing.slicer.host.views.layouts import LayoutManager
from Testing.slicer.host.views.three_d_view import ThreeDView

WIDGET_MODULES = (ctk_widgets, mrml_widgets, segment_editor)  # importing them registers their widgets


class ModulePanel(mrml_widgets.qSlicerWidget):
    """``qSlicerScriptedLoadableModuleWidget``: the widget a scripted module puts its own into."""

    python: Any = None

    def self(self) -> Any:
        return self.python

    def reload(self) -> None:
        """The second half of ``slicer.util.reloadScriptedModule``: a panel of the class that was read again."""
        name = self.python.moduleName + "Widget"
        self.python = getattr(sys.modules[self.python.moduleName], name)(self)
        setattr(slicer.modules, name, self.python)
        self.python.setup()


class Host:
    """Slicer as a scripted module sees it.

    Attributes:
        scene: the ``vtkMRMLScene``, which is ``slicer.mrmlScene``.
        app: ``slicer.app``.
        window: the main window; ``app.has_main_window = False`` takes it from the module's sight.
        dialogs: modal dialogs shown, and the answers to the next ones.
        packaging: which packages ``slicer.packaging`` takes for missing.
        dicom: the DICOM database, empty for every test.
        dicom_exports: the dialogs of the DICOM export that were shown.
        mouse: in the slice views; ``click`` is its click.
        errors: exceptions that ended in a slot, a timer or an observer, where Qt and VTK drop them.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="slicer-host-")
        folder = Path(self._folder.name)
        self._qt = _start_qt(folder)
        self.dialogs, self.packaging = Dialogs(), services.Packaging()
        self.dicom, self.dicom_exports = services.DicomDatabase(), services.DicomExportDialogs()
        self.errors: list[BaseException] = []
        intercept(self.dialogs)
        self._mrml = Scene(folder)
        self.scene = self._mrml.scene
        self.app = Application(self._mrml, folder)
        self._fill_slicer()
        self.app.layout_manager = LayoutManager(self._mrml.application_logic, self.scene)
        self.mouse = Mouse(self.app.layout_manager, self.process_events)
        self.click = self.mouse.click
        self.window = MainWindow(self.app.moduleManager())
        self.window.setCentralWidget(self.app.layout_manager.viewport())
        self._panels = _panel_area(self.window)
        self._loaded: list[str] = []

    def _fill_slicer(self) -> None:
        # The wheel puts slicer.util's functions into slicer; in the application slicer.arrayFromVolume fails.
        for name in slicer.util.__all__:
            if getattr(slicer, name, None) is getattr(slicer.util, name, self):
                delattr(slicer, name)
        qt, ctk = pythonqt.make_modules()
        qt.QUiLoader = UiLoader
        modules = ModuleType("slicer.modules")
        for key, module in self.app.moduleManager().modules.items():
            setattr(modules, key, module)
        wrapper = ModuleType("slicer.parameterNodeWrapper")
        for name in ("parameterNodeWrapper", "GuiConnector", "WithinRange", "SlicerParameterNamePropertyName"):
            setattr(wrapper, name, getattr(parameter_nodes, name))
        submodules = {
            "modules": modules,
            "parameterNodeWrapper": wrapper,
            "ScriptedLoadableModule": scripted,
            "i18n": services.i18n(),
            "packaging": self.packaging.module(),
        }
        widgets = {n: cls for n, cls in pythonqt.STAND_INS.items() if not n.startswith("ctk")}
        self._names: dict[str, Any] = {**submodules, **widgets, "mrmlScene": self.scene, "app": self.app}
        self._names["dicomDatabase"] = self.dicom
        self._names["qSlicerDICOMExportDialog"] = self.dicom_exports.dialog()
        self._names |= {
            "selfTests": {},
            "qSlicerScriptedLoadableModule": Module,
            "qSlicerScriptedLoadableModuleWidget": ModulePanel,
        }
        self._modules = {f"slicer.{name}": module for name, module in submodules.items()}
        self._modules |= {"qt": qt, "ctk": ctk, "SampleData": services.sample_data()}
        self._modules["PyTorchUtils"] = services.pytorch_utils()
        self.activate()

    def activate(self) -> None:
        """Puts the host's names into ``slicer`` and ``sys.modules``, should anything have replaced them."""
        vars(slicer).update(self._names)
        sys.modules.update(self._modules)

    # Modules

    def load_module(self, path: str | Path, with_panel: bool = True) -> Any:
        """Loads a scripted module as Slicer does at its start, opens its panel, and sends ``startupCompleted()``.

        Args:
            path: the module's ``.py`` file.
            with_panel: False to run it as with ``--no-main-window``: no panel is made.

        Returns:
            The module's ``Widget`` object after ``setup`` and ``enter``; without a panel the Python module.
        """
        path = Path(path)
        name = path.stem
        python = self._import(path)
        module = Module(name, path=str(path))
        self.app.moduleManager().modules[name.lower()] = module
        setattr(slicer.modules, name.lower(), module)
        self._loaded.append(name)
        setattr(slicer.modules, name + "Instance", getattr(python, name)(module))
        self.app.has_main_window = with_panel
        if with_panel:
            self._make_panel(module, getattr(python, name + "Widget"))
        self.app.send("startupCompleted()")
        if not with_panel:
            return python
        self.window.moduleSelector().selectModule(name)
        return module.panel.self()

    @staticmethod
    def _import(path: Path) -> ModuleType:
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        python = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = python
        spec.loader.exec_module(python)
        return python

    def _make_panel(self, module: Module, widget_class: Any) -> None:
        panel = ModulePanel()
        panel.setLayout(QtWidgets.QVBoxLayout())
        panel.setMRMLScene(self.scene)
        module.panel = panel
        panel.python = widget_class(panel)
        setattr(slicer.modules, module.name + "Widget", panel.python)
        panel.python.setup()
        self._panels.setWidget(panel)

    def unload_modules(self) -> None:
        """Leaves the open module and unloads all scripted ones, which calls their ``cleanup``."""
        self.window.moduleSelector().selectModule("")
        for name in reversed(self._loaded):
            self.app.moduleManager().send("moduleAboutToBeUnloaded(QString)", name)
            module = self.app.moduleManager().modules.pop(name.lower())
            for attribute in (name.lower(), name + "Instance", name + "Widget"):
                vars(slicer.modules).pop(attribute, None)
            if module.panel is not None:
                module.panel.deleteLater()
            del sys.modules[name]
            sys.path.remove(str(Path(module.path).parent))
        self._loaded.clear()
        self.process_events()

    # The user

    def process_events(self) -> None:
        """Runs what Qt has waiting, deletions included."""
        QtWidgets.QApplication.processEvents()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)

    def raise_error(self) -> None:
        """Raises the first exception that was dropped, if any, and forgets all."""
        errors = list(self.errors)
        self.errors.clear()
        if errors:
            raise errors[0]

    def wait_until(self, condition: Callable[[], Any], what: str, seconds: float = 10.0) -> None:
        """Keeps the event loop turning until the condition holds; raises :class:`TimeoutError` that names ``what``."""
        end = time.monotonic() + seconds
        while not condition():
            self.raise_error()
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds:g} s for {what}")
            QTest.qWait(5)

    @contextmanager
    def heartbeat(self, every_ms: int = 5) -> Iterator[list[float]]:
        """Yields a list that fills with the gaps between beats of a timer, in ms: how long the GUI stood still."""
        gaps: list[float] = []
        last = time.perf_counter()

        def beat() -> None:
            nonlocal last
            now = time.perf_counter()
            gaps.append((now - last) * 1000)
            last = now

        timer = QtCore.QTimer()
        timer.timeout.connect(beat)
        timer.start(every_ms)
        try:
            yield gaps
        finally:
            timer.stop()

    def show(self, volume: Any) -> None:
        """Shows the window with a volume in all slice views, fitted."""
        self.window.show()
        slicer.util.setSliceViewerLayers(background=volume)
        self.process_events()
        self.app.layout_manager.resetSliceViews()

    def slice_view_node(self, view: str) -> Any:
        """The ``vtkMRMLSliceNode`` of a view."""
        return self.app.layout_manager.sliceWidget(view).mrmlSliceNode()

    def slice_offsets(self) -> dict[str, float]:
        """View to where its slice lies along its normal, in mm."""
        widgets = {name: self.app.layout_manager.sliceWidget(name) for name in self.app.layout_manager.sliceViewNames()}
        return {name: round(widget.mrmlSliceNode().GetSliceOffset(), 3) for name, widget in widgets.items()}

    @contextmanager
    def three_d_view(self) -> Iterator[ThreeDView]:
        """A 3D view in the free place beside the slice views, for as long as the context lasts."""
        view = ThreeDView(self.app.applicationLogic(), self.scene)
        QtWidgets.QWidget.layout(self.app.layout_manager.viewport()).addWidget(view, 0, 1)
        try:
            yield view
        finally:
            view.close_view()
            view.setParent(None)

    def screenshot(self, path: str | Path, widget: QtWidgets.QWidget | None = None) -> None:
        """Writes a picture of the window, or of one widget, as a small PNG; the folder is made."""
        self.process_events()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if not (widget or self.window).grab().save(str(path), quality=0):
            raise OSError(f"{path}: the screenshot cannot be written")

    # Life

    def clear(self) -> None:
        """Back to the state after the start: no scripted modules, an empty scene, nothing recorded."""
        self.unload_modules()
        for name in self.app.layout_manager.sliceViewNames():  # what a mouse began there ends when it leaves
            self.app.layout_manager.sliceWidget(name).sliceView().interactor().InvokeEvent("LeaveEvent")
        self.window.hide()
        self.scene_clear()
        self.app.layout_manager.reset()
        self.dialogs.clear()
        self.packaging.clear()
        self.dicom.clear()
        self.dicom_exports.clear()
        self.window.status_messages.clear()
        services.SampleDataLogic.sources.clear()
        self.app.disconnect_all()
        QtCore.QSettings().clear()
        self.app.has_main_window, self.app.testing = True, False

    def scene_clear(self) -> None:
        """Closes the scene, parameter nodes included."""
        self._mrml.clear()

    def close(self) -> None:
        """Ends the host; the process cannot start another."""
        self.clear()
        self.app.layout_manager.close()
        self.window.close()
        self._mrml.close()
        for name in self._names:
            vars(slicer).pop(name, None)
        for name in self._modules:
            sys.modules.pop(name, None)
        self._folder.cleanup()


def _start_qt(folder: Path) -> QtCore.QCoreApplication:
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(folder))
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    application.setOrganizationName("TumorSegTests")
    application.setApplicationName("Slicer")
    pythonqt.patch()
    return application


def _panel_area(window: QtWidgets.QMainWindow) -> QtWidgets.QScrollArea:
    """Where module panels are shown: at the left, as wide as by default, scrolled when they are higher."""
    area = QtWidgets.QScrollArea()
    area.setWidgetResizable(True)
    area.setMinimumWidth(440)
    dock = QtWidgets.QDockWidget(window)
    dock.setTitleBarWidget(QtWidgets.QWidget())
    dock.setWidget(area)
    window.addDockWidget(QtCore.Qt.DockWidgetArea.LeftDockWidgetArea, dock)
    return area


@contextmanager
def boot() -> Iterator[Host]:
    """Starts the host for the rest of the process and ends it at the close."""
    host = Host()
    hook = sys.excepthook

    # Qt and VTK print what is raised in a slot or an observer and go on; a test must not pass over it.
    sys.excepthook = lambda kind, value, trace: host.errors.append(value)
    try:
        yield host
    finally:
        sys.excepthook = hook
        host.close()
