"""``slicer.app``, the main window and the modules as the application keeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from Testing.slicer.host.input_output import IOManager
from Testing.slicer.host.scene import Scene

VERSION = (5, 12)


class Signals:
    """``connect`` and ``disconnect`` of an object of the application; ``SIGNALS`` are those it has."""

    SIGNALS: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._connected: list[tuple[str, Callable[..., Any]]] = []

    def connect(self, signal: str, function: Callable[..., Any]) -> bool:
        if signal.replace(" ", "") not in self.SIGNALS:
            raise ValueError(f"{type(self).__name__} has no signal {signal}; there is {', '.join(self.SIGNALS)}")
        self._connected.append((signal.replace(" ", ""), function))
        return True

    def disconnect(self, signal: str, function: Callable[..., Any]) -> bool:
        entry = (signal.replace(" ", ""), function)
        if entry not in self._connected:
            return False
        self._connected.remove(entry)
        return True

    def connections(self, signal: str) -> int:
        """How many functions a signal would call; for the tests."""
        return sum(name == signal for name, _function in self._connected)

    def disconnect_all(self) -> None:
        """Forgets what tests and their modules connected."""
        self._connected.clear()

    def send(self, signal: str, *arguments: Any) -> None:
        """Calls what is connected, as the application would; for the tests."""
        for name, function in list(self._connected):
            if name == signal:
                function(*arguments)


class Module:
    """An entry of ``slicer.modules``; a scripted one carries what its class says of itself."""

    def __init__(self, name: str, logic: Any = None, path: str = "") -> None:
        self.name, self.path = name, path
        self.hidden, self.icon = False, QtGui.QIcon()
        self._logic = logic
        self.panel: Any = None

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> Any:
        return self.panel


class ModuleManager(Signals):
    """``slicer.app.moduleManager()``."""

    SIGNALS = ("moduleAboutToBeUnloaded(QString)", "moduleLoaded(QString)")

    def __init__(self) -> None:
        super().__init__()
        self.modules: dict[str, Module] = {}

    def module(self, name: str) -> Module | None:
        return self.modules.get(name.lower())

    def factoryManager(self) -> ModuleManager:
        return self

    def loadedModuleNames(self) -> list[str]:
        return [module.name for module in self.modules.values()]

    def isLoaded(self, name: str) -> bool:
        return name.lower() in self.modules


class ModuleSelector:
    """The selector of the main window: opens modules, so calls ``enter`` and ``exit``."""

    def __init__(self, manager: ModuleManager) -> None:
        self._manager = manager
        self.selectedModule = ""

    def selectModule(self, name: str) -> None:
        if name and not self._manager.isLoaded(name):
            raise RuntimeError(f"no module {name!r}; loaded: {', '.join(self._manager.loadedModuleNames())}")
        if name == self.selectedModule:
            return
        for which, call in ((self.selectedModule, "exit"), (name, "enter")):
            module = self._manager.module(which)
            if module is not None and module.panel is not None:
                module.panel.setVisible(call == "enter")
                getattr(module.panel.self(), call)()
        self.selectedModule = name


class MainWindow(QtWidgets.QMainWindow):
    """``slicer.util.mainWindow()``: panel on the left, slice views on the right.

    What its status bar says is written down, and how often the error log was opened.
    """

    def __init__(self, manager: ModuleManager) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.status_messages: list[str] = []
        self.statusBar().messageChanged.connect(lambda text: self.status_messages.append(text) if text else None)
        self._selector = ModuleSelector(manager)
        self.error_log_opened = 0
        log = QtGui.QAction("&Error Log", self)
        log.setObjectName("WindowErrorLogAction")
        log.triggered.connect(self._open_error_log)
        self.resize(1280, 900)

    def moduleSelector(self) -> ModuleSelector:
        return self._selector

    def _open_error_log(self) -> None:
        self.error_log_opened += 1


class Application(Signals):
    """``slicer.app``."""

    SIGNALS = ("startupCompleted()", "lastWindowClosed()", "aboutToQuit()")

    applicationName = "Slicer"
    applicationVersion = ".".join(map(str, (*VERSION, 0)))
    majorVersion, minorVersion = VERSION

    def __init__(self, scene: Scene, folder: Path) -> None:
        super().__init__()
        self._scene = scene
        self._io = IOManager(scene)
        self._modules = ModuleManager()
        self._modules.modules = {name.lower(): Module(name, logic) for name, logic in scene.logics.items()}
        self.temporaryPath = self.slicerHome = str(folder)
        #: Set to False to run as with --no-main-window.
        self.has_main_window = True
        self.testing = False
        self.layout_manager: Any = None

    def mrmlScene(self) -> Any:
        return self._scene.scene

    def applicationLogic(self) -> Any:
        return self._scene.application_logic

    def coreIOManager(self) -> IOManager:
        return self._io

    ioManager = coreIOManager

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def layoutManager(self) -> Any:
        return self.layout_manager if self.has_main_window else None

    def testingEnabled(self) -> bool:
        return self.testing

    def commandOptions(self) -> Any:
        return SimpleNamespace(noMainWindow=not self.has_main_window, testingEnabled=self.testing)

    def topLevelWidgets(self) -> list[QtWidgets.QWidget]:
        widgets = QtWidgets.QApplication.topLevelWidgets()
        return [w for w in widgets if self.has_main_window or not isinstance(w, MainWindow)]

    def userSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    settings = userSettings

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def installEventFilter(self, watcher: QtCore.QObject) -> None:
        QtWidgets.QApplication.instance().installEventFilter(watcher)

    def removeEventFilter(self, watcher: QtCore.QObject) -> None:
        QtWidgets.QApplication.instance().removeEventFilter(watcher)

    def setOverrideCursor(self, cursor: Any) -> None:
        QtWidgets.QApplication.setOverrideCursor(QtGui.QCursor(cursor))

    def restoreOverrideCursor(self) -> None:
        QtWidgets.QApplication.restoreOverrideCursor()

    def translate(self, context: str, text: str) -> str:
        return text

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"
