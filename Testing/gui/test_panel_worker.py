"""The panel on the stand-in with the real engine in its own process, from the input to the findings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from prepared import OpenPanel, addChest, idle, leftovers, writeSinogram

SECONDS = 300.0
pytestmark = pytest.mark.slow


def test_standInRealWorkerFromVolumeToFindings(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    addChest((4, 32, 32), (5.0, 5.0, 5.0))
    ui.presetComboBox.currentIndex = ui.presetComboBox.findText("Fast")
    ui.acquisitionPresetComboBox.currentIndex = ui.acquisitionPresetComboBox.findText("Sparse view, 20")
    ui.deviceComboBox.currentIndex = ui.deviceComboBox.findText("CPU")
    ui.sliceCountSpinBox.value = 1
    ui.applyButton.click()
    idle(panel, SECONDS)
    assert ui.statusLabel.text == "Done."
    assert "estimate from the last run" in ui.estimateLabel.text
    ui.findButton.click()
    assert "Not for diagnostic use" in ui.bannerLabel.text
    first = image("mean")
    # The copied call does the same as the clicks, to the last bit.
    scope: dict = {}
    exec(compile(panel.widget.panel.pythonCall(), "copied", "exec"), scope)
    assert np.array_equal(slicer.util.arrayFromVolume(scope["nodes"]["mean"]), first)
    assert not leftovers()


def test_standInRealWorkerFromMeasuredData(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    ui.sourceComboBox.currentIndex = 1
    ui.sinogramPathEdit.currentPath = str(writeSinogram(tmp_path))
    ui.presetComboBox.currentIndex = ui.presetComboBox.findText("Fast")
    ui.deviceComboBox.currentIndex = ui.deviceComboBox.findText("CPU")
    ui.sliceCountSpinBox.value = 1
    ui.applyButton.click()
    idle(panel, SECONDS)
    assert ui.statusLabel.text == "Done."
    mean = image("mean")
    middle = mean[0, mean.shape[1] // 2 - 2 : mean.shape[1] // 2 + 2, mean.shape[2] // 2 - 2 : mean.shape[2] // 2 + 2]
    assert abs(float(middle.mean())) < 100  # the disc is water, 0 HU
    ui.findButton.click()
    assert ui.exportCsvButton.enabled


def image(key: str) -> np.ndarray:
    from DiffusionReconLib.scene import results

    return slicer.util.arrayFromVolume(results.resultNodes(results.resultReports()[-1])[key]).copy()
