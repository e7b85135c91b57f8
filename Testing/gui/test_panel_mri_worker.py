"""MRI in the panel on the stand-in with the real engine in its own process, from both inputs to the findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from DiffusionReconLib.scene import results
from mr_inputs import addMRHead, headArray, writeArray
from prepared import OpenPanel, idle, leftovers

SECONDS = 300.0
pytestmark = pytest.mark.slow


def nodes() -> dict[str, Any]:
    return results.resultNodes(results.resultReports()[-1])


def choose(combo: Any, title: str) -> None:
    combo.currentIndex = combo.findText(title)
    assert combo.currentText == title


def correlation(node: Any) -> float:
    """Of an image's middle slice with the head."""
    found, wanted = slicer.util.arrayFromVolume(node), headArray()
    assert found.shape[1:] == wanted.shape[1:]
    return float(np.corrcoef(found[0].ravel(), wanted[0].ravel())[0, 1])


def test_standInMRFromVolumeToFindings(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    addMRHead(panel)
    choose(ui.acquisitionPresetComboBox, "4-fold, random lines")
    choose(ui.deviceComboBox, "CPU")
    ui.acsSpinBox.value = 12
    ui.stepsSpinBox.value, ui.drawsSpinBox.value, ui.sliceCountSpinBox.value = 4, 2, 1
    ui.keepPhaseCheckBox.checked = True
    ui.applyButton.click()
    idle(panel, SECONDS)
    assert ui.statusLabel.text == "Done."
    found = nodes()
    assert {"mean", "uncertainty", "not_seen", "residual", "reference", "zero-filled", "sense", "tv", "wavelet",
            "phase"} <= set(found)
    assert "phase (rad) (" in found["phase"].GetName()
    assert found["phase"].GetVoxelValueUnits().GetCodeValue() == "rad"
    display = found["phase"].GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((-np.pi, np.pi))
    assert 2 < np.ptp(slicer.util.arrayFromVolume(found["phase"])) <= 2 * np.pi
    assert correlation(found["wavelet"]) > 0.97
    assert correlation(found["mean"]) > 0.9
    assert ui.resultComboBox.currentText.startswith("Head: DDS, 4-fold acceleration, ")
    assert "4-fold acceleration" in found["mean"].GetName()
    ui.uncertaintyButton.click()
    ui.findButton.click()
    assert "Not for diagnostic use" in ui.bannerLabel.text
    assert ui.exportCsvButton.enabled
    first = slicer.util.arrayFromVolume(found["mean"]).copy()
    scope: dict = {}
    exec(compile(panel.widget.panel.pythonCall(), "copied", "exec"), scope)
    assert np.array_equal(slicer.util.arrayFromVolume(scope["nodes"]["mean"]), first)
    assert not leftovers()


def test_standInMRFromKSpaceToFindings(openPanel: OpenPanel, tmp_path: Path) -> None:
    """A plain array of which nothing is known but what the panel's rows say."""
    panel = openPanel()
    ui = panel.widget.ui
    choose(ui.sourceComboBox, "Measured data")
    choose(ui.modalityComboBox, "MRI")
    ui.kspacePathEdit.currentPath = str(writeArray(tmp_path))
    choose(ui.axisOrderComboBox, "coil, row, column")
    choose(ui.measuredSamplesComboBox, "Those that are not zero")
    ui.pixelSpinBox.value = 0.9
    choose(ui.deviceComboBox, "CPU")
    choose(ui.presetComboBox, "Classical")
    ui.applyButton.click()
    idle(panel, SECONDS)
    assert ui.statusLabel.text == "Done."
    found = nodes()
    assert correlation(found["wavelet"]) > 0.97
    assert correlation(found["sense"]) > correlation(found["zero-filled"])
    assert found["wavelet"].GetSpacing() == pytest.approx((0.9, 0.9, 1.0))
    scope: dict = {}
    exec(compile(panel.widget.panel.pythonCall(), "copied", "exec"), scope)
    again = slicer.util.arrayFromVolume(scope["nodes"]["wavelet"])
    assert np.array_equal(again, slicer.util.arrayFromVolume(found["wavelet"]))
    assert not leftovers()
