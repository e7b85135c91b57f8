"""The stand-in's parameterNodeWrapper: typed values in a real parameter node, through a saved scene, and widgets."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import ctk
import pytest
import qt
import slicer
from host.application import openBundle, saveBundle
from host.guiapplication import GuiApplication
from slicer.parameterNodeWrapper import (
    Choice,
    Default,
    Minimum,
    WithinRange,
    isParameterPack,
    parameterNodeWrapper,
    parameterPack,
)
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic


class Mode(enum.Enum):
    """Two ways."""

    FAST = "fast"
    SLOW = "slow"


@parameterNodeWrapper
class Parameters:
    """One parameter of every type."""

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    views: Annotated[int, WithinRange(4, 1000)] = 60
    weight: Annotated[float, WithinRange(0.0, 1.0), Default(0.5)]
    draws: Annotated[int, Minimum(1)] = 4
    preset: Annotated[str, Choice(["fast", "standard"])] = "standard"
    keep: bool = True
    mode: Mode
    place: Path
    comment: str


@parameterPack
class Scan:
    """Values that belong together."""

    views: Annotated[int, WithinRange(4, 1000)] = 60
    place: str = "here"


class Common:
    """Parameters that others are added to."""

    seed: int = 3


Packed = parameterNodeWrapper(type("Packed", (Common,), {"__annotations__": {"scan": Scan}}))


class DemoLogic(ScriptedLoadableModuleLogic):
    """A module's logic, for its parameter node."""


def wrapped() -> Any:
    """The scene's parameter node, wrapped."""
    return Parameters(DemoLogic().getParameterNode())


def test_standInDefaults(application: GuiApplication) -> None:
    made = wrapped()
    values = (made.inputVolume, made.views, made.weight, made.draws, made.preset, made.keep, made.mode, made.comment)
    assert values == (None, 60, 0.5, 4, "standard", True, Mode.FAST, "")
    assert made.parameterNode.GetParameter("views") == "60"
    assert made.default("weight").value == 0.5


@pytest.mark.parametrize(("name", "value", "error"), [
    ("views", 3, ValueError), ("views", 2.5, TypeError), ("weight", 1.5, ValueError), ("preset", "odd", ValueError),
    ("draws", 0, ValueError), ("keep", "yes", TypeError), ("comment", None, TypeError),
])  # fmt: skip
def test_standInRefusesBadValues(application: GuiApplication, name: str, value: Any, error: type) -> None:
    made = wrapped()
    before = getattr(made, name)
    with pytest.raises(error):
        setattr(made, name, value)
    assert getattr(made, name) == before


def test_standInValuesSurviveASavedScene(application: GuiApplication, tmp_path: Path) -> None:
    volume = application.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "volume")
    made = wrapped()
    made.inputVolume, made.views, made.weight, made.keep = volume, 20, 0.125, False
    made.mode, made.place, made.comment = Mode.SLOW, Path("Größe") / "x", "ein Satz; mit = Zeichen"
    path = saveBundle(application.scene, tmp_path / "scene.mrb")
    application.scene.Clear()
    assert wrapped().views == 60
    openBundle(path, application.application)
    again = wrapped()
    assert again.inputVolume.GetName() == "volume"
    assert (again.views, again.weight, again.keep, again.mode) == (20, 0.125, False, Mode.SLOW)
    assert (again.place, again.comment) == (Path("Größe") / "x", "ein Satz; mit = Zeichen")


def test_standInTwoNodesDoNotMix(application: GuiApplication) -> None:
    nodes = [application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", name) for name in ("a", "b")]
    first, second = map(Parameters, nodes)
    first.views = 8
    assert (first.views, second.views) == (8, 60)


def panel(application: GuiApplication) -> Any:
    """Widgets with parameter names, in one parent."""
    parent = qt.QWidget()
    layout = qt.QVBoxLayout(parent)
    kinds = {
        "views": qt.QSpinBox, "weight": ctk.ctkSliderWidget, "preset": qt.QComboBox, "keep": qt.QCheckBox,
        "mode": qt.QComboBox, "place": ctk.ctkPathLineEdit, "comment": qt.QLineEdit,
        "inputVolume": slicer.qMRMLNodeComboBox,
    }  # fmt: skip
    for name, kind in kinds.items():
        widget = kind()
        widget.name = name
        widget.setProperty("SlicerParameterName", name)
        if name == "inputVolume":
            widget.noneEnabled = True
            widget.setMRMLScene(application.scene)
        layout.addWidget(widget)
    return parent


def test_standInWidgetsAndParametersFollowEachOther(application: GuiApplication) -> None:
    made, parent = wrapped(), panel(application)
    ui = slicer.util.childWidgetVariables(parent)
    tag = made.connectParametersToGui({name: getattr(ui, name) for name in made.allParameters if hasattr(ui, name)})
    assert (ui.views.value, ui.views.minimum, ui.views.maximum, ui.weight.value) == (60, 4, 1000, 0.5)
    assert (ui.preset.currentText, ui.keep.checked, ui.mode.currentText) == ("standard", True, "FAST")
    ui.views.value, ui.weight.value, ui.preset.currentIndex = 20, 0.25, 0
    ui.keep.checked, ui.comment.text, ui.mode.currentIndex = False, "a", 1
    assert (made.views, made.weight, made.preset, made.keep) == (20, 0.25, "fast", False)
    assert (made.comment, made.mode) == ("a", Mode.SLOW)
    volume = application.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "volume")
    ui.inputVolume.setCurrentNode(volume)
    assert made.inputVolume is volume
    made.views, made.inputVolume = 8, None
    assert (ui.views.value, ui.inputVolume.currentNode()) == (8, None)
    made.disconnectGui(tag)
    ui.views.value = 100
    assert made.views == 8
    made.views = 9
    assert ui.views.value == 100


def test_standInConnectGuiGivesATag(application: GuiApplication) -> None:
    """Of a widget, or of what childWidgetVariables found; what it connected is disconnected by it."""
    made, parent = wrapped(), panel(application)
    ui = slicer.util.childWidgetVariables(parent)
    for gui in (parent, ui):
        tag = made.connectGui(gui)
        ui.views.value = 20
        assert made.views == 20
        made.disconnectGui(tag)
        ui.views.value = 30
        assert made.views == 20


def test_standInPacksAreKeptMemberByMember(application: GuiApplication, tmp_path: Path) -> None:
    node = application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "packed")
    made = Packed(node)
    assert (made.seed, made.scan.views, made.getValue("scan.views")) == (3, 60, 60)
    assert node.GetParameter("scan.views") == "60"
    assert made.scan == Scan()
    assert made.scan != Scan(61)
    assert isParameterPack(made.scan)
    assert not isParameterPack(made)
    events = []
    made.AddObserver("ModifiedEvent", lambda *_: events.append(1))
    made.scan.place = "there"
    made.setValue("scan.views", 20)
    assert len(events) == 2
    assert (made.scan.views, made.scan.place) == (20, "there")
    made.scan = Scan(views=5)
    assert (made.scan.views, made.scan.place, len(events)) == (5, "here", 3)
    with pytest.raises(ValueError, match=r"\[4, 1000\]"):
        made.scan.views = 2
    with pytest.raises(AttributeError, match="none can be added"):
        made.scan.other = 1
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        Scan(other=1)
    path = saveBundle(application.scene, tmp_path / "scene.mrb")
    openBundle(path, application.application)
    again = Packed(application.scene.GetFirstNodeByName("packed"))
    assert (again.scan.views, again.scan.place) == (5, "here")


def test_standInAPackThatGrewIsNotReadFromAnOlderScene(application: GuiApplication) -> None:
    """Slicer asks only whether a pack's first member is there."""
    node = application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "older")
    Packed(node)
    node.UnsetParameter("scan.place")
    assert Packed(node).scan.place == ""
    node.SetParameter("scan.place", "here")
    node.UnsetParameter("scan.views")
    assert Packed(node).scan.views == 60


def test_standInAWidgetShowsAMemberOfAPack(application: GuiApplication) -> None:
    made = Packed(application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "packed"))
    box = qt.QSpinBox()
    box.setProperty("SlicerParameterName", "scan.views")
    tag = made.connectParametersToGui({box.property("SlicerParameterName"): box})
    assert (box.minimum, box.maximum, box.value) == (4, 1000, 60)
    box.value = 30
    assert made.scan.views == 30
    made.scan.views = 40
    assert box.value == 40
    made.disconnectGui(tag)
    box.value = 50
    assert made.scan.views == 40


def test_standInModifiedEventsAreGathered(application: GuiApplication) -> None:
    made, events = wrapped(), []
    made.AddObserver("ModifiedEvent", lambda *_: events.append(1))
    with slicer.util.NodeModify(made):
        made.views, made.draws = 10, 2
    assert len(events) == 1


def test_standInRefusesPairsThatSlicerDoesNotConnect(application: GuiApplication) -> None:
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        wrapped().connectParametersToGui({"weight": qt.QSpinBox()})
    with pytest.raises(ValueError, match="no other types"):
        parameterNodeWrapper(type("Bad", (), {"__annotations__": {"x": dict[str, int]}}))
    with pytest.raises(ValueError, match="reserved name"):
        parameterNodeWrapper(type("Bad", (), {"__annotations__": {"connectGui": int}}))
