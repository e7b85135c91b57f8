"""The stand-in's ctk and qMRML widgets: properties, signals by their C++ signatures, and the real scene behind them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import ctk
import numpy as np
import pytest
import qt
import slicer
from host import dialogs, signals
from host.eventloop import turn, waitUntil
from host.guiapplication import GuiApplication
from slicer.parameterNodeWrapper import parameterNodeWrapper

VOLUME = "vtkMRMLScalarVolumeNode"


@parameterNodeWrapper
class Parameters:
    """No widget has a parameter of this name."""

    nothing: bool = False


def selector(scene: Any, **properties: Any) -> Any:
    """A node selector of scalar volumes with these properties."""
    made = slicer.qMRMLNodeComboBox()
    made.nodeTypes = [VOLUME]
    for name, value in properties.items():
        setattr(made, name, value)
    made.setMRMLScene(scene)
    return made


def items(combo: Any) -> list[str]:
    """The texts of a selector's list."""
    box = combo.findChild("QComboBox")
    return [box.itemText(index) for index in range(box.count)]


def test_standInSelectorIsDisabledWithoutScene(application: GuiApplication) -> None:
    made = slicer.qMRMLNodeComboBox()
    assert not made.enabled
    made.setMRMLScene(application.scene)
    assert made.enabled
    made.setMRMLScene(None)
    assert not made.enabled


def test_standInSelectorFollowsTheScene(application: GuiApplication) -> None:
    made, got = selector(application.scene, addEnabled=False, removeEnabled=False), []
    made.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    assert made.currentNode() is None
    first = application.scene.AddNewNodeByClass(VOLUME, "first")
    second = application.scene.AddNewNodeByClass(VOLUME, "second")
    application.scene.AddNewNodeByClass("vtkMRMLModelNode", "model")
    assert items(made) == ["first", "second"]
    assert made.currentNode() is first  # noneEnabled is false: the first node by itself
    second.SetName("other")
    assert items(made) == ["first", "other"]
    application.scene.RemoveNode(first)
    assert made.currentNode() is second
    application.scene.RemoveNode(second)
    assert made.currentNode() is None
    assert [node and node.GetName() for node in got] == ["first", "other", None, None]


def test_standInSelectorAskedForNone(application: GuiApplication) -> None:
    """With noneEnabled false a connector that writes None leaves it without a node, although there are some."""
    scene = application.scene
    first = scene.AddNewNodeByClass(VOLUME, "first")
    made = selector(scene)
    assert made.currentNode() is first
    made.setCurrentNode(None)
    assert (made.currentNode(), made.findChild("QComboBox").currentIndex) == (None, -1)
    second = scene.AddNewNodeByClass(VOLUME, "second")
    first.SetName("other")
    assert made.currentNode() is None
    made.setCurrentNode(second)
    scene.RemoveNode(second)
    assert made.currentNode() is first
    made.setCurrentNode(None)
    scene.RemoveNode(first)
    again = scene.AddNewNodeByClass(VOLUME, "again")  # the list was empty before
    assert made.currentNode() is again


def test_standInSelectorWithNone(application: GuiApplication) -> None:
    node = application.scene.AddNewNodeByClass(VOLUME, "volume")
    made, identifiers = selector(application.scene, noneEnabled=True, noneDisplay="Nothing"), []
    made.connect("currentNodeIDChanged(QString)", identifiers.append)
    assert made.currentNode() is None
    assert items(made)[0] == "Nothing"
    made.setCurrentNode(node)
    assert made.currentNodeID == node.GetID()
    made.currentNodeID = ""
    assert made.currentNode() is None
    assert identifiers == [node.GetID(), ""]
    assert isinstance(made.nodeTypes, tuple)


def test_standInSelectorHidesAndFilters(application: GuiApplication) -> None:
    scene = application.scene
    for name, hidden in (("shown", False), ("hidden", True)):
        scene.AddNewNodeByClass(VOLUME, name).SetHideFromEditors(hidden)
    label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "label")
    made = selector(scene)
    assert made.nodeCount() == 2
    made.showChildNodeTypes = False
    assert made.nodeCount() == 1
    made.showChildNodeTypes = True
    label.SetAttribute("Some", "1")
    made.addAttribute(VOLUME, "Some", "1")
    assert made.currentNode() is label


def test_standInSelectorMakesNodes(application: GuiApplication) -> None:
    made = selector(application.scene, noneEnabled=True, baseName="Result")
    made.nodeTypes = ["vtkMRMLMarkupsROINode"]
    node = made.addNode()
    assert (node.GetName(), made.currentNode()) == ("Result", node)
    assert (node.GetSize(), node.GetNumberOfControlPoints()) == ((0, 0, 0), 0)  # a bare node
    box = made.findChild("QComboBox")
    box.activated.emit(items(made).index("Create new MarkupsROI"))
    assert made.nodeCount() == 2


def test_standInSelectorOfADeletedPanel(application: GuiApplication) -> None:
    """After Qt has deleted it, the scene's events no longer reach it."""
    selector(application.scene).delete()
    application.scene.AddNewNodeByClass(VOLUME, "later")
    application.scene.AddNewNodeByClass(VOLUME, "last")


def test_standInTableFollowsItsNode(application: GuiApplication) -> None:
    node = application.scene.AddNewNodeByClass("vtkMRMLTableNode", "table")
    slicer.util.updateTableFromArray(node, [np.array([1.5, 2.5])], ["Volume"])
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(node)
    model = view.model()
    assert (model.rowCount(), model.data(model.index(1, 0))) == (2, "2.5")
    slicer.util.updateTableFromArray(node, [np.array([1.0, 2.0, 3.0])], ["Volume"])
    assert model.rowCount() == 3


@pytest.mark.parametrize("kind", ["ctkSliderWidget", "ctkDoubleSpinBox"])
def test_standInNumbers(kind: str) -> None:
    widget, got = getattr(ctk, kind)(), []
    widget.connect("valueChanged(double)", got.append)
    widget.minimum, widget.maximum, widget.decimals = -10, 10.0, 1
    widget.suffix = " HU"
    widget.value = 4
    assert (widget.value, got) == (4.0, [4.0])
    widget.setValue(99)
    assert widget.value == 10.0
    with pytest.raises(AttributeError, match="does not exist"):
        widget.foo = 1
    with pytest.raises(AttributeError, match="does not accept"):
        widget.value = "8"


def test_standInSliderMovesItsBox() -> None:
    widget = ctk.ctkSliderWidget()
    widget.maximum = 50
    widget.findChild("QSlider").value = 500
    assert widget.value == 25.0


def test_standInRange() -> None:
    widget, got = ctk.ctkRangeWidget(), []
    widget.connect("valuesChanged(double,double)", lambda low, high: got.append((low, high)))
    widget.setRange(0, 20)
    widget.setValues(3, 7)
    assert (widget.minimumValue, widget.maximumValue, got[-1]) == (3.0, 7.0, (3.0, 7.0))
    widget.minimumValue = 9
    assert (widget.minimumValue, widget.maximumValue) == (9.0, 9.0)


def test_standInPath(tmp_path: Path, recordedDialogs: dialogs.Recorder) -> None:
    widget, paths, valid = ctk.ctkPathLineEdit(), [], []
    widget.connect("currentPathChanged(QString)", paths.append)
    widget.connect("validInputChanged(bool)", valid.append)
    widget.currentPath = str(tmp_path / "none")
    widget.filters = ctk.ctkPathLineEdit.Dirs
    recordedDialogs.answer(str(tmp_path))
    widget.browse()
    assert (widget.currentPath, valid) == (str(tmp_path), [True])
    assert paths == [str(tmp_path / "none"), str(tmp_path)]


def test_standInPathIsSilentAboutInvalidText() -> None:
    """An empty text, and one that does not end as the filters say: only the line inside tells."""
    widget, paths, valid, texts = ctk.ctkPathLineEdit(), [], [], []
    widget.nameFilters = ["Geometries (*.json)"]
    widget.connect("currentPathChanged(QString)", paths.append)
    widget.connect("validInputChanged(bool)", valid.append)
    widget.findChildren("QLineEdit")[0].connect("textChanged(QString)", texts.append)
    for text in ("a.json", "a.nrrd", "b.json", ""):
        widget.currentPath = text
    assert (widget.currentPath, paths) == ("", ["a.json", "b.json"])
    assert texts == ["a.json", "a.nrrd", "b.json", ""]
    assert valid == [True, False, True, False]


def test_standInSectionFolds() -> None:
    section, got = ctk.ctkCollapsibleButton(), []
    section.text = "Advanced"
    section.connect("contentsCollapsed(bool)", got.append)
    label = qt.QLabel("inside")
    qt.QVBoxLayout(section).addWidget(label)
    section.show()
    turn()
    high = section.height
    section.collapsed = True
    section.adjustSize()
    assert not label.isVisible()
    assert section.height < high
    section.click()
    assert (section.collapsed, label.isVisible(), got) == (False, True, [True, False])


def test_standInSectionIsAsWideAsItsContentsUnlessAllowed() -> None:
    section = ctk.ctkCollapsibleButton()
    policy = section.sizePolicy
    assert (policy.horizontalPolicy(), policy.verticalPolicy()) == (qt.QSizePolicy.Minimum, qt.QSizePolicy.Preferred)


@pytest.mark.parametrize(("within", "seen"), [(False, True), (True, False)])
def test_standInSectionManagesItsOwnChildrenAlone(within: bool, seen: bool) -> None:
    """Before its first show it cannot hide what is made visible; what lies in a child of its own is hidden with it."""
    page, section = qt.QWidget(), ctk.ctkCollapsibleButton()
    qt.QVBoxLayout(page).addWidget(section)
    rows, row = qt.QWidget(), qt.QLabel("row")
    qt.QVBoxLayout(section).addWidget(rows if within else row)
    qt.QVBoxLayout(rows).addWidget(row if within else qt.QLabel("other"))
    section.collapsed = True
    section.setVisible(True)
    row.setVisible(False)
    row.setVisible(True)
    page.show()
    turn()
    assert row.isVisible() is seen
    section.collapsed = False
    assert row.isVisible()
    section.collapsed = True
    assert not row.isVisible()
    row.setVisible(True)
    assert not row.isVisible()


def test_standInErrorInASlotIsRecorded(slotErrors: list[signals.SlotError]) -> None:
    button = qt.QPushButton("x")
    button.connect("clicked(bool)", lambda: 1 / 0)
    button.click()
    assert [type(error.exception) for error in slotErrors] == [ZeroDivisionError]
    slotErrors.clear()


def test_standInErrorInAnObserverIsRecorded(application: GuiApplication, slotErrors: list[signals.SlotError]) -> None:
    node = application.scene.AddNewNodeByClass(VOLUME, "volume")
    node.AddObserver("ModifiedEvent", lambda *_: 1 / 0)
    node.Modified()
    assert [type(error.exception) for error in slotErrors] == [ZeroDivisionError]
    slotErrors.clear()


def test_standInDestroyedObject() -> None:
    button = qt.QPushButton("x")
    button.delete()
    with pytest.raises(ValueError, match="read property 'text' from a destroyed QPushButton"):
        _ = button.text
    with pytest.raises(ValueError, match="set property 'text' on a destroyed QPushButton"):
        button.text = "y"
    with pytest.raises(ValueError, match="Trying to call 'property' on a destroyed QPushButton object"):
        button.property("text")


def test_standInHistoryButtonDestroysTheComboBox(application: GuiApplication) -> None:
    """As all widgets inside are listed with a panel's own, a list made before then holds a destroyed one."""
    content = qt.QWidget()
    layout = qt.QVBoxLayout(content)
    for name, kind in (("path", ctk.ctkPathLineEdit), ("slider", ctk.ctkSliderWidget), ("spin", qt.QSpinBox),
                       ("area", qt.QScrollArea)):
        widget = kind()
        widget.name = name
        layout.addWidget(widget)
    ui = slicer.util.childWidgetVariables(content)
    inner = {"qt_scrollarea_viewport", "qt_spinbox_lineedit", "SpinBox", "Slider"}
    assert inner | {"path", "slider", "spin", "area"} <= set(vars(ui))
    combo = ui.path.findChild("QComboBox")
    held = combo.name
    assert getattr(ui, held) is combo
    ui.path.showHistoryButton = False
    with pytest.raises(ValueError, match="on a destroyed"):
        Parameters(application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "p")).connectGui(ui)


def test_standInSectionIsNotMadeOfAText() -> None:
    with pytest.raises(ValueError, match="matching overload"):
        ctk.ctkCollapsibleButton("text")


def test_standInFoldedSectionKeepsAStrip() -> None:
    section, bare = ctk.ctkCollapsibleButton(), ctk.ctkCollapsibleButton()
    qt.QVBoxLayout(section).addWidget(qt.QLabel("inside"))
    section.collapsed = True
    assert section.sizeHint().height() == bare.sizeHint().height() + 14
    assert section.minimumSizeHint().height() == bare.minimumSizeHint().height() + 14


def test_standInDefaultsOfWidgets() -> None:
    slider = ctk.ctkSliderWidget()
    assert (slider.pageStep, slider.minimum, slider.maximum) == (10.0, 0.0, 99.99)
    assert ctk.ctkDirectoryButton().directory == "."


def test_standInProcessTellsOfItsEnd() -> None:
    process, got, output = qt.QProcess(), [], []
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: got.append((code, int(status))))
    process.connect("readyReadStandardOutput()", lambda: output.append(bytes(process.readAllStandardOutput().data())))
    process.start(sys.executable, ["-c", "print('said'); raise SystemExit(3)"])
    waitUntil(lambda: got)
    assert got == [(3, 0)]
    assert b"".join(output).split() == [b"said"]
