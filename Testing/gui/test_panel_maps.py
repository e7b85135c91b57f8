"""Maps that warn and limits of detection in the panel on the stand-in: what to keep, looks, findings, before Apply."""

from __future__ import annotations

from pathlib import Path

import pytest
import slicer
import vtk
from DiffusionReconLib.panel import method
from DiffusionReconLib.scene.publish import publishResult
from mrml.full_results import writeFullResult
from prepared import SHAPE, OpenPanel, addChest, makeRunner, useRunner, writeSinogram

SENTENCE = "At this dose and with these views, lesions may be missing below 12 mm."


def test_standInMapsAreKeptAsTheirBoxesSay(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    addChest()
    ui = panel.widget.ui
    assert (ui.keepPriorDecidedCheckBox.checked, ui.keepDataDisagreeCheckBox.checked) == (True, False)
    kept = panel.widget.panel.settings()["keep"]
    assert ("prior_decided" in kept, "data_disagree" in kept) == (True, False)
    ui.keepPriorDecidedCheckBox.checked, ui.keepDataDisagreeCheckBox.checked = False, True
    kept = panel.widget.panel.settings()["keep"]
    assert ("prior_decided" in kept, "data_disagree" in kept) == (False, True)
    # The map needs two samples and a method that leaves room for what the model missed; classical images have none.
    assert ui.keepPriorDecidedCheckBox.enabled
    ui.drawsSpinBox.value = 1
    assert not ui.keepPriorDecidedCheckBox.enabled
    assert ui.keepDataDisagreeCheckBox.enabled
    ui.drawsSpinBox.value = 4
    ui.solverComboBox.currentIndex = ui.solverComboBox.findText("Denoising diffusion null-space model")
    assert not ui.keepPriorDecidedCheckBox.enabled
    ui.solverComboBox.currentIndex = 0
    assert ui.keepPriorDecidedCheckBox.enabled
    ui.presetComboBox.currentIndex = ui.presetComboBox.findText("Classical")
    assert not ui.keepPriorDecidedCheckBox.enabled
    assert not ui.keepDataDisagreeCheckBox.enabled


def test_standInMapsAreLookedAtAndTheirPlacesComeFirst(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    slicer.app.layoutManager()
    panel.widget.panel.review.show(publishResult(writeFullResult(tmp_path / "job", SHAPE, warns=True), withDraws=True))
    panel.container.show()
    ui, nodes = panel.widget.ui, panel.widget.panel.review.nodes
    assert "Where the model decided: 1 place to look at" in ui.bannerLabel.text
    layers = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    for name, key in (("priorDecided", "prior_decided"), ("dataDisagree", "data_disagree")):
        getattr(ui, f"{name}Button").click()
        assert layers.GetForegroundVolumeID() == nodes[key].GetID()
        assert getattr(ui, f"{name}Button").checked
        assert not ui.verdictLabel.text
    ui.reviewTabs.setCurrentIndex(1)
    ui.findButton.click()
    assert ui.findingsTable.item(0, 1).text().startswith("The model decided here: z +7.0")
    assert ui.findingsTable.currentRow() == 0
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    assert red.GetSliceOffset() == pytest.approx(_middle(nodes["mean"])[2], abs=1e-3)
    # A result without the maps has nothing to press.
    plain = publishResult(writeFullResult(tmp_path / "plain", SHAPE, maps={}))
    for key in ("prior_decided", "data_disagree"):
        slicer.mrmlScene.RemoveNode(plain.pop(key))
    panel.widget.panel.review.show(plain)
    assert not ui.priorDecidedButton.enabled
    assert not ui.dataDisagreeButton.enabled


def _middle(node: slicer.vtkMRMLScalarVolumeNode) -> list[float]:
    """The place of the voxel that the prepared result warns of."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    slices, rows, columns = (size // 2 for size in SHAPE)
    return list(matrix.MultiplyPoint((columns, rows, slices, 1)))[:3]


def test_standInLimitsOfDetectionAreSaidBeforeApply(
    openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def told(card: object, settings: object) -> str:
        asked.append(settings)
        return SENTENCE

    monkeypatch.setattr(method, "detection_sentence", told)
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui = panel.widget.ui
    panel.container.show()
    assert not ui.detectionLabel.isVisible()
    addChest()
    assert (ui.detectionLabel.text, ui.detectionLabel.isVisible()) == (SENTENCE, True)
    ui.viewsSpinBox.value = 33
    assert asked[-1].scan.views == 33
    ui.presetComboBox.currentIndex = ui.presetComboBox.findText("Classical")
    assert not ui.detectionLabel.text, "without a trained model nothing was measured"
    ui.presetComboBox.currentIndex = ui.presetComboBox.findText("Standard")
    assert ui.detectionLabel.text == SENTENCE
    # Of measured readings the run says it, which looks at their noise.
    ui.sourceComboBox.currentIndex = 1
    ui.sinogramPathEdit.currentPath = str(writeSinogram(tmp_path))
    assert not ui.detectionLabel.text
