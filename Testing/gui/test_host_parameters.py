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
from slicer.parameterNodeWrapper import Choice, Default, Minimum, WithinRange, parameterNodeWrapper
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
    tag = made.connectGui(ui)
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
