"""Stand-ins for the qMRML widgets that a panel uses; the scene and the nodes that they show are the real ones."""

from __future__ import annotations

from typing import Any, ClassVar

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from host import ctkwidgets, qtmodules
from host.ctkwidgets import row, stored

ADD, REMOVE = "\x01add", "\x01remove"


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows a scene and hands it on by mrmlSceneChanged(vtkMRMLScene*)."""

    mrmlSceneChanged = Signal(object)
    CPP_SIGNALS: ClassVar = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._scene = None

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene."""
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene


class qSlicerWidget(qMRMLWidget):
    """The same, under the name that .ui files of modules use."""


def _option(name: str, default: Any, kind: Any = bool) -> Property:
    """A property of the node selector; a change shows at once."""
    key = f"_{name}"

    def write(self: Any, value: Any) -> None:
        setattr(self, key, value)
        self._refresh()

    return Property(kind, lambda self: self.__dict__.get(key, default), write)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A list of the scene's nodes of certain types, which follows nodes added, renamed and removed.

    Disabled until it has a scene. With `noneEnabled` false it selects the first node by itself when its list was empty
    before; asked for no node while there are some, it shows none and stays so until one is chosen or the list is empty.
    """

    currentNodeChanged = Signal(object)
    _chosen = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAddedByUser = Signal(object)
    CPP_SIGNALS: ClassVar = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_chosen",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
    }
    nodeTypes = _option("nodeTypes", [], "QStringList")
    hideChildNodeTypes = _option("hideChildNodeTypes", [], "QStringList")
    showChildNodeTypes = _option("showChildNodeTypes", True)
    showHidden = _option("showHidden", False)
    noneEnabled = _option("noneEnabled", False)
    addEnabled = _option("addEnabled", True)
    removeEnabled = _option("removeEnabled", True)
    noneDisplay = _option("noneDisplay", "None", str)
    editEnabled = stored(bool, "editEnabled", False)
    renameEnabled = stored(bool, "renameEnabled", False)
    baseName = stored(str, "baseName", "")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene, self._id, self._filters, self._busy = None, "", [], False
        self._askedForNone = False
        self._observed: list[tuple[Any, int]] = []
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._box.setMinimumContentsLength(8)
        row(self, self._box)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self.setFocusProxy(self._box)
        self._box.activated.connect(self._onActivated)
        self._box.currentIndexChanged.connect(self._onIndex)
        self.setEnabled(False)

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Show the nodes of this scene, or be disabled without one."""
        if scene is self._scene:
            return
        self._scene = scene
        self.setEnabled(scene is not None)
        self._refresh()

    def _observe(self, nodes: list[Any]) -> None:
        """Follow the scene and the names of the listed nodes, these alone."""
        for observed, tag in self.__dict__["_observed"]:  # also of a widget that Qt has deleted meanwhile
            observed.RemoveObserver(tag)
        self.__dict__["_observed"] = []
        if self.__dict__["_scene"] is None or not shiboken6.isValid(self):
            return
        scene = self._scene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
            self._observed.append((scene, scene.AddObserver(event, lambda *_: self._refresh())))
        for node in nodes:
            self._observed.append((node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified)))

    def _onModified(self, node: Any, _event: str) -> None:
        if not shiboken6.isValid(self) or self._box.itemText(self._box.findData(node.GetID())) != node.GetName():
            self._refresh()

    def addAttribute(self, nodeType: str, name: str, value: Any = None) -> None:
        """Show only nodes of the type that have this attribute (with this value)."""
        self._filters.append((nodeType, name, value))
        self._refresh()

    def _shows(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        for kind in self.nodeTypes:
            exact = node.GetClassName() == kind
            child = self.showChildNodeTypes and node.IsA(kind) and node.GetClassName() not in self.hideChildNodeTypes
            wanted = [(name, value) for one, name, value in self._filters if one == kind]
            if (exact or child) and all(
                node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name))
                for name, value in wanted
            ):
                return True
        return False

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        everything = map(self._scene.GetNthNode, range(self._scene.GetNumberOfNodes()))
        return [node for node in everything if self._shows(node)]

    def _refresh(self) -> None:
        if not shiboken6.isValid(self):
            self._observe([])
            return
        if self._busy or (self._scene is not None and self._scene.IsBatchProcessing()):
            return
        nodes = self._nodes()
        self._observe(nodes)
        names = {node.GetID(): node.GetName() for node in nodes}
        self._askedForNone = self._askedForNone and bool(names)
        instead = "" if self.noneEnabled or not names or self._askedForNone else next(iter(names))
        chosen = self._id if self._id in names else instead
        self._busy = True
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, "")
        for identifier, name in names.items():
            self._box.addItem(name, identifier)
        tag = self._scene.GetTagByClassName(self.nodeTypes[0]) if self._scene is not None and self.nodeTypes else "Node"
        if self.addEnabled:
            self._box.addItem(f"Create new {tag}", ADD)
        if self.removeEnabled and names:
            self._box.addItem(f"Delete current {tag}", REMOVE)
        self._box.currentIndex = self._box.findData(chosen) if chosen or self.noneEnabled else -1
        self._busy = False
        self._choose(chosen)

    def _choose(self, identifier: str) -> None:
        if identifier == self._id:
            return
        self._id = identifier
        node = self.currentNode()
        for _time in range(1 if self._nodes() else 2):  # twice that there is none when the last node goes
            self.currentNodeChanged.emit(node)
        self._chosen.emit(node is not None)
        self.currentNodeIDChanged.emit(identifier)

    def _onIndex(self, index: int) -> None:
        identifier = self._box.itemData(index)
        if not self._busy and identifier is not None and identifier not in (ADD, REMOVE):
            self._askedForNone = False
            self._choose(identifier)

    def _onActivated(self, index: int) -> None:
        identifier = self._box.itemData(index)
        if identifier == ADD:
            self.addNode()
        elif identifier == REMOVE and self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())
        else:
            self.nodeActivated.emit(self.currentNode())
        self._refresh()

    def currentNode(self) -> Any:
        """The chosen node or None."""
        return self._scene.GetNodeByID(self._id) if self._scene is not None and self._id else None

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node (or its ID); None chooses none."""
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, identifier: str | None) -> None:
        """Choose a node by its ID; one that is not in the list chooses none."""
        index = self._box.findData(identifier) if identifier else -1
        self._busy = True
        self._box.currentIndex = index if index >= 0 else self._box.findData("") if self.noneEnabled else -1
        self._busy = False
        self._askedForNone = index < 0 and bool(self._nodes())
        self._choose(identifier if index >= 0 else "")

    currentNodeID = Property(str, lambda self: self._id, setCurrentNodeID)

    def nodeCount(self) -> int:
        """How many nodes the list has."""
        return len(self._nodes())

    def addNode(self, nodeType: str | None = None) -> Any:
        """Add a bare node of the first type to the scene, without size or points, and choose it."""
        kind = nodeType or self.nodeTypes[0]
        base = self.baseName or self._scene.GetTagByClassName(kind)
        node = self._scene.AddNewNodeByClass(kind, self._scene.GenerateUniqueName(base))
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node


class qMRMLTableView(QtWidgets.QTableView):
    """The rows of a vtkMRMLTableNode, which follows the node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node, self._tag, self._scene = None, None, None
        self._rows = QtGui.QStandardItemModel(self)
        proxy = QtCore.QSortFilterProxyModel(self)
        proxy.setSourceModel(self._rows)
        self.setModel(proxy)
        self.setEditTriggers(QtWidgets.QAbstractItemView.NoEditTriggers)

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene."""
        self._scene = scene

    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene

    def setMRMLTableNode(self, node: Any) -> None:
        """Show this node, or nothing for None."""
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        if node is not None:
            self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._refresh())
        self._refresh()

    def mrmlTableNode(self) -> Any:
        """The node that is shown."""
        return self._node

    def _refresh(self) -> None:
        model, table = self._rows, self._node.GetTable() if self._node is not None else None
        model.clear()
        for column in range(table.GetNumberOfColumns() if table is not None else 0):
            model.setHorizontalHeaderItem(column, QtGui.QStandardItem(table.GetColumnName(column)))
            for line in range(table.GetNumberOfRows()):
                model.setItem(line, column, QtGui.QStandardItem(table.GetValue(line, column).ToString()))


class qMRMLSliderWidget(ctkwidgets.ctkSliderWidget):
    """A slider that in Slicer also knows units."""

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene, for its units."""


class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The container that Slicer gives a scripted module's widget."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._self, self._fill = None, None
        self.setLayout(QtWidgets.QVBoxLayout())
        self.layout().setContentsMargins(4, 4, 4, 4)
        self.layout().setAlignment(QtCore.Qt.AlignTop)

    def self(self) -> Any:
        """The Python widget in it."""
        return self._self

    def reload(self) -> None:
        """Make the Python widget anew, of the module as it is now."""
        self._fill()


WIDGETS = (
    qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox, qMRMLTableView, qMRMLSliderWidget,
    qSlicerScriptedLoadableModuleWidget,
)  # fmt: skip


def install() -> None:
    """Put the widgets where Slicer has them, in the module `slicer`, and make them known to .ui files."""
    qtmodules.registerWidgets(*WIDGETS)
    for kind in WIDGETS:
        setattr(slicer, kind.__name__, kind)
