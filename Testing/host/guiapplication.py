"""The stand-in for the Slicer application with its Qt side: `slicer.app`, the module manager, panels of modules.

Scene, logics and views are the real ones of slicer-core; the widgets are those of ctkwidgets.py and qmrmlwidgets.py.
What runs here has not run in Slicer.
"""

from __future__ import annotations

import tempfile
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shiboken6
import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from host import pythonqt, qmrmlwidgets, qtmodules, scripted
from host.application import VERSION, Application, loadScriptedModule, makeApplication
from host.viewwidgets import LayoutManager


class qSlicerScriptedLoadableModule:
    """What a scripted module gets as its parent, and what `slicer.modules.<name>` is."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        self.title, self.categories, self.dependencies, self.contributors = path.stem, [], [], []
        self.helpText = self.acknowledgementText = ""
        self.icon = None
        self._panel: Panel | None = None

    def widgetRepresentation(self) -> Any:
        """The container of the module's panel, opened on the first call."""
        return (self._panel or slicer.app.openPanel(self)).container

    def createNewWidgetRepresentation(self) -> Any:
        """A container with another panel of the module."""
        return slicer.app.openPanel(self).container

    def logic(self) -> Any:
        """A scripted module's logic belongs to its widget."""
        return self.widgetRepresentation().self().logic


@dataclass
class Panel:
    """A module's panel: the Qt container and the module's own widget object."""

    module: qSlicerScriptedLoadableModule
    container: Any
    widget: Any

    def close(self) -> None:
        """Clean up and delete the panel, as when Slicer ends."""
        if not shiboken6.isValid(self.container):
            return
        self.widget.cleanup()
        self.container.delete()
        self.module._panel = None


@pythonqt.cppClass
class ModuleManager(QtCore.QObject):
    """The loaded modules by name."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def module(self, name: str) -> Any:
        """The module, or None."""
        return getattr(slicer.modules, name.lower(), None)


@pythonqt.cppClass
class ExtensionsModel(QtCore.QObject):
    """The installed extensions; a test adds their names to `installed`."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._installed: set[str] = set()

    @property
    def installed(self) -> set[str]:
        """The names of the installed extensions."""
        return self._installed

    def isExtensionInstalled(self, name: str) -> bool:
        """Whether an extension is installed."""
        return name in self._installed


@pythonqt.cppClass
class SlicerApp(QtCore.QObject):
    """`slicer.app`."""

    startupCompleted = Signal()
    aboutToQuit = Signal()
    applicationName = Property(str, lambda self: "Slicer")
    applicationVersion = Property(str, lambda self: "{}.{}.0".format(*self._version))
    majorVersion = Property(int, lambda self: self._version[0])
    minorVersion = Property(int, lambda self: self._version[1])
    temporaryPath = Property(str, lambda self: self._temporaryPath)
    slicerHome = Property(str, lambda self: self._temporaryPath)

    def __init__(self, application: Application, temporaryPath: str) -> None:
        super().__init__()
        self._application, self._temporaryPath = application, temporaryPath
        self._moduleManager, self._extensions = ModuleManager(self), ExtensionsModel(self)
        self._settings = QtCore.QSettings(str(Path(temporaryPath, "settings.ini")), QtCore.QSettings.IniFormat)
        self._layoutManager: LayoutManager | None = None
        self._panels: list[Panel] = []
        self._version, self._testing = VERSION, False

    @property
    def hostApplication(self) -> Application:
        """The scene and the logics."""
        return self._application

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._application.scene

    def applicationLogic(self) -> Any:
        """The application logic."""
        return self._application.logic

    def layoutManager(self) -> LayoutManager:
        """The views; rendering begins with the first call."""
        if self._layoutManager is None:
            self._layoutManager = LayoutManager(self._application)
        return self._layoutManager

    def moduleManager(self) -> ModuleManager:
        """The loaded modules."""
        return self._moduleManager

    def extensionsManagerModel(self) -> ExtensionsModel:
        """The installed extensions."""
        return self._extensions

    def settings(self) -> QtCore.QSettings:
        """The settings, in a file of the temporary folder."""
        return self._settings

    userSettings = revisionUserSettings = settings

    def testingEnabled(self) -> bool:
        """Whether it was started with --testing; False: messages take the way that users see, and are recorded."""
        return self._testing

    def setTesting(self, on: bool) -> None:
        """Be as after a start with --testing, or as a user sees it."""
        self._testing = bool(on)

    def setVersion(self, major: int, minor: int) -> None:
        """Say that this is another version of Slicer; `host.older` gives also what that version lacks."""
        self._version = (major, minor)

    def commandOptions(self) -> Any:
        """The options of the command line."""
        return types.SimpleNamespace(testingEnabled=self._testing)

    def processEvents(self, *_: Any) -> None:
        """Let the event loop deliver what is pending."""
        QtWidgets.QApplication.processEvents()

    def topLevelWidgets(self) -> list[Any]:
        """All windows."""
        return [widget for widget in QtWidgets.QApplication.topLevelWidgets() if shiboken6.isValid(widget)]

    def setOverrideCursor(self, cursor: Any) -> None:
        """Show this cursor everywhere."""
        QtWidgets.QApplication.setOverrideCursor(QtGui.QCursor(cursor))

    def restoreOverrideCursor(self) -> None:
        """Undo one setOverrideCursor."""
        QtWidgets.QApplication.restoreOverrideCursor()

    def clipboard(self) -> Any:
        """The clipboard."""
        return QtWidgets.QApplication.clipboard()

    def pauseRender(self) -> None:
        """Rendering here waits for the event loop anyway."""

    def resumeRender(self) -> None:
        """See pauseRender."""

    def openPanel(self, module: qSlicerScriptedLoadableModule) -> Panel:
        """Make a panel of a loaded module, as Slicer does when the module is first chosen."""
        container = qmrmlwidgets.qSlicerScriptedLoadableModuleWidget()
        container.setObjectName(module.name + "ModuleWidget")
        container.setMRMLScene(self._application.scene)
        panel = Panel(module, container, None)
        container._fill = lambda: self._fillPanel(panel)
        container.reload()
        module._panel = module._panel or panel
        self._panels.append(panel)
        return panel

    def _fillPanel(self, panel: Panel) -> None:
        """Make the module's widget anew in the panel's container."""
        module, container = panel.module, panel.container
        panel.widget = getattr(loadScriptedModule(module.path), module.name + "Widget")(container)
        container._self = panel.widget
        setattr(slicer.modules, module.name + "Widget", panel.widget)
        panel.widget.setup()


@pythonqt.cppClass
class ModuleSelector(QtCore.QObject):
    """The list of modules in the main window."""

    moduleSelected = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._selected = ""

    selectedModule = Property(str, lambda self: self._selected)

    def selectModule(self, name: str) -> None:
        """Leave the chosen module's panel and enter another one's."""
        manager = slicer.app.moduleManager()
        for method, chosen in (("exit", manager.module(self._selected)), ("enter", manager.module(name))):
            if chosen is not None and hasattr(chosen, "widgetRepresentation"):
                getattr(chosen.widgetRepresentation().self(), method, lambda: None)()
        self._selected = name
        self.moduleSelected.emit(name)


@pythonqt.cppClass
class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The main window: messages are shown over it, its status bar speaks."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = ModuleSelector(self)

    def moduleSelector(self) -> ModuleSelector:
        """The list of modules."""
        return self._selector


@dataclass
class GuiApplication:
    """The stand-in's parts that a test or a program holds."""

    application: Application
    app: SlicerApp
    mainWindow: qSlicerMainWindow
    panels: list[Panel] = field(default_factory=list)
    _temporary: Any = None

    @property
    def scene(self) -> Any:
        """The scene."""
        return self.application.scene

    def loadModule(self, path: str | Path) -> qSlicerScriptedLoadableModule:
        """Load a scripted module's file as Slicer does at its start."""
        path = Path(path).resolve()
        module = qSlicerScriptedLoadableModule(path)
        setattr(slicer.modules, path.stem.lower(), module)
        instance = getattr(loadScriptedModule(path), path.stem)(module)
        setattr(slicer.modules, path.stem + "Instance", instance)
        self.app.moduleManager().moduleLoaded.emit(path.stem)
        return module

    def openPanel(self, path: str | Path) -> Panel:
        """Load a module and make a panel of it; `close` of the application closes it."""
        return self.app.openPanel(self.loadModule(path))

    def close(self) -> None:
        """End as Slicer does: aboutToQuit, the panels' cleanup, the windows' end."""
        if not shiboken6.isValid(self.app):
            return
        self.app.aboutToQuit.emit()
        for panel in self.app._panels:
            panel.close()
        if self.app._layoutManager is not None:
            self.app._layoutManager.close()
        self.mainWindow.delete()
        self.app.delete()
        if self._temporary is not None:
            self._temporary.cleanup()


def install() -> None:
    """Make everything importable that a panel's code imports: qt, ctk, and what slicer-core lacks of slicer."""
    qtmodules.install()
    qmrmlwidgets.install()
    scripted.install(slicer)
    slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule


def makeGuiApplication(temporaryPath: str | Path | None = None) -> GuiApplication:
    """A fresh scene with `slicer.app`, main window and widgets in their places.

    `temporaryPath`: what `slicer.app.temporaryPath` answers, also the place of the settings (default: a new folder).
    """
    install()
    temporary = None
    if temporaryPath is None:
        temporary = tempfile.TemporaryDirectory(prefix="slicer-stand-in-", ignore_cleanup_errors=True)
        temporaryPath = temporary.name
    application = makeApplication(temporaryPath)
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(temporaryPath))
    slicer.app = SlicerApp(application, str(temporaryPath))
    return GuiApplication(application, slicer.app, qSlicerMainWindow(), _temporary=temporary)
