"""Settings of the panel on the stand-in: kept with the scene, presets, advanced parameters, the call as Python."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
import qt
import slicer
import slicer.util
from diffusion_engine.run.presets import PRESETS
from diffusion_engine.run.settings import Settings
from diffusion_engine.solvers.listing import listed_methods
from DiffusionReconLib.jobs.settings import solverOptions
from DiffusionReconLib.panel.parameters import ReconParameters
from host.application import saveBundle
from host.pythonqt import plainToolTip
from mr_inputs import addMRHead
from prepared import OpenPanel, addChest, idle, makeRunner, nodeIDs, useRunner, writeSinogram

import DiffusionRecon


def choose(combo: object, title: str) -> None:
    index = combo.findText(title)
    assert index >= 0, f"{title} is not among {[combo.itemText(n) for n in range(combo.count)]}"
    combo.currentIndex = index


def test_standInSettingsComeBackWithTheScene(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui = panel.widget.ui
    addChest()
    choose(ui.acquisitionPresetComboBox, "Low dose")
    choose(ui.presetComboBox, "Fast")
    choose(ui.deviceComboBox, "CPU")
    ui.drawsSpinBox.value, ui.seedSpinBox.value, ui.balanceSlider.value = 7, 11, 1.5
    ui.folderNameEdit.text = "Größe"
    choose(ui.couplingComboBox, "Shared noise along z")
    choose(ui.precisionComboBox, "16 bits (bfloat16)")
    ui.slabSpinBox.value = 5
    ui.keepDrawsCheckBox.checked = False
    wanted = panel.widget.panel.settings()
    call = panel.widget.panel.pythonCall()
    path = saveBundle(slicer.mrmlScene, tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear(0)
    assert not ui.applyButton.enabled
    assert slicer.mrmlScene.ReadFromMRB(str(path), True)
    assert panel.widget.panel.settings() == wanted
    assert panel.widget.panel.pythonCall() == call
    assert ui.acquisitionPresetComboBox.currentText == "Low dose"
    assert ui.photonsSpinBox.value == 10000
    assert ui.presetComboBox.currentText == "Fast"
    assert ui.folderNameEdit.text == "Größe"
    assert not ui.keepDrawsCheckBox.checked
    assert ui.inputSelector.currentNode().GetName() == "Chest"


def test_standInScatterAndHardeningReachTheScan(openPanel: OpenPanel, tmp_path: Path) -> None:
    """They come back with the scene's parameters, and an acquisition preset takes them away."""
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui, scan = panel.widget.ui, panel.widget.panel.inputs.scan
    addChest()
    assert not {"scatter_percent", "beam_hardening"} & set(scan())
    assert ui.scatterSpinBox.maximum == 50
    ui.scatterSpinBox.value = 5.0
    ui.beamHardeningCheckBox.checked = True
    assert (scan()["scatter_percent"], scan()["beam_hardening"]) == (5.0, True)
    assert ui.acquisitionPresetComboBox.currentText == "Custom"
    again = ReconParameters(panel.widget.logic.getParameterNode().parameterNode)
    assert (again.ct.scatterPercent, again.ct.beamHardening) == (5.0, True)
    for widget in (ui.scatterSpinBox, ui.beamHardeningCheckBox):
        assert "does not know of" in plainToolTip(widget)
    choose(ui.acquisitionPresetComboBox, "Low dose")
    assert (ui.scatterSpinBox.value, ui.beamHardeningCheckBox.checked) == (0.0, False)
    assert not {"scatter_percent", "beam_hardening"} & set(scan())


def test_standInTwoParameterNodesDoNotMix(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui = panel.widget.ui
    addChest()
    first = panel.widget.logic.getParameterNode()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "second")
    second = ReconParameters(node)
    ui.viewsSpinBox.value = 33
    panel.widget.setParameters(second)
    assert ui.viewsSpinBox.value == 60
    ui.viewsSpinBox.value = 44
    choose(ui.presetComboBox, "Classical")
    panel.widget.setParameters(first)
    assert ui.viewsSpinBox.value == 33
    assert ui.presetComboBox.currentText == "Standard"
    assert (first.ct.views, second.ct.views, second.preset) == (33, 44, "classical")


def test_theBalanceScalesWhatAPresetBrings() -> None:
    method = listed_methods()["dds"]
    parameters = SimpleNamespace(solverOptions="", balance=-1.0)
    assert solverOptions(parameters, method, {"prior_variance": 4.0, "eta": 0.5}) == {"prior_variance": 2.0, "eta": 0.5}
    assert solverOptions(parameters, method, {}) == {"prior_variance": 1.0}
    parameters.balance = 0.0
    assert solverOptions(parameters, method, {"prior_variance": 4.0}) == {"prior_variance": 4.0}


def test_standInPresetsAndAdvancedReachTheSettings(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui, settings = panel.widget.ui, panel.widget.panel.settings
    addChest()
    titles = [ui.presetComboBox.itemText(index) for index in range(ui.presetComboBox.count)]
    assert titles[:2] == ["Fast", "Standard"]
    for index, title in enumerate(titles):
        ui.presetComboBox.currentIndex = index
        changes = next(preset for preset in PRESETS.values() if preset.title == title).changes
        found = settings()
        assert all(found[key] == (list(value) if isinstance(value, tuple) else value)
                   for key, value in changes.items() if key in found)
    assert not ui.drawsSpinBox.isVisibleTo(panel.container)  # the last one is classical
    ui.presetComboBox.currentIndex = 0
    assert (settings()["prior"], ui.applyButton.enabled) == ("ct-body-few", True)
    choose(ui.solverComboBox, "Decomposed diffusion sampling")
    assert not ui.applyButton.enabled
    assert "taught for the method 'consistency' alone" in plainToolTip(ui.applyButton)
    ui.presetComboBox.currentIndex = 1
    assert (settings()["prior"], ui.applyButton.enabled) == ("ct-body", True)
    # A prior that came with a preset goes with it; one that was chosen stays.
    choose(ui.presetComboBox, "Few views")
    assert settings()["prior"] == "ct-body-medium"
    # The balance scales what the preset brings.
    assert settings()["solver_options"] == {"prior_variance": 2.0, "products": 3, "antithetic": True}
    ui.balanceSlider.value = -1.0
    assert settings()["solver_options"] == {"prior_variance": 1.0, "products": 3, "antithetic": True}
    ui.balanceSlider.value = 0.0
    # Advanced shows what it brings, and can turn it off: what else is chosen may ask for that.
    products = next(editor for editor in ui.optionsWidget.findChildren(qt.QSpinBox) if "'products'" in editor.toolTip)
    assert products.value == 3
    choose(ui.couplingComboBox, "Total variation along z")
    assert "dds with products cannot tie slices by total variation" in plainToolTip(ui.applyButton)
    assert not ui.applyButton.enabled
    products.value = 0
    assert ui.applyButton.enabled
    assert settings()["solver_options"]["products"] == 0
    choose(ui.couplingComboBox, "Each slice alone")
    products.value = 3
    assert settings()["solver_options"] == {"prior_variance": 2.0, "products": 3, "antithetic": True}
    assert panel.widget.panel.parameters.solverOptions == "{}"
    choose(ui.presetComboBox, "Standard")
    assert settings()["prior"] == "ct-body"
    assert "solver_options" not in settings()
    # So does a coupling.
    choose(ui.presetComboBox, "Volume")
    assert (settings()["prior"], settings()["coupling"]) == ("ct-body-stack", "neighbours")
    assert ui.applyButton.enabled
    choose(ui.presetComboBox, "Standard")
    assert (settings()["prior"], settings()["coupling"]) == ("ct-body", "none")
    choose(ui.priorComboBox, "CT body, axial slices, medium network")
    choose(ui.presetComboBox, "Moment matched")
    assert settings()["prior"] == "ct-body-medium"
    choose(ui.priorComboBox, "CT body, axial slices")
    choose(ui.presetComboBox, "Standard")
    choose(ui.solverComboBox, "Decomposed diffusion sampling")
    assert "narrower than the true error" in ui.solverLabel.text
    ui.balanceSlider.value = -1.0
    ui.stepsSpinBox.value = 12
    ui.sigmaStartSpinBox.value = 0.5
    assert [label.text for label in ui.optionsWidget.findChildren(qt.QLabel)][:3] == [
        "last noise level:", "broad std:", "broad pixels:"]
    editors = ui.optionsWidget.findChildren(qt.QDoubleSpinBox)
    next(editor for editor in editors if "'eta'" in editor.toolTip).value = 0.25
    found = settings()
    assert found["solver_options"] == {"eta": 0.25, "prior_variance": 1.0}
    assert (found["steps"], found["sigma_start"]) == (12, 0.5)
    assert found.get("preset") is None
    # Coupling, precision and slab; what the method cannot do is said where Apply is disabled.
    assert (found["coupling"], found["precision"], found["slab"]) == ("none", "auto", 8)
    choose(ui.couplingComboBox, "Total variation along z")
    choose(ui.couplingComboBox, "The trained model looks at neighbouring slices")
    assert "ct-body sees a slice at a time" in plainToolTip(ui.applyButton)
    assert not ui.applyButton.enabled
    choose(ui.couplingComboBox, "Total variation along z")
    choose(ui.precisionComboBox, "32 bits")
    assert ui.slabSpinBox.enabled
    found = settings()
    assert (found["coupling"], found["precision"]) == ("ztv", "float32")
    choose(ui.solverComboBox, "Moment matching posterior sampling")
    assert "mmps cannot tie slices by total variation" in plainToolTip(ui.applyButton)
    assert not ui.applyButton.enabled
    choose(ui.couplingComboBox, "Shared noise along z")
    assert ui.applyButton.enabled
    assert settings()["coupling"] == "noise"
    choose(ui.couplingComboBox, "Each slice alone")
    ui.slabSpinBox.value = 3
    assert settings()["slab"] == 3
    # An acquisition changed by hand is called so, and an unknown prior says why it cannot be used.
    ui.viewsSpinBox.value = 61
    assert ui.acquisitionPresetComboBox.currentText == "Custom"
    parameters = panel.widget.logic.getParameterNode()
    # As a scene of another version may bring:
    for field, value in (("solver", "gone"), ("preset", "gone"), ("coupling", "gone"), ("precision", "gone")):
        before = getattr(parameters, field)
        setattr(parameters, field, value)
        assert "gone" in plainToolTip(ui.applyButton)
        assert not ui.applyButton.enabled
        setattr(parameters, field, before)
    assert ui.applyButton.enabled
    parameters.prior = str(tmp_path / "none.json")
    assert "no model card" in ui.priorCardLabel.text
    assert not ui.applyButton.enabled


def test_standInRegionOfInterestChoosesVoxels(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    node = addChest()
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    region.SetXYZ(0, 0, bounds[4] + 7.5)  # the centre of the second slice of 5 mm
    region.SetRadiusXYZ(17.5, 35.0, 2.0)
    panel.widget.ui.regionSelector.setCurrentNode(region)
    found = panel.widget.panel.settings()
    assert found["slices"] == [1, 2]
    i0, i1, j0, j1 = found["region"]
    assert (i1 - i0, j1 - j0) == (10, 20)
    assert i0 == 32 - i1
    assert j0 == 32 - j1
    assert not panel.widget.ui.extentComboBox.enabled


@pytest.mark.parametrize("source", ["volume", "measured"])
def test_standInCopyAsPythonRunsTheSame(
    source: str, openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path)
    useRunner(panel, runner)
    ui = panel.widget.ui
    addChest()
    ui.folderNameEdit.text = "it's mine"
    if source == "measured":
        ui.sourceComboBox.currentIndex = 1
        ui.sinogramPathEdit.currentPath = str(writeSinogram(tmp_path))
    else:
        choose(ui.extentComboBox, "By number")
        ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value = 2, 4
    ui.copyPythonButton.click()
    text = slicer.app.clipboard().text()
    assert text in ui.logTextEdit.plainText
    ui.applyButton.click()
    idle(panel)
    before = set(nodeIDs())
    original = DiffusionRecon.DiffusionReconLogic.__init__
    monkeypatch.setattr(DiffusionRecon.DiffusionReconLogic, "__init__", lambda self: original(self, runner))
    scope: dict = {}
    exec(compile(text, "copied", "exec"), scope)
    clicked, called = (engine.job for engine in runner.engines)
    assert called == clicked
    assert set(scope["nodes"]) >= {"mean", "uncertainty", "report"}
    assert set(nodeIDs()) > before


def printedSettings(heading: str) -> dict[str, Any]:
    """Those of the console script in a section of the module's document."""
    text = (Path(DiffusionRecon.__file__).parent / "README.md").read_text(encoding="utf-8")
    section = text[text.index(f"\n## {heading}\n") :].partition("settings = ")[2]
    return ast.literal_eval(section.partition("nodes =")[0].strip())


def test_standInTheManualsCallIsThePanelsOwn(openPanel: OpenPanel) -> None:
    """The console script of the tutorial has the settings that its clicks give."""
    panel = openPanel()
    panel.widget.logic.makeSyntheticChest()
    ui = panel.widget.ui
    choose(ui.acquisitionPresetComboBox, "Sparse view, 20")
    ui.sliceCountSpinBox.value = 3
    assert printedSettings("From the console") == panel.widget.panel.settings()


def test_standInTheManualsCallOfAnotherModalityIsThePanelsOwn(openPanel: OpenPanel) -> None:
    """That of the first acquisition; its slices are of another volume, and what is kept is the engine's own choice."""
    panel = openPanel()
    addMRHead(panel)
    choose(panel.widget.ui.acquisitionPresetComboBox, "4-fold, random lines")
    printed = printedSettings("MRI")
    wanted = Settings.from_dict(printed)
    others = {"slices": wanted.slices, "keep": wanted.keep, "keep_draws": wanted.keep_draws}
    assert Settings.from_dict({**panel.widget.panel.settings(), **others}) == wanted


def test_standInThePanelKnowsTheWidgetsOfItsFilesAlone(openPanel: OpenPanel) -> None:
    """What Qt and CTK make inside their widgets they destroy when they like."""
    known = vars(openPanel().widget.ui)
    folder = Path(DiffusionRecon.__file__).parent / "Resources" / "UI"
    files = [ElementTree.parse(path) for path in sorted(folder.glob("*.ui"))]
    names = [element.get("name") for file in files for element in file.iter("widget")]
    assert len(set(names)) == len(names), "two files have a widget of one name"
    assert set(known) <= {element.get("name") for file in files for element in file.iter("widget")}
    assert {"inputSelector", "applyButton", "trainDataPathEdit", "trainCollapsibleButton"} <= set(known)
