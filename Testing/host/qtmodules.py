"""The modules `qt` and `ctk` as Slicer's Python sees them, made of PySide6 and put into sys.modules by `install`."""

from __future__ import annotations

import os
import re
import sys
import types
import xml.etree.ElementTree as ElementTree
from typing import Any

try:
    from PySide6 import QtCore, QtGui, QtNetwork, QtSvg, QtUiTools, QtWidgets
except ImportError as error:
    raise RuntimeError(
        "Qt could not be loaded: install PySide6-Essentials 6.8.3 and, on Debian or Ubuntu, its libraries "
        f"(`apt install libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1`) [{error}]"
    ) from error

from host import dialogs, pythonqt

MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtSvg)
LAYOUT_SPACING = 3
SPACINGS = (QtWidgets.QStyle.PM_LayoutHorizontalSpacing, QtWidgets.QStyle.PM_LayoutVerticalSpacing)
uiClasses: dict[str, type] = {}


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file with the stand-in widgets; raises ValueError for what Slicer would silently pass over."""

    def load(self, device: QtCore.QIODevice, parent: Any = None) -> Any:
        """Return the root widget; an unknown class, property or signal in the file raises."""
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = root.find("connections")
        wanted = []
        if connections is not None:  # PySide6 does not know signals whose arguments are MRML nodes
            root.remove(connections)
            parts = ("sender", "signal", "receiver", "slot")
            wanted = [[one.findtext(part) for part in parts] for one in connections.findall("connection")]
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        with pythonqt.loadingUi():
            widget = super().load(buffer, parent)
        if widget is None:
            return None
        named = {child.objectName: child for child in (widget, *widget.findChildren(QtCore.QObject))}
        _check(root, named)
        for child in named.values():
            if hasattr(type(child), "_watch"):  # the section knows its rows before it is shown
                child._watch()
        for sender, signal, receiver, slot in wanted:
            named[sender].connect(signal, named[receiver], slot)
        return widget

    def createWidget(self, className: str, parent: Any = None, name: str = "") -> Any:
        """A stand-in widget for a ctk or qMRML class, Qt's own for the rest."""
        if className not in uiClasses:
            return super().createWidget(className, parent, name)
        widget = uiClasses[className](parent)
        widget.setObjectName(name)
        return widget


def _check(root: ElementTree.Element, named: dict[str, Any]) -> None:
    for element in root.iter("widget"):
        name, wanted = element.get("name"), element.get("class")
        found = named[name].className() if name in named else "nothing"
        if found != wanted and wanted != "Line":
            raise ValueError(f"Expected the .ui file's widget {name} to be a {wanted}, got {found}: add that class.")
        for one in element.findall("property"):
            if not pythonqt.hasProperty(named[name], one.get("name")) and one.get("stdset") != "0":
                raise ValueError(f"Expected properties that {wanted} has, found {one.get('name')} on {name}.")


class _Style(QtWidgets.QProxyStyle):
    """Qt's Fusion style with Slicer's spacing of layouts."""

    def pixelMetric(self, metric: Any, option: Any = None, widget: Any = None) -> int:
        """Three pixels between the items of a layout."""
        if metric in SPACINGS:
            return LAYOUT_SPACING
        return super().pixelMetric(metric, option, widget)


def _singleShot(milliseconds: int, receiver: Any, member: str | None = None) -> None:
    target = receiver if member is None else getattr(receiver, re.sub(r"\(.*", "", member.lstrip("1")))
    timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
    timer.setSingleShot(True)
    timer.connect("timeout()", target)
    timer.connect("timeout()", timer.deleteLater)
    timer.start(int(milliseconds))


def registerWidgets(*kinds: type) -> None:
    """Make stand-in classes known to .ui files by their names."""
    for kind in kinds:
        uiClasses[kind.__name__] = pythonqt.cppClass(kind)


def _qtModule() -> types.ModuleType:
    module = types.ModuleType("qt", "PySide6 with PythonQt's semantics")

    def find(name: str) -> Any:
        for source in MODULES:
            if hasattr(source, name):
                return getattr(source, name)
        raise AttributeError(f"module 'qt' has no attribute '{name}'")

    module.__getattr__ = find
    module.QUiLoader = QUiLoader
    return module


def install(platform: str | None = None) -> QtWidgets.QApplication:
    """Put `qt` and `ctk` into sys.modules, and return the one QApplication, made on the first call.

    `platform`: Qt's platform plugin ("offscreen" needs no display); by default QT_QPA_PLATFORM, then Qt's own choice.
    """
    if "qt" not in sys.modules:
        if not isinstance(QtCore.Qt.WaitCursor, int):
            raise RuntimeError("Expected PySide6 to be imported by the stand-in, found it imported before: do not.")
        if platform:
            os.environ["QT_QPA_PLATFORM"] = platform
        pythonqt.install()
        QtCore.QTimer.singleShot = staticmethod(_singleShot)
        dialogs.install()
        sys.modules["qt"] = _qtModule()
        from host import ctkwidgets

        sys.modules["ctk"] = ctkwidgets.module()
    application = QtWidgets.QApplication.instance()
    if application is None:
        application = QtWidgets.QApplication(["stand-in"])
        application.setStyle(_Style("Fusion"))
        QtWidgets.QApplication.setPalette(QtWidgets.QApplication.style().standardPalette())
    return application
