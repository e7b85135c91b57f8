"""PET in the panel on the stand-in with the real engine in its own process, from each input to the findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer.util
from DiffusionReconLib.scene import results
from pet_inputs import addBody, addCT, bodyArray, inDatabase, writeArray, writeSeries
from prepared import OpenPanel, idle, leftovers

SECONDS = 600.0
pytestmark = pytest.mark.slow


def nodes() -> dict[str, Any]:
    return results.resultNodes(results.resultReports()[-1])


def choose(combo: Any, title: str) -> None:
    combo.currentIndex = combo.findText(title)
    assert combo.currentText == title


def quick(ui: Any) -> None:
    """One slice, few steps and samples."""
    choose(ui.deviceComboBox, "CPU")
    ui.stepsSpinBox.value, ui.drawsSpinBox.value, ui.sliceCountSpinBox.value = 3, 2, 1


def done(panel: Any) -> dict[str, Any]:
    panel.widget.ui.applyButton.click()
    idle(panel, SECONDS)
    assert panel.widget.ui.statusLabel.text == "Done."
    return nodes()


def correlation(node: Any) -> float:
    """Of an image's middle slice with the body."""
    found, wanted = slicer.util.arrayFromVolume(node), bodyArray()
    assert found.shape[1:] == wanted.shape[1:]
    return float(np.corrcoef(found[0].ravel(), wanted[0].ravel())[0, 1])


def test_standInPETFromVolumeAndCTToFindingsAndSUV(
    openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    node = addBody()
    inDatabase(monkeypatch, node, writeSeries(tmp_path / "pt"))
    panel.widget.logic.getParameterNode().inputVolume = node
    ui.attenuationSelector.setCurrentNode(addCT())
    choose(ui.acquisitionPresetComboBox, "A quarter of the counts")
    ui.anglesSpinBox.value = 40
    quick(ui)
    found = done(panel)
    assert {"mean", "uncertainty", "osem", "rdp", "reference", "residual"} <= set(found)
    assert correlation(found["osem"]) > 0.85
    report = results.resultReport(found)
    assert any("Attenuation is that of the CT" in note for note in report["notes"])
    assert found["mean"].GetVoxelValueUnits().GetCodeValue() == "Bq/ml"
    assert ui.resultComboBox.currentText.startswith("Body: ")
    assert "0.25 million counts a slice" in ui.resultComboBox.currentText
    inside = bodyArray()[0] > 0
    level = slicer.util.arrayFromVolume(found["osem"])[0][inside].mean() / bodyArray()[0][inside].mean()
    assert 0.8 < level < 1.2
    ui.uncertaintyButton.click()
    ui.findButton.click()
    suv = panel.widget.logic.makeSUV(found["mean"])
    assert suv.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
    assert not leftovers()


def test_standInMeasuredCountsAreReconstructed(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    choose(ui.sourceComboBox, "Measured data")
    choose(ui.modalityComboBox, "PET")
    ui.countsPathEdit.currentPath = str(writeArray(tmp_path))
    choose(ui.countsAxesComboBox, "slice, angle, bin")
    ui.countsBinSpinBox.value, ui.countsSpacingSpinBox.value, ui.countsArcSpinBox.value = 6.0, 5.0, 180.0
    choose(ui.presetComboBox, "Classical")
    choose(ui.extentComboBox, "By number")
    ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value = 2, 2
    found = done(panel)
    image = slicer.util.arrayFromVolume(found["osem"])[0]
    y, x = (np.indices(image.shape) - (np.array(image.shape) - 1).reshape(2, 1, 1) / 2) * 6.0
    disc = np.hypot(x, y) < 80
    assert image[disc].mean() > 20 * image[np.hypot(x, y) > 120].mean()
    assert any("Bq/mL" in note for note in results.resultReport(found)["notes"])  # not calibrated: said


def test_standInALowCountImageIsDenoisedWithoutAReference(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    addBody()
    choose(ui.acquisitionPresetComboBox, "Denoise this low-count image")
    ui.countsSpinBox.value, ui.anglesSpinBox.value = 0.1, 40
    quick(ui)
    found = done(panel)
    assert "reference" not in found
    assert "denoised as of 0.1 million counts a slice" in found["mean"].GetName()
    assert any(note.startswith("Posterior denoising without raw data") for note in
               results.resultReport(found)["notes"])
