"""The panel names no modality: what each brings comes from its entry in the table, shown with one of the test's own."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import pytest
import slicer
from diffusion_engine.run.settings import Settings
from DiffusionReconLib.jobs.settings import engineSettings
from DiffusionReconLib.modalities import table
from DiffusionReconLib.modalities.contract import Suggestion, presetOf
from DiffusionReconLib.modalities.ct.acquisition import CTAcquisition, scanSettings
from DiffusionReconLib.modalities.ct.entry import CT, FEW_PHOTONS, FEW_VIEWS, suggest
from DiffusionReconLib.modalities.ct.measured import MeasuredCT
from DiffusionReconLib.panel import acquisition as panel_acquisition
from DiffusionReconLib.panel import parameters as panel_parameters
from DiffusionReconLib.panel.parameters import ReconParameters, complete
from photo_panel.entry import PHOTO, PhotoAcquisition
from prepared import OpenPanel, addChest

PHOTOGRAPHS = Path(__file__).parent / "photo_panel"
MODULE = Path(panel_parameters.__file__).resolve().parents[2]
# Words of one modality or of its units. "view" and "window" are Slicer's too.
OF_ONE_MODALITY = {
    "ct", "mr", "mri", "pet", "hu", "hounsfield", "suv", "sinogram", "sinograms", "photon", "photons", "beam", "fan",
    "detector", "detectors", "arc", "projection", "projections", "fbp", "backprojection", "tv", "water", "attenuation",
    "electronic", "coil", "coils", "tracer", "activity", "kspace", "views",
}
# Literal tables: stages of a run by title, what of a result is looked at.
TABLES = {"run.py": {"fbp", "backprojection", "tv"}, "review_view.py": {"tv"}}
# Where views are what shows a scene.
OF_SLICER = ("review", "run.", "export.")


def named(text: str) -> set[str]:
    """The words of a name or a sentence that belong to one modality."""
    words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text)}
    return words & OF_ONE_MODALITY


@pytest.mark.parametrize("path", sorted((MODULE / "DiffusionReconLib" / "panel").glob("*.py")), ids=lambda p: p.name)
def test_thePanelsSourceNamesNoModality(path: Path) -> None:
    kinds = (tokenize.NAME, tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
    allowed = TABLES.get(path.name, set()) | ({"views"} if path.name.startswith(OF_SLICER) else set())
    source = io.StringIO(path.read_text(encoding="utf-8"))
    found = [
        f"line {token.start[0]}: {token.string}" for token in tokenize.generate_tokens(source.readline)
        if token.type in kinds and named(token.string) - allowed
    ]
    assert not found


def test_thePanelsWidgetsNameNoModality() -> None:
    text = ElementTree.parse(MODULE / "Resources" / "UI" / "DiffusionRecon.ui").getroot()
    found = [value for element in text.iter() for value in (element.get("name"), element.text) if named(value or "")]
    assert not found


def test_theSearchSeesWhatItIsFor() -> None:
    assert named("photonsSpinBox") == {"photons"}
    assert named("in 1000 HU") == {"hu"}
    assert named("CTAcquisition") == {"ct"}
    assert named("the sector of an act, fans of it") == set()


@pytest.fixture
def withPhoto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table with a second modality; nothing else is changed but where its .ui file lies."""
    both = MappingProxyType({**table.MODALITIES, "photo": PHOTO})
    monkeypatch.setattr(table, "MODALITIES", both)
    monkeypatch.setattr(panel_parameters, "ReconParameters", panel_parameters.parametersOf(both))
    folder = tmp_path / "UI"
    folder.mkdir()
    for path in panel_acquisition.UI_FOLDER.glob("Acquisition*.ui"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / PHOTO.uiFile).write_bytes((PHOTOGRAPHS / PHOTO.uiFile).read_bytes())
    monkeypatch.setattr(panel_acquisition, "UI_FOLDER", folder)


def test_standInAnotherModalityIsOneEntry(openPanel: OpenPanel, withPhoto: None) -> None:
    """The panel switches to it and back, and the settings of each are kept."""
    panel = openPanel()
    ui, inputs = panel.widget.ui, panel.widget.panel.inputs
    addChest()
    assert ui.modalityComboBox.isVisibleTo(panel.container)  # now there is something to choose
    ui.viewsSpinBox.value = 33
    assert not ui.photoKindComboBox.isVisibleTo(panel.container)
    choosing = ui.modalityComboBox
    choosing.currentIndex = choosing.findText("Photograph")
    assert inputs.modality is PHOTO
    assert ui.purposeLabel.text == "Blurs this photograph."
    assert ui.photoKindComboBox.isVisibleTo(panel.container)
    assert not ui.viewsSpinBox.isVisibleTo(panel.container)
    assert (ui.acquisitionPresetComboBox.currentText, ui.blurSpinBox.value) == ("Soft", 2.0)
    ui.acquisitionPresetComboBox.currentIndex = 1
    assert ui.blurSpinBox.value == 9.0
    ui.photoKindComboBox.currentIndex = 1
    assert inputs.scan() == {"modality": "photo", "blur_pixels": 9.0}
    assert panel.widget.panel.method.prior == "photo-small"
    choosing.currentIndex = choosing.findText("CT")
    assert (ui.viewsSpinBox.value, inputs.scan()["views"], ui.acquisitionPresetComboBox.currentText) == (
        33, 33, "Custom")
    assert panel.widget.panel.method.prior == "ct-body"
    choosing.currentIndex = choosing.findText("Photograph")
    assert (ui.blurSpinBox.value, ui.photoKindComboBox.currentText) == (9.0, "Outside")
    parameters = panel.widget.logic.getParameterNode()
    assert (parameters.photo.blur, parameters.photo.place, parameters.ct.views) == (9.0, "out", 33)
    # A model of another modality is not taken in silence.
    parameters.prior = "ct-body"
    assert ui.priorCardLabel.text == (
        "The trained model 'CT body, axial slices' is for CT, not for Photograph: choose another one under Advanced")


def test_standInTheModalityIsRecognisedByDicomOrUnit(withPhoto: None) -> None:
    assert table.recognised("CT", "") == "ct"
    assert table.recognised("", "HU") == "ct"
    assert table.recognised("XC", "HU") == "photo"
    assert table.recognised("", "1") == "photo"
    assert table.recognised("US", "HU") is None
    assert table.recognised("", "a.u.") == "mri"
    assert table.recognised("", "SUV") == table.recognised("PT", "") == "pet"
    assert table.recognised("", "mmHg") is None


def test_standInMeasuredDataAreNotReadAsTheVolumesModality(
    openPanel: OpenPanel, withPhoto: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The volume that was chosen before tells nothing of a file."""
    monkeypatch.setattr("DiffusionReconLib.panel.inputs.dicomModality", lambda _node: "XC")
    panel = openPanel()
    addChest()
    assert panel.widget.panel.inputs.modality is PHOTO
    panel.widget.ui.sourceComboBox.currentIndex = 1
    assert panel.widget.panel.inputs.modality is CT


def test_standInTwoFilesWithOneNameAreRefused(openPanel: OpenPanel, withPhoto: None) -> None:
    path = panel_acquisition.UI_FOLDER / PHOTO.uiFile
    path.write_text(path.read_text(encoding="utf-8").replace("blurSpinBox", "viewsSpinBox"), encoding="utf-8")
    with pytest.raises(ValueError, match="found \\['viewsSpinBox'\\] in another file too"):
        openPanel()


def facts(**changes: Any) -> Any:
    return CTAcquisition(**changes)


def measured(views: int, photons: float | None = None) -> MeasuredCT:
    return MeasuredCT((), (1, 8, 8), ("a", "b"), views=views, photons=photons)


@pytest.mark.parametrize(("values", "data", "bodyPart", "preset"), [
    (facts(), None, "", None), (facts(views=FEW_VIEWS), None, "CHEST", "few-views"),
    (facts(views=FEW_VIEWS + 1), None, "", None), (facts(noiseKind="photons", photons=1e4), None, "", "low-dose"),
    (facts(noiseKind="photons", photons=2 * FEW_PHOTONS), None, "", None),
    (facts(noiseKind="percent", photons=1e4), None, "", None),
    (facts(views=8, noiseKind="photons", photons=1e4), None, "", "low-dose"),
    (facts(views=8), None, "Head", "unknown-anatomy"), (facts(), None, "C_SPINE", "unknown-anatomy"),
    (facts(views=8), measured(60), "", None), (facts(), measured(12), "", "few-views"),
    (facts(), measured(60, 5e3), "", "low-dose"), (facts(), measured(60, 1e6), "", None),
])
def test_thePresetThatFitsAScan(values: Any, data: MeasuredCT | None, bodyPart: str, preset: str | None) -> None:
    found: Suggestion | None = suggest(values, data, bodyPart)
    assert (found.presets[0] if found else None) == preset


def test_everyAcquisitionPresetIsRecognisedAndAccepted() -> None:
    for preset in CT.presets:
        values = facts(**preset.values)
        assert presetOf(CT, values).name == preset.name
        Settings.from_dict({"modality": "ct", **scanSettings(values)})
    assert presetOf(CT, facts(views=61)) is None
    assert presetOf(CT, facts(photons=77.0)).name == "sparse-60"  # of no weight with noise in percent


def test_standInAnUnknownScanSettingIsRefusedNotDropped(application: Any) -> None:
    parameters = ReconParameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    assert engineSettings(parameters, {"modality": "ct", "views": 9}, "ct-body", None, None)["views"] == 9
    with pytest.raises(ValueError, match="vievs"):
        engineSettings(parameters, {"modality": "ct", "vievs": 9}, "ct-body", None, None)


def test_standInAnOlderScenesAcquisitionIsKept(application: Any) -> None:
    """Before there were packs the values had their names alone; a pack that has grown since is completed."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    for name, value in (("views", "33"), ("noiseKind", "photons"), ("firstSlice", "4")):
        node.SetParameter(name, value)
    parameters = ReconParameters(node)
    assert (parameters.ct.views, parameters.ct.noiseKind, parameters.firstSlice) == (33, "photons", 4)
    assert parameters.ct.arcDegrees == 180.0
    node.UnsetParameter("ct.photons")
    node.SetParameter("ct.views", "20")
    again = ReconParameters(node)
    assert (again.ct.views, again.ct.photons) == (20, 1e5)
    complete(node, {"ct": CTAcquisition, "photo": PhotoAcquisition})
    assert node.GetParameter("photo.blur") == "2.0"
