"""Inputs and Method on the stand-in: part of the volume, region, the axial view, presets that fit, the model's line."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import slicer
from diffusion_engine.run.presets import PRESETS
from DiffusionReconLib.jobs.extent import partText
from DiffusionReconLib.modalities.ct.entry import CT
from DiffusionReconLib.panel.method import anatomyText
from DiffusionReconLib.scene.volumes import dicomBodyPart
from host.application import Application
from host.eventloop import turn, waitUntil
from host.pythonqt import plainToolTip
from prepared import OpenPanel, addChest, makeRunner, useRunner, writeSinogram

AXIAL = "vtkMRMLSliceNodeRed"


def choose(combo: Any, title: str) -> None:
    combo.currentIndex = combo.findText(title)
    assert combo.currentText == title


@pytest.mark.parametrize(("slices", "region", "text"), [
    (None, None, "All 120 slices"), ((0, 120), None, "All 120 slices"), ((56, 64), None, "Slices 57 to 64 of 120"),
    ((11, 12), None, "Slice 12 of 120"), ((0, 120), (1, 2, 3, 4), "All 120 slices, region"),
])
def test_aPartIsCountedFromOne(slices: tuple[int, int] | None, region: tuple[int, ...] | None, text: str) -> None:
    assert partText(slices, region, 120) == text


def test_standInSlicesByNumberCountFromOneAndAreStoredFromZero(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui, parameters = panel.widget.ui, panel.widget.logic.getParameterNode()
    addChest()
    assert ui.partCollapsibleButton.text == "All 6 slices"
    choose(ui.extentComboBox, "By number")
    assert (ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value) == (1, 8)
    assert plainToolTip(ui.applyButton).startswith("Expected slices first to last from 1 to 6, found 1 to 8")
    ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value = 2, 6
    assert (parameters.firstSlice, parameters.lastSlice) == (1, 5)
    assert panel.widget.panel.settings()["slices"] == [1, 6]
    assert ui.partCollapsibleButton.text == "Slices 2 to 6 of 6"
    parameters.firstSlice = 3
    assert ui.firstSliceSpinBox.value == 4


def test_standInANewRegionIsAsLargeAsTheVolume(openPanel: OpenPanel) -> None:
    panel = openPanel()
    useRunner(panel, lambda _folder: None)
    ui, settings = panel.widget.ui, panel.widget.panel.settings
    node = addChest()
    ui.sliceCountSpinBox.value = 2
    assert settings()["slices"] == [2, 4]
    region = ui.regionSelector.addNode()
    assert panel.widget.logic.getParameterNode().region is region
    wanted, found = [0.0] * 6, [0.0] * 6
    node.GetRASBounds(wanted)
    region.GetRASBounds(found)
    assert found == pytest.approx(wanted)
    assert (settings()["slices"], "region" in settings()) == ([0, 6], False)
    assert ui.applyButton.enabled
    # Drawn smaller, it is the part that is taken; one without any size says so.
    region.SetRadiusXYZ(20.0, 20.0, 4.0)
    assert settings()["slices"] == [2, 4]
    assert ui.partCollapsibleButton.text == "Slices 3 to 4 of 6, region"
    ui.regionSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "empty"))
    assert plainToolTip(ui.applyButton) == "The region 'empty' has no size: draw it, or choose another one."


def test_standInTheAxialViewIsFollowed(openPanel: OpenPanel, application: Any) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    addChest()
    slicer.app.layoutManager()
    view = slicer.mrmlScene.GetNodeByID(AXIAL)
    view.SetSliceOffset(2.5)  # the fourth of six slices of 5 mm around 0
    choose(ui.extentComboBox, "The axial view's")
    assert ui.partCollapsibleButton.text == "Slice 4 of 6"
    view.SetSliceOffset(7.5)
    waitUntil(lambda: ui.partCollapsibleButton.text == "Slice 5 of 6", 10, "the view's slice")
    assert panel.widget.panel.settings()["slices"] == [4, 5]
    view.SetSliceOffset(500.0)
    waitUntil(lambda: not ui.applyButton.enabled, 10, "a slice outside")
    assert "shows no slice of 'Chest'" in plainToolTip(ui.applyButton)
    choose(ui.extentComboBox, "All")  # followed no longer
    before = ui.partCollapsibleButton.text
    view.SetSliceOffset(2.5)
    turn()
    assert not panel.widget.panel.inputs._extent._timer.isActive()
    assert ui.partCollapsibleButton.text == before == "All 6 slices"


def test_standInAFittingPresetIsOnePressAway(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    assert not ui.suggestionLabel.isVisibleTo(panel.container)
    addChest()
    assert not ui.suggestionLabel.isVisibleTo(panel.container)  # 60 views: the standard preset fits
    choose(ui.acquisitionPresetComboBox, "Sparse view, 20")
    assert ui.suggestionLabel.isVisibleTo(panel.container)
    assert "Only 20 views: the preset Few views fits better" in ui.suggestionLabel.text
    ui.suggestionLabel.linkActivated.emit("few-views")
    assert ui.presetComboBox.currentText == "Few views"
    assert panel.widget.panel.settings()["prior"] == "ct-body-medium"
    assert not ui.suggestionLabel.isVisibleTo(panel.container)
    choose(ui.presetComboBox, "Few views, thorough")  # its like is as good
    assert not ui.suggestionLabel.isVisibleTo(panel.container)
    choose(ui.acquisitionPresetComboBox, "Low dose")
    assert "Only 10000 photons a ray: the preset Low dose fits better" in ui.suggestionLabel.text
    choose(ui.solverComboBox, "Decomposed diffusion sampling")  # chosen on purpose
    assert not ui.suggestionLabel.isVisibleTo(panel.container)


def test_standInMeasuredDataGetASuggestionToo(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    ui.sourceComboBox.currentIndex = 1
    ui.sinogramPathEdit.currentPath = str(writeSinogram(tmp_path))
    assert "Only 12 views: the preset Few views fits better" in ui.suggestionLabel.text
    assert ui.partCollapsibleButton.text == "All 3 slices"
    ui.sinogramPathEdit.currentPath = ""
    assert not ui.suggestionLabel.isVisibleTo(panel.container)
    assert not ui.applyButton.enabled
    assert not ui.measuredSummaryLabel.isVisibleTo(panel.container)


def test_standInUnknownAnatomyIsKnownFromDicom(openPanel: OpenPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = openPanel()
    ui, node = panel.widget.ui, addChest()
    parts = {("1.2", "0018,0015"): "HEAD "}
    monkeypatch.setattr(slicer, "dicomDatabase", SimpleNamespace(instanceValue=lambda *asked: parts[asked]),
                        raising=False)
    assert dicomBodyPart(node) == ""
    node.SetAttribute("DICOM.instanceUIDs", "1.2 1.3")
    assert dicomBodyPart(node) == "HEAD"
    panel.widget.panel.update()
    assert "do not know this part of the body: the preset Unknown anatomy fits better" in ui.suggestionLabel.text


def test_standInTheModelsLineSaysWhatItIsForAndNotFor(openPanel: OpenPanel, application: Application) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    addChest()
    text, tip = ui.priorCardLabel.text, plainToolTip(ui.priorCardLabel)
    assert text.startswith("Trained on chest, abdomen, pelvis; some limbs; adults. Not for ")
    assert "metal implants" in text
    assert "rare in the training images" not in text
    assert "metal implants: rare in the training images" in tip
    assert "Apache-2.0" in tip
    choose(ui.presetComboBox, "Classical")
    assert not ui.priorCardLabel.isVisibleTo(panel.container)


def test_standInAPresetIsOneSentenceAndItsTime(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    assert ui.presetLabel.text == "The usual choice: 4 samples of 30 steps."
    addChest()
    assert re.fullmatch(r"The usual choice: 4 samples of 30 steps\. Takes about \d+ s here\.", ui.presetLabel.text)


def test_everyPresetHasASentenceWithItsSamples() -> None:
    assert set(CT.sentences) == set(PRESETS)
    for name, preset in PRESETS.items():
        assert "draws" not in preset.changes or f"{preset.changes['draws']} samples" in CT.sentences[name]
        assert "steps" not in preset.changes or f" {preset.changes['steps']} " in CT.sentences[name]


def test_aModelThatIsForEverythingSaysWhatItKnows() -> None:
    assert anatomyText(SimpleNamespace(anatomy="all", not_for=[])) == "Trained on all."


def test_standInWithoutAnInputTheModelsAndPresetsCanBeLookedAt(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui = panel.widget.ui
    assert ui.purposeLabel.text == (
        "Simulates a sparse scan of this CT, or reconstructs measured data. For research.")
    assert ui.partCollapsibleButton.text == "Part of the volume"
    assert ui.estimateLabel.text == plainToolTip(ui.applyButton) == "Choose an input volume first"
    assert ui.acquisitionPresetComboBox.isVisibleTo(panel.container)
    node = addChest()
    # What neither DICOM nor a unit names is asked for.
    unit = slicer.vtkCodedEntry()
    unit.SetValueSchemeMeaning("mm[Hg]", "UCUM", "millimeters of mercury")
    node.SetVoxelValueUnits(unit)
    panel.widget.panel.update()
    assert (ui.modalityComboBox.isVisibleTo(panel.container), ui.modalityComboBox.currentText) == (True, "")
    assert plainToolTip(ui.applyButton).startswith("Choose the modality")
    assert not ui.acquisitionPresetComboBox.isVisibleTo(panel.container)
    choose(ui.modalityComboBox, "CT")
    assert ui.applyButton.enabled
