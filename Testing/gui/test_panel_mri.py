"""MRI in the panel on the stand-in: recognised volumes, acquisitions, k-space files and what is asked of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_engine.jobs.job import read_job
from diffusion_engine.modalities.mri.entry import MRI as OF_ENGINE
from diffusion_engine.modalities.mri.files import FILES
from diffusion_engine.priors.card import read_card
from diffusion_engine.run.presets import available_presets
from diffusion_engine.run.settings import Settings
from diffusion_engine.solvers.listing import listed_methods
from DiffusionReconLib.jobs.engine import reconstructFrom
from DiffusionReconLib.jobs.estimate import stepsOf
from DiffusionReconLib.jobs.extent import slicesOfMeasured
from DiffusionReconLib.modalities import table
from DiffusionReconLib.modalities.contract import presetOf
from DiffusionReconLib.modalities.mri import measured
from DiffusionReconLib.modalities.mri.acquisition import MRIAcquisition, answers, scanSettings, summarise
from DiffusionReconLib.modalities.mri.entry import MRI, suggest
from DiffusionReconLib.panel.method import PRIORS_FOLDER
from host.pythonqt import plainToolTip
from mr_inputs import addHead, addMRHead, kspaceArray, writeArray, writeKSpace
from prepared import OpenPanel, addChest


def choose(combo: Any, title: str) -> None:
    combo.currentIndex = combo.findText(title)
    assert combo.currentText == title


def titles(combo: Any) -> list[str]:
    return [combo.itemText(index) for index in range(combo.count)]


def kspacePanel(openPanel: OpenPanel) -> Any:
    """A panel that is to read k-space."""
    panel = openPanel()
    choose(panel.widget.ui.sourceComboBox, "Measured data")
    choose(panel.widget.ui.modalityComboBox, "MRI")
    return panel


def test_standInAnMRVolumeIsRecognised(openPanel: OpenPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    addMRHead(panel)
    assert ui.modalityComboBox.currentText == "MRI"
    assert ui.purposeLabel.text.startswith("Simulates an accelerated scan of this MR volume")
    assert ui.accelerationSpinBox.isVisibleTo(ui.kspaceDetailsCollapsibleButton)
    assert not ui.viewsSpinBox.isVisibleTo(panel.container)
    assert not ui.kspacePathEdit.isVisibleTo(panel.container)
    assert panel.widget.panel.method.prior == "mr-head"
    assert titles(ui.presetComboBox) == ["Standard", "Moment matched", "Classical"]
    assert ui.applyButton.enabled
    chest = addChest()
    panel.widget.logic.getParameterNode().inputVolume = chest
    assert ui.modalityComboBox.currentText == "CT"
    monkeypatch.setattr("DiffusionReconLib.panel.inputs.dicomModality", lambda _node: "MR")
    panel.widget.panel.update()
    assert ui.modalityComboBox.currentText == "MRI"
    assert table.recognised("MR", "HU") == "mri"


def test_standInAVolumeWithoutUnitIsAskedAbout(openPanel: OpenPanel) -> None:
    """It may be of any kind: MRI is proposed, and nothing runs before an answer, which stays with the volume."""
    panel = openPanel()
    ui, parameters = panel.widget.ui, panel.widget.logic.getParameterNode()
    head, other, chest = addHead(), addHead(), addChest()
    parameters.inputVolume = head
    assert ui.modalityComboBox.currentText == "MRI"
    assert ui.modalityQuestionLabel.isVisibleTo(panel.container)
    assert "Is 'Head' MRI? Neither DICOM nor a unit says so." in ui.modalityQuestionLabel.text
    assert not ui.applyButton.enabled
    assert plainToolTip(ui.applyButton) == "Confirm the modality of 'Head' first, or choose another one"
    with pytest.raises(ValueError, match="Confirm the modality"):
        panel.widget.panel.request()
    ui.modalityQuestionLabel.linkActivated.emit("mri")
    assert ui.applyButton.enabled
    assert not ui.modalityQuestionLabel.isVisibleTo(panel.container)
    parameters.inputVolume = chest
    assert (ui.modalityComboBox.currentText, ui.applyButton.enabled) == ("CT", True)
    parameters.inputVolume = other
    assert not ui.applyButton.enabled
    parameters.inputVolume = head
    assert (ui.modalityComboBox.currentText, ui.applyButton.enabled) == ("MRI", True)
    # A modality that was chosen is an answer too.
    parameters.inputVolume = other
    choose(ui.modalityComboBox, "CT")
    assert not ui.modalityQuestionLabel.isVisibleTo(panel.container)
    assert ui.applyButton.enabled


def test_standInAnAcquisitionBecomesTheEnginesSettings(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    addMRHead(panel)
    choose(ui.acquisitionPresetComboBox, "8-fold, points (3D)")
    assert (ui.accelerationSpinBox.value, ui.samplingComboBox.currentText) == (8.0, "Poisson disc")
    ui.acsSpinBox.value, ui.coilsSpinBox.value = 20, 12
    ui.kspaceNoiseSpinBox.value, ui.partialFourierSpinBox.value, ui.phaseSpinBox.value = 2.0, 0.75, 3.0
    assert panel.widget.panel.inputs.scan() == {
        "modality": "mri", "acceleration": 8.0, "pattern": "poisson", "axes": 2, "elliptical": True, "acs_lines": 20,
        "coils": 12, "noise_percent": 2.0, "phase_radians": 3.0, "partial_fourier": 0.75,
    }
    assert ui.acquisitionPresetComboBox.currentText == "Custom"
    Settings.from_dict(panel.widget.panel.settings())
    choose(ui.planeComboBox, "Lines (2D)")
    assert (panel.widget.panel.inputs.scan()["axes"], panel.widget.panel.inputs.scan()["elliptical"]) == (1, False)
    panel.widget.logic.getParameterNode().mri.plane = "helix"
    assert plainToolTip(ui.applyButton) == "This version has no undersampling of 'helix': choose another one."


def test_standInThePhaseIsThereOnRequest(openPanel: OpenPanel) -> None:
    """For images that are complex numbers; what was chosen for them is not asked of others."""
    panel = openPanel()
    ui, settings = panel.widget.ui, panel.widget.panel.settings
    node = addMRHead(panel)
    assert ui.keepPhaseCheckBox.enabled
    assert "phase" not in settings()["keep"]
    ui.keepPhaseCheckBox.checked = True
    assert "phase" in settings()["keep"]
    panel.widget.logic.getParameterNode().inputVolume = addChest()
    assert not ui.keepPhaseCheckBox.enabled
    assert "phase" not in settings()["keep"]
    assert ui.applyButton.enabled
    panel.widget.logic.getParameterNode().inputVolume = node
    assert "phase" in settings()["keep"]


def test_standInTheClassicalPresetMakesTheImagesOfMRI(openPanel: OpenPanel) -> None:
    panel = openPanel()
    addMRHead(panel)
    choose(panel.widget.ui.presetComboBox, "Classical")
    asked = panel.widget.panel.settings()
    assert asked["methods"] == ["zero-filled", "sense", "tv", "wavelet"]
    assert panel.widget.ui.applyButton.enabled
    assert not panel.widget.ui.keepPriorDecidedCheckBox.enabled
    panel.widget.logic.getParameterNode().inputVolume = addChest()
    assert panel.widget.panel.settings()["methods"] == ["fbp", "tv"]


def test_standInDefaultsAreThoseUsualInMRI(openPanel: OpenPanel) -> None:
    """Of the options, of the steps, and of the room for lesions, without which no map of the prior's decisions is."""
    panel = openPanel()
    ui, usual = panel.widget.ui, OF_ENGINE.usual["dds"]
    addMRHead(panel)
    choose(ui.solverComboBox, "Decomposed diffusion sampling")
    editor, option = panel.widget.panel.advanced._editors["sigma_end"]
    assert editor.value == option.default == usual["sigma_end"]
    editor.value = 0.01
    assert panel.widget.panel.settings()["solver_options"] == {"sigma_end": 0.01}
    editor.value = usual["sigma_end"]
    assert "solver_options" not in panel.widget.panel.settings()
    asked = panel.widget.panel.settings()
    longer = {**asked, "steps": 2 * usual["steps"]}
    assert stepsOf(longer) > 1.5 * stepsOf(asked) > 1.5 * stepsOf({**asked, "steps": usual["steps"] // 2})
    assert ui.keepPriorDecidedCheckBox.enabled == bool(usual.get("broad_std", 1))


def test_everyMRAcquisitionPresetIsRecognisedAndAccepted() -> None:
    for preset in MRI.presets:
        values = MRIAcquisition(**preset.values)
        assert presetOf(MRI, values).name == preset.name
        Settings.from_dict({"modality": "mri", **scanSettings(values)})
    assert presetOf(MRI, MRIAcquisition(acceleration=5.0)) is None


def test_everyPresetOfMRHasASentenceAndItsModel() -> None:
    offered = available_presets(listed_methods("mri"), "mri")
    assert {preset.name for preset in offered} == set(MRI.sentences)
    assert {image.name for image in OF_ENGINE.classical} == set(MRI.stages)
    assert f" {OF_ENGINE.usual['dds']['steps']} steps" in MRI.sentences["standard"]
    card = read_card(PRIORS_FOLDER / f"{MRI.model}.json")
    assert (card.modality, card.unit) == (MRI.name, MRI.units[0])


@pytest.mark.parametrize(("part", "preset"), [
    ("BRAIN", None), ("", None), ("KNEE", "classical"), ("c spine", "classical"),
])
def test_thePresetThatFitsABodyPart(part: str, preset: str | None) -> None:
    found = suggest(MRIAcquisition(), None, part)
    assert (found.presets[0] if found else None) == preset


def test_standInKSpaceIsSummarised(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = kspacePanel(openPanel)
    ui = panel.widget.ui
    assert plainToolTip(ui.applyButton) == "Choose a file of measured data first"
    ui.kspacePathEdit.currentPath = str(writeKSpace(tmp_path))
    text = ui.measuredSummaryLabel.text
    assert text.startswith("k-space (ISMRMRD): 3 slices, 4 coils, 64 x 64, 1.6 x fewer samples, pixels of 0.9 x 0.9 mm")
    assert "Maker 3 T" in text
    assert "Coil maps are estimated from the middle of k-space; noise is estimated from the data" in text
    assert ui.partCollapsibleButton.text == "All 3 slices"
    assert not ui.axisOrderComboBox.isVisibleTo(panel.container)
    assert not ui.measuredSamplesComboBox.isVisibleTo(panel.container)
    assert not ui.mapsPathEdit.isVisibleTo(panel.container)
    assert ui.pixelSpinBox.isVisibleTo(panel.container)
    assert ui.applyButton.enabled
    assert "of 3 slices" in ui.estimateLabel.text
    assert panel.widget.panel.request().measured == (str(tmp_path / "head.h5"), "")
    ui.kspacePathEdit.currentPath = str(tmp_path / "none.h5")
    assert not ui.applyButton.enabled
    assert ui.measuredSummaryLabel.text.endswith("found 'none.h5': choose another file.")
    assert not ui.pixelSpinBox.isVisibleTo(panel.container)


def test_standInWhatAnArrayDoesNotSayIsAskedFor(openPanel: OpenPanel, tmp_path: Path) -> None:
    """Axes, measured samples and the size of pixels, one after the other; then the job has all of it."""
    panel = kspacePanel(openPanel)
    ui = panel.widget.ui
    path = writeArray(tmp_path)
    ui.kspacePathEdit.currentPath = str(path)
    assert "names the axes of shape (4, 64, 64)" in ui.measuredSummaryLabel.text
    assert not ui.applyButton.enabled
    assert ui.axisOrderComboBox.isVisibleTo(panel.container)
    assert titles(ui.axisOrderComboBox)[:2] == ["As described", "coil, row, column"]
    assert ui.mapsPathEdit.isVisibleTo(panel.container)
    choose(ui.axisOrderComboBox, "coil, row, column")
    assert "expected to be told what was measured" in ui.measuredSummaryLabel.text
    choose(ui.measuredSamplesComboBox, "Those that are not zero")
    assert ui.measuredSummaryLabel.text == (
        "'head.npy' does not say how wide its pixels are: enter the pixel size, which is the field of view over the "
        "matrix.")
    ui.pixelSpinBox.value = 0.9
    assert ui.measuredSummaryLabel.text.startswith("k-space (NumPy): 1 slice, 4 coils, 64 x 64")
    assert ui.applyButton.enabled
    said = {"axes": ["coil", "row", "column"], "mask": "nonzero", "pixel_mm": [0.9, 0.9]}
    assert panel.widget.panel.request().measured == (str(path), said)
    assert f"{path.name}',\n    {{'axes': ['coil', 'row', 'column']" in panel.widget.panel.pythonCall()


def test_standInADescriptionBesideIsFoundAndTheRowsAreOverIt(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = kspacePanel(openPanel)
    ui = panel.widget.ui
    path = writeArray(tmp_path)
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps({"axes": ["coil", "row", "column"], "mask": "nonzero", "pixel_mm": [2.0, 1.0]}))
    ui.kspacePathEdit.currentPath = str(path)
    assert "pixels of 2 x 1 mm" in ui.measuredSummaryLabel.text
    assert panel.widget.panel.request().measured == (str(path), str(beside))
    ui.pixelSpinBox.value = 1.5
    assert "pixels of 1.5 x 1.5 mm" in ui.measuredSummaryLabel.text
    assert panel.widget.panel.request().measured[1]["axes"] == ["coil", "row", "column"]
    beside.write_text(json.dumps({"axis": ["coil"]}))
    ui.pixelSpinBox.value = 1.6
    assert f"in {beside}, found 'axis'" in ui.measuredSummaryLabel.text


def test_standInCoilMapsComeIntoTheJob(application: Any, tmp_path: Path) -> None:
    """Maps from another folder; the job's folder has all that the run reads."""
    path, maps = writeArray(tmp_path), tmp_path / "elsewhere" / "maps.npy"
    maps.parent.mkdir()
    np.save(maps, np.ones((4, 64, 64), np.complex64))
    values = MRIAcquisition(
        kspacePath=str(path), mapsPath=str(maps), axisOrder="coil,row,column", measuredSamples="nonzero", pixelMm=0.9,
    )
    found = summarise(values)
    assert found.shape == (1, 64, 64)
    assert "Coil maps given" in found.text
    assert found.acceleration == pytest.approx(1.6)
    folder = tmp_path / "job"
    folder.mkdir()
    for _step in reconstructFrom(*found.files, {"modality": "mri"})(folder):
        pass
    job = read_job(folder)
    assert (job.input, job.geometry) == ("kspace.npy", "kspace.json")
    read = FILES.read(folder / job.input, folder / job.geometry)
    np.testing.assert_array_equal(read.maps[0], np.load(maps))
    np.testing.assert_array_equal(read.values[0], kspaceArray()[0])
    np.save(maps, np.ones((4, 32, 64), np.complex64))
    with pytest.raises(ValueError, match="expected coil maps in the k-space's shape"):
        summarise(values)


def test_mapsForAFileWhoseReaderTakesNoneAreRefused(tmp_path: Path) -> None:
    maps = tmp_path / "maps.npy"
    np.save(maps, np.ones((4, 64, 64), np.complex64))
    with pytest.raises(ValueError, match=r"'head\.h5' brings no place for coil maps: leave them out"):
        summarise(MRIAcquisition(kspacePath=str(writeKSpace(tmp_path)), mapsPath=str(maps)))


def test_aFileThatCannotBeLookedAtIsLeftToTheRun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first set-up, and a large one: all slices or slices by number, nothing in between."""
    path = writeKSpace(tmp_path)
    monkeypatch.setattr(measured, "LONGEST_LOOK_BYTES", 1000)
    assert summarise(MRIAcquisition(kspacePath=str(path))).shape is None
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "h5py", None)
    found = summarise(MRIAcquisition(kspacePath=str(path)))
    assert (found.shape, found.files) == (None, (str(path), ""))
    assert found.text == "'head.h5' is looked at by the run: the first Apply sets up what is needed (h5py)."


def test_standInAFileThatIsLeftToTheRunCanBeRun(
    openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "LONGEST_LOOK_BYTES", 1000)
    panel = kspacePanel(openPanel)
    ui, parameters = panel.widget.ui, panel.widget.logic.getParameterNode()
    ui.kspacePathEdit.currentPath = str(writeKSpace(tmp_path))
    assert "the run alone reads it" in ui.measuredSummaryLabel.text
    assert plainToolTip(ui.applyButton).startswith("How many slices there are is found by the run: choose all")
    choose(ui.extentComboBox, "All")
    assert ui.applyButton.enabled
    assert ui.estimateLabel.text == "How long it takes is said when the run has begun."
    choose(ui.extentComboBox, "By number")
    ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value = 20, 21
    assert panel.widget.panel.settings()["slices"] == [19, 21]
    assert slicesOfMeasured(parameters, 30) == (19, 21)
    with pytest.raises(ValueError, match="from 1 to 3, found 20 to 21"):
        slicesOfMeasured(parameters, 3)


def test_answersAreKeysOfADescriptionAndEachIsLookedAtAnew() -> None:
    plain = MRIAcquisition()
    assert answers(plain) == {}
    changed = {"axisOrder": "row,column", "measuredSamples": "full", "mapsPath": "m.npy", "pixelMm": 1.0,
               "oversampling": 2.0, "kspacePath": "k.npy", "descriptionPath": "k.json"}
    for name, value in changed.items():
        assert MRI.sources(MRIAcquisition(**{name: value})) != MRI.sources(plain), name
    assert answers(MRIAcquisition(**changed)) == {
        "axes": ["row", "column"], "mask": "full", "maps": "m.npy", "pixel_mm": [1.0, 1.0], "oversampling": 2.0}
