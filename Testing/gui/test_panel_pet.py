"""PET in the panel on the stand-in: recognised volumes, acquisitions, attenuation, files of counts, and SUV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ctk
import numpy as np
import pydicom
import pytest
import slicer
import slicer.util
from diffusion_engine.io.images import read_volume
from diffusion_engine.jobs.job import read_job
from diffusion_engine.modalities.pet.entry import PET as OF_ENGINE
from diffusion_engine.modalities.pet.files import FILES
from diffusion_engine.modalities.pet.readings.dicom_pet import read_dicom_pet
from diffusion_engine.priors.card import read_card
from diffusion_engine.run.presets import available_presets
from diffusion_engine.run.settings import Settings
from diffusion_engine.solvers.listing import listed_methods
from DiffusionReconLib.jobs.engine import reconstructFrom, simulateFrom
from DiffusionReconLib.modalities import table
from DiffusionReconLib.modalities.contract import presetOf
from DiffusionReconLib.modalities.pet import measured, uptake
from DiffusionReconLib.modalities.pet.acquisition import PETAcquisition, answers, scanSettings, summarise
from DiffusionReconLib.modalities.pet.entry import PET, suggest
from DiffusionReconLib.panel.method import PRIORS_FOLDER
from DiffusionReconLib.scene.dicom_export import exportSeries
from DiffusionReconLib.scene.volumes import setUnit, unitOfNode
from host.pythonqt import plainToolTip
from pet_inputs import (
    HALF_LIFE_S,
    WATER_PER_MM,
    addBody,
    addCT,
    bodyArray,
    counts,
    inDatabase,
    matrix,
    writeArray,
    writeOwn,
    writeSeries,
)
from prepared import OpenPanel, addChest

SAID = {"axes": ["slice", "angle", "bin"], "bin_mm": 6.0, "arc_deg": 180.0, "slice_spacing_mm": 5.0}


def choose(combo: Any, title: str) -> None:
    combo.currentIndex = combo.findText(title)
    assert combo.currentText == title


def titles(combo: Any) -> list[str]:
    return [combo.itemText(index) for index in range(combo.count)]


def perBqml(minutes: float = 60.0, weight: float = 70.0) -> float:
    """SUVbw of one Bq/mL of `writeSeries`, worked out apart from the code."""
    return weight * 1000 / (3.5e8 * 0.5 ** (minutes * 60 / HALF_LIFE_S))


def countsPanel(openPanel: OpenPanel) -> Any:
    panel = openPanel()
    choose(panel.widget.ui.sourceComboBox, "Measured data")
    choose(panel.widget.ui.modalityComboBox, "PET")
    return panel


def written(folder: Path, prepare: Any) -> Any:
    folder.mkdir()
    for _step in prepare(folder):
        pass
    return read_job(folder)


def test_standInAPETVolumeIsRecognisedByItsUnit(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    addBody()
    assert ui.modalityComboBox.currentText == "PET"
    assert ui.purposeLabel.text.startswith("Simulates a low-count scan of this PET volume")
    assert ui.attenuationSelector.isVisibleTo(panel.container)
    assert not ui.viewsSpinBox.isVisibleTo(panel.container)
    assert not ui.countsPathEdit.isVisibleTo(panel.container)
    assert not ui.valueUnitComboBox.isVisibleTo(panel.container)
    assert panel.widget.panel.method.prior == OF_ENGINE.default_prior
    assert titles(ui.presetComboBox) == [preset.title for preset in available_presets(listed_methods("pet"), "pet")]
    assert ui.applyButton.enabled
    panel.widget.logic.getParameterNode().inputVolume = addBody("Uptake", "SUV")
    assert (ui.modalityComboBox.currentText, ui.applyButton.enabled) == ("PET", True)
    panel.widget.logic.getParameterNode().inputVolume = addChest()
    assert ui.modalityComboBox.currentText == "CT"
    assert not ui.attenuationSelector.isVisibleTo(panel.container)


def test_standInTheSyntheticTorsoCanBeReconstructedAtOnce(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui, parameters = panel.widget.ui, panel.widget.logic.getParameterNode()
    pet, ct = panel.widget.logic.makeSyntheticTorso()
    parameters.inputVolume = pet
    ui.attenuationSelector.setCurrentNode(ct)
    assert (ui.modalityComboBox.currentText, unitOfNode(pet), unitOfNode(ct)) == ("PET", "Bq/mL", "HU")
    assert panel.widget.panel.request().beside == {"attenuation_map": ct}


@pytest.mark.parametrize(("name", "modality"), [
    ("Head", "mri"), ("4 PET WB", "pet"), ("FDG_torso", "pet"), ("TorsoPET", "pet"), ("SUVbw", "pet"),
    ("Petersen", "mri"),
])
def test_aNameSpeaksForAModalityWhereNothingElseDoes(name: str, modality: str) -> None:
    assert table.recognised("", "a.u.", name) == modality
    assert table.recognised("", "HU", name) == "ct"
    assert table.recognised("MR", "a.u.", name) == "mri"


def test_standInTheUnitOfAVolumeIsAskedForAndStaysWithIt(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    node = addBody("PET of a file", "")
    assert "Is 'PET of a file' PET?" in ui.modalityQuestionLabel.text
    ui.modalityQuestionLabel.linkActivated.emit("pet")
    assert ui.valueUnitComboBox.isVisibleTo(panel.container)
    assert plainToolTip(ui.applyButton).startswith("Choose under 'Values in' in which unit the values of 'PET of a")
    index = ui.valueUnitComboBox.findText("SUV")
    ui.valueUnitComboBox.currentIndex = index
    ui.valueUnitComboBox.activated.emit(index)
    assert (unitOfNode(node), ui.applyButton.enabled) == ("SUV", True)
    # A wrong answer can be corrected, and taken back.
    assert ui.valueUnitComboBox.isVisibleTo(panel.container)
    ui.valueUnitComboBox.activated.emit(ui.valueUnitComboBox.findText("Bq/mL"))
    assert unitOfNode(node) == "Bq/mL"
    assert ui.valueUnitComboBox.currentText == "Bq/mL"
    ui.valueUnitComboBox.activated.emit(0)
    assert not ui.applyButton.enabled


def test_standInAnAcquisitionBecomesTheEnginesSettings(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    addBody()
    choose(ui.acquisitionPresetComboBox, "A tenth of the counts")
    assert ui.countsSpinBox.value == 0.1
    ui.petBackgroundSpinBox.value, ui.anglesSpinBox.value, ui.psfSpinBox.value = 50.0, 60, 5.0
    ui.petDurationSpinBox.value = 90.0
    assert panel.widget.panel.inputs.scan() == {
        "modality": "pet", "counts": 0.1, "background_percent": 50.0, "angles": 60, "duration_s": 90.0,
        "attenuated": True, "denoise": False, "psf_mm": 5.0, "tube_kvp": 120,
    }
    assert ui.acquisitionPresetComboBox.currentText == "Custom"
    Settings.from_dict(panel.widget.panel.settings())


def test_standInALowCountImageIsDenoisedAndLabelledAsSuch(openPanel: OpenPanel) -> None:
    """Whatever its dose, which the user enters."""
    panel = openPanel()
    ui = panel.widget.ui
    addBody()
    assert not ui.denoiseLabel.isVisibleTo(panel.container)
    choose(ui.acquisitionPresetComboBox, "Denoise this low-count image")
    ui.countsSpinBox.value = 0.05
    assert ui.acquisitionPresetComboBox.currentText == "Denoise this low-count image"
    assert ui.denoiseLabel.text.startswith(
        "No scan is simulated: this volume is taken as the image of a scan of 0.05 million true coincidences a slice")
    scan = panel.widget.panel.inputs.scan()
    assert (scan["denoise"], scan["counts"]) == (True, 0.05)
    assert OF_ENGINE.in_words(scan) == "denoised as of 0.05 million counts a slice"
    choose(ui.acquisitionPresetComboBox, "Full counts")
    assert (panel.widget.panel.inputs.scan()["denoise"], ui.denoiseLabel.text) == (False, "")


def test_everyPETAcquisitionPresetIsRecognisedAndAccepted() -> None:
    for preset in PET.presets:
        values = PETAcquisition(**preset.values)
        assert presetOf(PET, values).name == preset.name
        Settings.from_dict({"modality": "pet", **scanSettings(values)})
    assert presetOf(PET, PETAcquisition(counts=0.5)) is None


def test_everyPresetOfPETHasASentenceAndItsModel() -> None:
    offered = available_presets(listed_methods("pet"), "pet")
    assert {preset.name for preset in offered} == set(PET.sentences)
    assert {image.name for image in OF_ENGINE.classical} == set(PET.stages)
    assert read_card(PRIORS_FOLDER / f"{PET.model}.json").modality == PET.name


@pytest.mark.parametrize(("part", "preset"), [("BRAIN", "classical"), ("CHEST", None), ("", None)])
def test_thePresetThatFitsABodyPart(part: str, preset: str | None) -> None:
    found = suggest(PETAcquisition(), None, part)
    assert (found.presets[0] if found else None) == preset


def test_standInACTComesIntoTheJobAtItsPlaceInThePatient(openPanel: OpenPanel, tmp_path: Path) -> None:
    """Also where both lie under transforms of their own; the call as Python takes it too."""
    panel = openPanel()
    ui, parameters = panel.widget.ui, panel.widget.logic.getParameterNode()
    parameters.inputVolume = node = addBody()
    ct = addCT()
    assert not ui.tubeComboBox.isVisibleTo(panel.container)
    ui.attenuationSelector.setCurrentNode(ct)
    assert parameters.petAttenuation is ct
    assert ui.tubeComboBox.isVisibleTo(panel.container)
    choose(ui.tubeComboBox, "100 kVp")
    request = panel.widget.panel.request()
    assert (request.beside, request.settings["tube_kvp"]) == ({"attenuation_map": ct}, 100)
    for each, moved in ((node, 10.0), (ct, 22.0)):
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        shift = np.eye(4)
        shift[0, 3] = moved
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
        each.SetAndObserveTransformNodeID(transform.GetID())
    job = written(tmp_path / "job", simulateFrom(node, request.settings, request.beside))
    found = read_volume(job.settings["attenuation_map"])
    assert (found.unit, found.array.shape) == ("HU", (3, 96, 96))
    assert Path(job.settings["attenuation_map"]).parent == tmp_path / "job"
    assert found.ijk_to_ras[0, 3] == pytest.approx(1.5 + 22 - 10)
    Settings.from_dict(job.settings)
    call = panel.widget.panel.pythonCall()
    assert f"'attenuation_map': slicer.mrmlScene.GetNodeByID('{ct.GetID()}')" in call
    assert "reconstruct(volume, settings, beside=beside)" in call
    compile(call, "call", "exec")


def test_standInWhatCannotBeAttenuationIsRefused(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    panel.widget.logic.getParameterNode().inputVolume = node = addBody()
    ui.attenuationSelector.setCurrentNode(node)
    assert plainToolTip(ui.applyButton).startswith("'Body' is the PET volume itself")
    unknown = addCT("Map", unit="")
    slicer.util.updateVolumeFromArray(unknown, np.full((3, 96, 96), WATER_PER_MM, np.float32))
    ui.attenuationSelector.setCurrentNode(unknown)
    assert plainToolTip(ui.applyButton) == (
        "Choose under 'Its values' whether 'Map' is a CT in HU or attenuation in 1/mm")
    assert not ui.tubeComboBox.isVisibleTo(panel.container)
    ui.attenuationUnitComboBox.activated.emit(ui.attenuationUnitComboBox.findText("1/mm"))
    assert (ui.applyButton.enabled, unitOfNode(unknown)) == (True, "1/mm")
    assert ui.attenuationUnitComboBox.isVisibleTo(panel.container)
    # It is that volume's alone.
    ui.attenuationSelector.setCurrentNode(addCT())
    assert not ui.attenuationUnitComboBox.isVisibleTo(panel.container)
    assert ui.tubeComboBox.isVisibleTo(panel.container)
    ui.attenuationSelector.setCurrentNode(unknown)
    ui.attenuatedCheckBox.checked = False
    assert "The body is not to attenuate, but 'Map' is chosen" in plainToolTip(ui.applyButton)
    assert ui.attenuationSelector.enabled
    ui.attenuationSelector.setCurrentNode(None)
    assert ui.applyButton.enabled


def test_standInCountsAreSummarised(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = countsPanel(openPanel)
    ui = panel.widget.ui
    assert plainToolTip(ui.applyButton) == "Choose a file of measured data first"
    assert not ui.suvCollapsibleButton.isVisibleTo(panel.container)
    ui.countsPathEdit.currentPath = str(writeOwn(tmp_path))
    text = ui.measuredSummaryLabel.text
    assert "3 slices, 30 angles, 48 bins of 6 mm" in text
    assert "attenuation known, 60 s, F-18" in text
    assert not ui.countsAxesComboBox.isVisibleTo(panel.container)
    assert not ui.countsCalibrationSpinBox.isVisibleTo(panel.container)
    assert ui.applyButton.enabled
    assert panel.widget.panel.inputs.scan() == {"modality": "pet", "psf_mm": 4.0, "tube_kvp": 120}
    assert panel.widget.panel.request().measured == (str(tmp_path / "scan.npz"), "")
    assert ui.partCollapsibleButton.text == "All 3 slices"
    ui.countsPathEdit.currentPath = str(tmp_path / "none.hs")
    assert ui.measuredSummaryLabel.text.endswith("found no file 'none.hs': choose another file.")


def test_standInWhatAnArrayDoesNotSayIsAskedFor(openPanel: OpenPanel, tmp_path: Path) -> None:
    """Axes, bins, spacing and angles, one after the other; then the job has all of it."""
    panel = countsPanel(openPanel)
    ui = panel.widget.ui
    path = writeArray(tmp_path)
    ui.countsPathEdit.currentPath = str(path)
    assert "names the axes of shape (3, 30, 48)" in ui.measuredSummaryLabel.text
    assert titles(ui.countsAxesComboBox)[:2] == ["As described", "slice, angle, bin"]
    assert not ui.applyButton.enabled
    choose(ui.countsAxesComboBox, "slice, angle, bin")
    assert 'expected "bin_mm"' in ui.measuredSummaryLabel.text
    ui.countsBinSpinBox.value = 6.0
    assert 'expected "slice_spacing_mm"' in ui.measuredSummaryLabel.text
    ui.countsSpacingSpinBox.value = 5.0
    assert '"arc_deg"' in ui.measuredSummaryLabel.text
    ui.countsArcSpinBox.value = 180.0
    assert "PET counts (NumPy): 3 slices, 30 angles" in ui.measuredSummaryLabel.text
    assert "No attenuation is known" in ui.measuredSummaryLabel.text
    assert ui.applyButton.enabled
    assert panel.widget.panel.request().measured == (str(path), SAID)
    ui.attenuationSelector.setCurrentNode(addCT())
    assert plainToolTip(ui.applyButton).startswith("The counts do not say where in the patient they lie")
    assert "No attenuation is known" not in ui.measuredSummaryLabel.text
    assert "No background is known" in ui.measuredSummaryLabel.text
    path.with_suffix(".json").write_text(json.dumps({"ijk_to_ras": matrix().tolist()}))
    ui.countsBinSpinBox.value = 6.5
    assert ui.applyButton.enabled
    job = written(tmp_path / "job", reconstructFrom(*panel.widget.panel.request().measured, {"modality": "pet"},
                                                    panel.widget.panel.request().beside))
    assert read_volume(job.settings["attenuation_map"]).unit == "HU"
    assert FILES.read(tmp_path / "job" / job.input, tmp_path / "job" / job.geometry).bin_mm == 6.5


def test_standInCountsBelowZeroAreRefusedUntilTheyAreToBecomeZero(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = countsPanel(openPanel)
    ui = panel.widget.ui
    assert not ui.negativeToZeroCheckBox.isVisibleTo(panel.container)
    path, values = writeArray(tmp_path), counts()
    values[1, 2, 3] = -4
    np.save(path, values)
    path.with_suffix(".json").write_text(json.dumps(SAID))
    ui.countsPathEdit.currentPath = str(path)
    assert "expected counts of at least 0, found 1 below 0, down to -4" in ui.measuredSummaryLabel.text
    assert '"negative_to_zero": true' in ui.measuredSummaryLabel.text
    assert not ui.applyButton.enabled
    assert ui.negativeToZeroCheckBox.isVisibleTo(panel.container)
    ui.negativeToZeroCheckBox.setChecked(True)
    assert "1 values below 0" in ui.measuredSummaryLabel.text
    assert ui.applyButton.enabled
    assert panel.widget.panel.request().measured == (str(path), {**SAID, "negative_to_zero": True})


def test_standInFactorsComeIntoTheJob(application: Any, tmp_path: Path) -> None:
    """Files beside a description that lies in another folder, and one over it."""
    path, background = writeArray(tmp_path), tmp_path / "other" / "b.npy"
    background.parent.mkdir()
    described = tmp_path / "other" / "said.json"
    described.write_text(json.dumps({**SAID, "attenuation_factors": "acf.npy"}))
    np.save(described.with_name("acf.npy"), np.full_like(counts(), 2.0))
    np.save(background, np.full_like(counts(), 3.0))
    found = summarise(PETAcquisition(countsPath=str(path), descriptionPath=str(described),
                                     backgroundPath=str(background), measuredSeconds=60.0))
    assert found.shape == (3, 48, 48)
    assert found.counts == pytest.approx(counts().sum() / 3)
    assert "attenuation known, 60 s" in found.text
    job = written(tmp_path / "job", reconstructFrom(*found.files, {"modality": "pet"}))
    read = FILES.read(tmp_path / "job" / job.input, tmp_path / "job" / job.geometry)
    np.testing.assert_array_equal(read.prompts, counts())
    np.testing.assert_allclose(read.background, 3.0)
    np.testing.assert_allclose(read.attenuation, 0.5)


def test_answersAreKeysOfADescriptionAndEachIsLookedAtAnew() -> None:
    plain = PETAcquisition()
    assert answers(plain) == {}
    changed = {"axisOrder": "angle,bin", "binMm": 2.0, "arcDegrees": 180.0, "sliceSpacingMm": 3.0,
               "measuredSeconds": 60.0, "countsPerBq": 0.001, "backgroundPath": "b.npy", "survivalPath": "a.npy",
               "negativeToZero": True, "countsPath": "c.npy", "descriptionPath": "c.json"}
    for name, value in changed.items():
        assert PET.sources(PETAcquisition(**{name: value})) != PET.sources(plain), name
    assert answers(PETAcquisition(**changed)) == {
        "axes": ["angle", "bin"], "bin_mm": 2.0, "arc_deg": 180.0, "slice_spacing_mm": 3.0, "duration_s": 60.0,
        "counts_per_bq": 0.001, "background": "b.npy", "attenuation": "a.npy",
        "negative_to_zero": True}


def test_aLargeFileOfCountsIsLeftToTheRun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "LONGEST_LOOK_BYTES", 1000)
    assert summarise(PETAcquisition(countsPath=str(writeOwn(tmp_path)))).shape is None


def test_standInADicomPETVolumeHasItsHeadersUnit(openPanel: OpenPanel, tmp_path: Path, monkeypatch: Any) -> None:
    """Slicer loads such a volume without a coded unit."""
    node = addBody("Series", "")
    inDatabase(monkeypatch, node, writeSeries(tmp_path / "pt"))
    monkeypatch.setattr("DiffusionReconLib.scene.volumes.dicomModality", lambda _node: "PT")
    assert unitOfNode(node) == "Bq/mL"
    for changes, unit in (({"Units": "GML"}, "SUV"), ({"Units": "GML", "SUVType": "BSA"}, "a.u."),
                          ({"Units": "CNTS"}, "a.u.")):
        inDatabase(monkeypatch, node, writeSeries(tmp_path / unit.replace(".", "_") / str(changes), **changes))
        assert unitOfNode(node) == unit


def test_standInFactorsAreToldWithTheirReasonsAndTheRunIsInSUV(
    openPanel: OpenPanel, tmp_path: Path, monkeypatch: Any
) -> None:
    panel = openPanel()
    ui, parameters = panel.widget.ui, panel.widget.logic.getParameterNode()
    node = addBody("Series")
    inDatabase(monkeypatch, node, writeSeries(tmp_path / "pt", PatientWeight=None))
    assert ui.suvFolderPathEdit.filters == ctk.ctkPathLineEdit.Dirs
    ui.suvFactorsButton.click()
    assert ui.suvLabel.text == (
        "expected the patient's weight in kg as PatientWeight, found none: state it")
    ui.suvWeightSpinBox.value = 70.0
    assert f"SUV = value x {perBqml():.6g} (g/mL, body weight)" in ui.suvLabel.text
    assert "60.0 minutes of decay" in ui.suvLabel.text
    assert "PatientWeight was stated by the user." in ui.suvLabel.text
    ui.suvWeightSpinBox.value = 35.0
    assert f"SUV = value x {perBqml(weight=35):.6g} " in ui.suvLabel.text
    ui.suvVolumeButton.click()
    made = parameters.inputVolume
    assert (made.GetName(), unitOfNode(made)) == ("Series SUV", "SUV")
    np.testing.assert_allclose(slicer.util.arrayFromVolume(made), bodyArray() * perBqml(weight=35), rtol=1e-5)
    assert "60.0 minutes of decay" in made.GetDescription()
    assert (ui.modalityComboBox.currentText, ui.applyButton.enabled) == ("PET", True)
    assert ui.suvLabel.text == ""
    ui.suvFactorsButton.click()
    assert ui.suvLabel.text == "'Series SUV' is in SUV already: choose the volume in Bq/mL for another kind of SUV."
    parameters.inputVolume = node
    ui.suvTimeLineEdit.text = "soon"
    ui.suvFactorsButton.click()
    assert "expected the time of injection as 14:05:30" in ui.suvLabel.text
    ui.suvTimeLineEdit.text = "09:30"
    assert f"SUV = value x {perBqml(90, 35):.6g} " in ui.suvLabel.text


def test_standInSUVFromAFolderAndWithoutHeaders(application: Any, tmp_path: Path) -> None:
    node = addBody("Body")
    with pytest.raises(ValueError, match="has no PET series of 'Body': choose the folder of its DICOM files"):
        uptake.makeSUV(node)
    with pytest.raises(ValueError, match="found no such folder"):
        uptake.makeSUV(node, folder=str(tmp_path / "none"))
    folder = writeSeries(tmp_path / "pt")[0].parent
    made = uptake.makeSUV(node, "lbm", folder=str(folder))
    assert unitOfNode(made) == "SUVlbm"
    assert table.recognised("", unitOfNode(made)) == "pet"
    lean = 9270 * 70 / (6680 + 216 * 70 / 1.8**2)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(made), bodyArray() * perBqml() * lean / 70, rtol=1e-5)
    unknown = addBody("File", "")
    with pytest.raises(ValueError, match="in which unit the values of 'File' are"):
        uptake.makeSUV(unknown, folder=str(folder))


def test_standInFactorsThatDifferBySliceGoToTheirSlices(application: Any, tmp_path: Path) -> None:
    """Values that were not corrected for decay, K running against the places of the images."""
    paths = writeSeries(tmp_path / "pt", DecayCorrection="NONE", CorrectedImage=["ATTN"])
    for n, path in enumerate(paths):
        data = pydicom.dcmread(path)
        data.AcquisitionTime = f"11{10 * n:02d}00"
        data.save_as(path)
    place = np.diag([-6.0, -6.0, -5.0, 1.0])
    place[2, 3] = 10.0
    node = slicer.util.addVolumeFromArray(bodyArray()[::-1], place, "Turned")
    setUnit(node, "Bq/mL")
    made = slicer.util.arrayFromVolume(uptake.makeSUV(node, folder=str(tmp_path / "pt")))
    centre = made[:, 24, 24] / bodyArray()[0, 24, 24]
    ratio = 2 ** (600 / HALF_LIFE_S)
    assert sorted(centre[1:] / centre[:-1]) == pytest.approx([ratio, ratio], rel=1e-4)


def test_standInAnImageInBqMLOfASeriesInCountsTakesTheFactorsOfBqML(application: Any) -> None:
    """Philips: stored counts times (7053,1009) are Bq/mL, in which Slicer may hold the volume."""
    header = {"Units": "CNTS", "PhilipsPETPrivateGroup": {
        "ActivityConcentrationScaleFactor": "4.0", "SUVScaleFactor": "0.002"}, "PatientWeight": "70"}
    factors = uptake.factorsOf(addBody("Body"), [(header, None)] * 3, {})
    assert factors.bw == pytest.approx([0.0005] * 3)
    only = {**header, "PhilipsPETPrivateGroup": {"SUVScaleFactor": "0.002"}}
    with pytest.raises(ValueError, match="are Bq/mL, those of the series are not and cannot be brought to it"):
        uptake.factorsOf(addBody("Body"), [(only, None)] * 3, {})


def test_standInAReconstructionHasTheHeadersOfItsInput(application: Any, tmp_path: Path, monkeypatch: Any) -> None:
    node, result = addBody("Series"), addBody("Result")
    inDatabase(monkeypatch, node, writeSeries(tmp_path / "pt"))
    result.SetNodeReferenceID(uptake.INPUT_REFERENCE, node.GetID())
    made = uptake.makeSUV(result)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(made), bodyArray() * perBqml(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["bw", "lbm", "lbm_james", "bsa", "ibw"])
def test_standInEveryKindOfSUVIsReadBackAsItself(application: Any, tmp_path: Path, kind: str) -> None:
    """Exported as a derived PET series, whose header names the kind."""
    made = uptake.makeSUV(addBody("Body"), kind, folder=str(writeSeries(tmp_path / "pt")[0].parent))
    made.SetAttribute("DiffusionPriors.Modality", "pet")
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in (tmp_path / "pt").iterdir()]
    for source in sources:
        source.SOPClassUID = "1.2.3"
    exportSeries(made, tmp_path / "out", sources)
    back = read_dicom_pet(tmp_path / "out", kind)
    assert back.volume.unit == unitOfNode(made) == uptake.unitOfKind(kind)
    array = slicer.util.arrayFromVolume(made)
    np.testing.assert_allclose(back.volume.array, array, atol=1e-4 * array.max())
