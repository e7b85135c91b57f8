"""The real views inside Qt widgets, and the layout manager that Slicer's Python asks for them."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from host import pythonqt
from host.application import Application
from host.views import SLICE_VIEWS, FourViews, SliceView

FOUR_UP = (("Red", "1"), ("Green", "Yellow"))
RENDER_DELAY_MILLISECONDS = 30
AREA = (860, 760)
"""The pixels that the views of a layout share, in one row."""

# Closed views stay in memory, small as they are then: taken apart by the garbage collector in an order of its own, VTK
# ends the process.
_closed: list[Any] = []


def imageOf(picture: np.ndarray) -> QtGui.QImage:
    """A Qt image of (rows, columns, 3) uint8; it owns its pixels."""
    rows, columns, _ = picture.shape
    flat = np.ascontiguousarray(picture)
    return QtGui.QImage(flat.data, columns, rows, 3 * columns, QtGui.QImage.Format_RGB888).copy()


@pythonqt.cppClass
class ViewWidget(QtWidgets.QWidget):
    """One rendered view: renders when its content asks for it, and at once by `forceRender`."""

    def __init__(self, view: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._view, self._image = view, None
        self.setMinimumSize(120, 120)
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(RENDER_DELAY_MILLISECONDS)
        self._timer.connect("timeout()", self._renderShown)
        # What qMRML's views listen to as well: the displayable managers' requests and the slice's new image.
        sources = ((view.managers, vtk.vtkCommand.UpdateEvent), (view.logic, vtk.vtkCommand.ModifiedEvent))
        self._observed = [(source, source.AddObserver(event, self._onUpdate)) for source, event in sources]

    def _onUpdate(self, *_: Any) -> None:
        self.scheduleRender()

    def close(self) -> None:
        """Listen to the view no longer."""
        self._timer.stop()
        for source, tag in self._observed:
            source.RemoveObserver(tag)
        self._observed = []

    def scheduleRender(self) -> None:
        """Render soon, once for all that asks until then; a hidden view waits until it is shown."""
        if self.visible and not self._timer.active:
            self._timer.start()

    def forceRender(self) -> None:
        """Render now, in the widget's own size."""
        ratio = self.devicePixelRatioF()
        self._view.resize(max(16, round(self.width * ratio)), max(16, round(self.height * ratio)))
        self._image = imageOf(self._view.image())
        self._image.setDevicePixelRatio(ratio)
        self.update()

    def _renderShown(self) -> None:
        if self.visible:
            self.forceRender()

    def image(self) -> np.ndarray:
        """The picture, (rows, columns, 3) uint8."""
        return self._view.image()

    def renderWindow(self) -> vtk.vtkRenderWindow:
        """VTK's window."""
        return self._view.window

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        """The rendered image, black before the first."""
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtGui.QColor(0, 0, 0))
        if self._image is not None:
            painter.drawImage(self.rect, self._image)
        painter.end()

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        """Render what happened while it was hidden."""
        super().showEvent(event)
        self.scheduleRender()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        """Render in the new size."""
        super().resizeEvent(event)
        self.scheduleRender()

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        """Go through the slices."""
        if hasattr(self._view, "scroll"):
            self._view.scroll(1 if event.angleDelta().y() > 0 else -1)


@pythonqt.cppClass
class qMRMLSliceWidget(QtWidgets.QWidget):
    """A slice view as the layout manager hands it out."""

    def __init__(self, view: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._slice, self._widget = view, ViewWidget(view, self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._widget)

    def sliceView(self) -> ViewWidget:
        """The view itself."""
        return self._widget

    def sliceLogic(self) -> Any:
        """The slice's logic."""
        return self._slice.logic

    def mrmlSliceNode(self) -> Any:
        """The node that says where the slice lies."""
        return self._slice.node

    def mrmlSliceCompositeNode(self) -> Any:
        """The node that says which volumes it shows."""
        return self._slice.logic.GetSliceCompositeNode()


@pythonqt.cppClass
class qMRMLThreeDWidget(QtWidgets.QWidget):
    """The 3D view as the layout manager hands it out."""

    def __init__(self, view: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._threeD, self._widget = view, ViewWidget(view, self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._widget)

    def threeDView(self) -> ViewWidget:
        """The view itself."""
        return self._widget

    def mrmlViewNode(self) -> Any:
        """The view's node."""
        return self._threeD.node


def _describe(view: SliceView, description: ElementTree.Element) -> None:
    """Give a view the orientation, label and colour that a layout's description says."""
    said = {one.get("name"): one.text for one in description.findall("property")}
    if "orientation" in said:
        view.node.SetOrientation(said["orientation"])
    if "viewlabel" in said:
        colour = QtGui.QColor(said.get("viewcolor", "#ffffff"))
        view.node.SetLayoutLabel(said["viewlabel"])
        view.setTitle(said["viewlabel"], (colour.redF(), colour.greenF(), colour.blueF()))


@pythonqt.cppClass
class LayoutManager(QtCore.QObject):
    """The views of the layout that the scene's layout node asks for.

    The window of the stand-in goes on showing the four-up layout. Slice views of another layout are made when it is
    chosen, each as wide as its share of AREA; as in Slicer they get that size when the event loop has turned, and they
    remain, out of the layout, when another one is chosen. A scene that is closed leaves the layout node without an
    arrangement and without its attributes: it gets its last arrangement back.
    """

    def __init__(self, application: Application, size: int = 256) -> None:
        super().__init__()
        self._views = FourViews(application, size)
        self._application = application
        self._slices = {name: qMRMLSliceWidget(view) for name, view in self._views.slices.items()}
        self._threeD = qMRMLThreeDWidget(self._views.threeD)
        self._present: tuple[str, ...] = tuple(self._slices)
        self._node = application.scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        self._tag = self._node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._onLayout())
        self._lastLayout = self._node.GetViewArrangement()
        end = application.scene.EndBatchProcessEvent
        self._sceneTag = application.scene.AddObserver(end, lambda *_: self._restoreLayout())

    layout = QtCore.Property(int, lambda self: self._node.GetViewArrangement())
    threeDViewCount = QtCore.Property(int, lambda self: 1)
    tableViewCount = QtCore.Property(int, lambda self: 0)
    plotViewCount = QtCore.Property(int, lambda self: 0)

    def _restoreLayout(self) -> None:
        if self._node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutNone:
            self._node.SetViewArrangement(self._lastLayout)

    def _onLayout(self) -> None:
        if self._node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutNone:
            return
        self._lastLayout = self._node.GetViewArrangement()
        description = self._node.GetLayoutDescription(self._node.GetViewArrangement())
        root = ElementTree.fromstring(description or "<layout/>")
        views = [view for view in root.iter("view") if view.get("class") == "vtkMRMLSliceNode"]
        wanted = {view.get("singletontag"): view for view in views} or dict.fromkeys(SLICE_VIEWS)
        if tuple(wanted) == self._present:
            return
        self._present = tuple(wanted)
        for name, view in wanted.items():
            if name not in self._slices:
                self._slices[name] = qMRMLSliceWidget(SliceView(self._application, name))
            if view is not None:
                _describe(self._slices[name]._slice, view)
        for name, widget in self._slices.items():
            widget.mrmlSliceNode().SetMappedInLayout(int(name in wanted))
        added = [name for name in wanted if name not in SLICE_VIEWS]
        if added:
            share = AREA[0] // len(added), AREA[1]
            QtCore.QTimer.singleShot(0, lambda: [self._resize(name, share) for name in added])

    def _resize(self, name: str, size: tuple[int, int]) -> None:
        widget = self._slices.get(name)
        if widget is not None and shiboken6.isValid(widget):
            widget.resize(*size)
            widget._slice.resize(*size)
            widget.sliceLogic().ResizeSliceNode(*size)

    def sliceViewNames(self) -> tuple[str, ...]:
        """Every slice view that was ever made, on show or not."""
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> Any:
        """A slice view by its name, or None."""
        return self._slices.get(name)

    def threeDWidget(self, index: int) -> Any:
        """The 3D view is number 0."""
        return self._threeD if index == 0 else None

    def mrmlSliceLogics(self) -> Any:
        """All slice logics."""
        return self._application.logic.GetSliceLogics()

    def resetSliceViews(self) -> None:
        """Fit the slices to their volumes."""
        for widget in self._slices.values():
            widget._slice.fit()

    def resetThreeDViews(self) -> None:
        """Let what is shown fill the 3D view."""
        self._views.threeD.fit()

    def setLayout(self, layout: int) -> None:
        """Choose an arrangement by its number."""
        self._node.SetViewArrangement(int(layout))

    def close(self) -> None:
        """End the views, in the order that VTK needs: observers, widgets, managers, windows."""
        self._node.RemoveObserver(self._tag)
        self._application.scene.RemoveObserver(self._sceneTag)
        added = [widget._slice for name, widget in self._slices.items() if name not in SLICE_VIEWS]
        for widget in (*self._slices.values(), self._threeD):
            widget._widget.close()
            widget.delete()
        self._slices.clear()
        self._views.close()
        for view in added:
            view.close()
        _closed.append((self._views, added, self._application))

    def fourViews(self) -> FourViews:
        """The views of the stand-in, for its own use."""
        return self._views

    def gridWidget(self) -> QtWidgets.QWidget:
        """The four views in one widget, two by two."""
        widget = QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(widget)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        for line, names in enumerate(FOUR_UP):
            for column, name in enumerate(names):
                grid.addWidget(self._slices.get(name, self._threeD), line, column)
        return widget
