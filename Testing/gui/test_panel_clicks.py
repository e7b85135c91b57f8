"""The panel on the stand-in, from the input to the findings, with a prepared engine; not run in the application."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
import slicer
import slicer.util
from DiffusionReconLib.panel import export as panel_export
from DiffusionReconLib.scene.dicom_export import exportSeries
from host.dialogs import Recorder
from host.eventloop import turn
from host.pythonqt import plainToolTip
from prepared import OpenPanel, addChest, idle, leftovers, makeRunner, nodeIDs, useRunner, withResult, writeSinogram
from PySide6 import QtCore, QtTest, QtWidgets


def headings(table: QtWidgets.QTableWidget) -> list[str]:
    return [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]


def test_standInFromVolumeToFindingsAndVerdicts(
    openPanel: OpenPanel, tmp_path: Path, recordedDialogs: Recorder
) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path)
    useRunner(panel, runner)
    ui = panel.widget.ui
    assert not ui.applyButton.enabled
    assert plainToolTip(ui.applyButton) == "Choose an input volume first"
    addChest()
    assert ui.modalityComboBox.currentText == "CT"
    assert ui.applyButton.enabled
    ui.acquisitionPresetComboBox.currentIndex = 1
    assert ui.viewsSpinBox.value == 20
    ui.folderNameEdit.text = "Attempt 1"
    ui.sliceCountSpinBox.value = 2
    assert "4 samples of 2 slices" in ui.estimateLabel.text
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel"
    idle(panel)
    job = runner.engines[0].job
    assert job["settings"]["views"] == 20
    assert job["settings"]["solver"] == "dds"
    assert ui.statusLabel.text == "Done."
    assert not leftovers()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert hierarchy.GetItemByName("Attempt 1")
    # Review: banner, one press a look, findings, verdicts, export.
    assert not ui.reviewCollapsibleButton.collapsed
    assert "Not for diagnostic use" in ui.bannerLabel.text
    slicer.app.layoutManager()  # as in Slicer, views exist
    for name in ("mean", "uncertainty", "notSeen", "residual", "draws", "compare", "compare", "flicker", "difference"):
        getattr(ui, f"{name}Button").click()
        assert not ui.verdictLabel.text, f"{name}: {ui.verdictLabel.text}"
    ui.findButton.click()
    assert ui.findingsTable.rowCount >= 2
    assert headings(ui.findingsTable) == ["No.", "Why", "Verdict"]
    assert "Not determined by the scan: 80 % of the variance" in ui.detailLabel.text
    assert ui.findingsTable.currentRow() == 0
    ui.commentEdit.text = "near the vessel"
    ui.doubtButton.click()
    assert ui.findingsTable.item(0, 2).text() == "Doubt"
    ui.wholeCheckBox.checked = True
    ui.trustButton.click()
    assert ui.verdictLabel.text == "The whole result: Trust"
    table = tmp_path / "review.csv"
    recordedDialogs.answer(str(table))
    ui.exportCsvButton.click()
    assert "near the vessel" in table.read_text(encoding="utf-8-sig")


def test_standInSegmentsAreMeasuredAsSoonAsTheyAreChosen(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui = panel.widget.ui
    node = addChest()
    ui.applyButton.click()
    idle(panel)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "parts")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    identifier = segmentation.GetSegmentation().AddEmptySegment("", "soft", (1.0, 0.0, 0.0))
    mask = (slicer.util.arrayFromVolume(node) > -500).astype("uint8")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, identifier, node)
    assert not ui.segmentsTable.isVisibleTo(panel.container)
    ui.segmentationSelector.setCurrentNode(segmentation)
    assert ui.segmentsTable.isVisibleTo(panel.container)
    assert ui.segmentsTable.item(0, 0).text() == "soft"
    assert "[" in ui.segmentsTable.item(0, 1).text()
    assert headings(ui.segmentsTable) == ["Segment", "Mean", "Volume"]
    assert ui.segmentsLabel.text == "In brackets: range of 6 samples."
    assert ui.segmentsTable.focusPolicy & QtCore.Qt.TabFocus.value
    ui.segmentationSelector.setCurrentNode(None)
    assert not ui.segmentsTable.isVisibleTo(panel.container)


def test_standInStructuredReportOfTheReview(
    openPanel: OpenPanel, tmp_path: Path, recordedDialogs: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = withResult(openPanel(), tmp_path)
    ui = panel.widget.ui
    assert not ui.exportReportButton.enabled  # there is no review yet
    monkeypatch.setattr(panel_export, "canExportReport", lambda: False)
    ui.findButton.click()
    assert not ui.exportReportButton.enabled
    assert "needs the Python package highdicom" in ui.exportReportButton.toolTip
    pytest.importorskip("highdicom", reason="structured reports are written by highdicom")
    monkeypatch.undo()
    ui.findButton.click()
    assert ui.exportReportButton.enabled
    assert "structured report" in ui.exportReportButton.toolTip
    ui.exportReportButton.click()  # asks for no place: the input came without DICOM
    assert "came without DICOM" in ui.verdictLabel.text
    source = tmp_path / "source"
    monkeypatch.setattr(panel_export, "_sources", lambda nodes: _series(nodes["mean"], source))
    written = tmp_path / "review.dcm"
    recordedDialogs.answer(str(written))
    ui.exportReportButton.click()
    assert ui.verdictLabel.text == "Written: review.dcm"
    assert pydicom.dcmread(written).Modality == "SR"


def _series(node: object, folder: Path) -> list[pydicom.Dataset]:
    """A study to belong to: the mean itself as DICOM."""
    return [pydicom.dcmread(path, stop_before_pixels=True) for path in exportSeries(node, folder)]


def test_standInMeasuredDataFromFileToResult(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path)
    useRunner(panel, runner)
    ui = panel.widget.ui
    ui.sourceComboBox.currentIndex = 1
    assert plainToolTip(ui.applyButton) == "Choose a file of measured data first"
    broken = tmp_path / "broken.nrrd"
    broken.write_bytes(b"NRRD0004\nsizes: 3 4\n\n")
    ui.sinogramPathEdit.currentPath = str(broken)
    assert "No geometry" in ui.measuredSummaryLabel.text
    assert not ui.applyButton.enabled
    sinogram = writeSinogram(tmp_path)
    ui.sinogramPathEdit.currentPath = str(sinogram)
    text = ui.measuredSummaryLabel.text
    assert "3 slices, 12 views, 32 detector bins" in text
    assert "parallel beam, 180 degrees, largest gap 15 degrees, bins of 3.5 mm" in text
    assert "noise" in text
    ui.extentComboBox.currentIndex = 1
    ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value = 2, 8
    assert "from 1 to 3, found 2 to 8" in plainToolTip(ui.applyButton)
    assert not ui.applyButton.enabled
    ui.lastSliceSpinBox.value = 2
    ui.applyButton.click()
    idle(panel)
    job = runner.engines[0].job
    assert job["kind"] == "measured"
    assert job["settings"]["slices"] == [1, 2]
    assert "views" not in job["settings"]
    assert ui.statusLabel.text == "Done."


def test_standInBadInputIsRefusedWithASentence(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui = panel.widget.ui
    node = addChest()
    array = slicer.util.arrayFromVolume(node)
    infinite = array.astype("float32")
    infinite[0, 0, 0] = float("nan")
    slicer.util.updateVolumeFromArray(node, infinite)
    before = nodeIDs()
    ui.applyButton.click()
    idle(panel)
    assert "not finite" in ui.statusLabel.text
    assert nodeIDs() == before
    assert ui.applyButton.text == "Apply"
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "elsewhere")
    region.SetXYZ(5000, 0, 0)
    region.SetRadiusXYZ(10, 10, 10)
    ui.regionSelector.setCurrentNode(region)
    assert "does not meet the volume" in plainToolTip(ui.applyButton)
    assert not ui.applyButton.enabled


def test_standInKeyboardDrivesPanelAndReview(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui = panel.widget.ui
    addChest()
    panel.container.show()
    panel.container.activateWindow()
    ui.applyButton.setFocus()
    turn()
    QtTest.QTest.keyClick(ui.applyButton, QtCore.Qt.Key_Space)
    idle(panel)
    # Every control that can be used can be reached by Tab.
    for name in ("sourceComboBox", "viewsSpinBox", "presetComboBox", "folderNameEdit", "applyButton", "nextButton"):
        assert getattr(ui, name).focusPolicy & QtCore.Qt.TabFocus.value, name
