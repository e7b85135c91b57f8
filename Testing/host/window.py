"""A module's panel beside the rendered views in one window, on a desktop or as a picture."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from host.eventloop import turn
from host.guiapplication import GuiApplication, Panel, makeGuiApplication

PANEL_WIDTH = 420
TITLE = "{module}: stand-in for 3D Slicer"


def arrange(application: GuiApplication, panel: Panel, width: int = 1280, height: int = 800) -> Any:
    """Put a panel and the views into the application's main window, in Slicer's arrangement; shows and returns it."""
    window = application.mainWindow
    scroll = QtWidgets.QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
    scroll.setWidget(panel.container)
    scroll.setMinimumWidth(PANEL_WIDTH)
    splitter = QtWidgets.QSplitter()
    splitter.addWidget(scroll)
    splitter.addWidget(application.app.layoutManager().gridWidget())
    splitter.setStretchFactor(1, 1)
    window.setCentralWidget(splitter)
    window.setWindowTitle(TITLE.format(module=panel.module.title))
    window.statusBar().showMessage("Stand-in for 3D Slicer: the scene and the views are Slicer's, the widgets are not")
    window.resize(width, height)
    window.show()
    turn()
    renderViews(application)
    return window


def renderViews(application: GuiApplication) -> None:
    """Render all views now, in their widgets' sizes."""
    manager = application.app.layoutManager()
    for name in manager.fourViews().slices:
        manager.sliceWidget(name).sliceView().forceRender()
    manager.threeDWidget(0).threeDView().forceRender()


def neededHeight(widget: Any, width: int) -> int:
    """The height at which nothing of the widget is cut off."""
    forWidth = widget.heightForWidth(width) if widget.hasHeightForWidth() else 0
    hint = widget.minimumSizeHint
    return max(forWidth, (hint() if callable(hint) else hint).height())


def grab(
    widget: Any, path: str | Path, width: int | None = None, height: int | None = None, scale: float = 1.0
) -> Path:
    """Write a widget as a PNG of `scale` pixels to its layout's unit, text drawn at that scale; returns the path.

    `width` and `height` are those of a window or of a widget without a parent (default: as wide as it is, as high as it
    then needs); a widget inside a window keeps its size, and what it leaves empty at its bottom is cut off. Raises
    RuntimeError if the picture cannot be written.
    """
    if not widget.visible:
        widget.show()
    if widget.isWindow():
        width = width or widget.width
        widget.resize(width, height or neededHeight(widget, width))
        turn()
    height = widget.height if widget.isWindow() else min(widget.height, neededHeight(widget, widget.width))
    image = QtGui.QImage(round(widget.width * scale), round(height * scale), QtGui.QImage.Format_RGB32)
    image.setDevicePixelRatio(scale)
    image.fill(widget.palette.color(QtGui.QPalette.Window))
    widget.render(image)
    if not image.save(str(path)):
        raise RuntimeError(f"The picture could not be written as {path}: check that the folder exists and is writable.")
    return Path(path)


@contextlib.contextmanager
def textScale(factor: float) -> Iterator[None]:
    """Larger (or smaller) text in all widgets, as on a desktop with scaled text."""
    before = QtWidgets.QApplication.font()
    larger = QtGui.QFont(before)
    larger.setPointSizeF(before.pointSizeF() * factor)
    QtWidgets.QApplication.setFont(larger)
    turn()
    try:
        yield
    finally:
        QtWidgets.QApplication.setFont(before)
        turn()


def openWindow(modulePath: str | Path, volume: Any = None) -> GuiApplication:
    """A fresh application whose window shows a module's panel, with a volume (of the engine) in scene and views."""
    application = makeGuiApplication()
    panel = application.openPanel(modulePath)
    if volume is not None:
        from DiffusionReconLib.scene.volumes import nodeFromVolume

        node = nodeFromVolume(volume, "Input")
        node.CreateDefaultDisplayNodes()
    arrange(application, panel)
    if volume is not None:
        slicer.util.setSliceViewerLayers(background=node)
        application.app.layoutManager().fourViews().fit()
        renderViews(application)
    return application


def run(modulePath: str | Path, volume: Any = None) -> int:
    """Open the window and let the user work until it is closed; returns the exit code."""
    application = openWindow(modulePath, volume)
    code = QtWidgets.QApplication.instance().exec()
    application.close()
    return code
