"""Odd inputs, files and moments on the stand-in: what cannot be used is refused in a sentence, what can goes on."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from diffusion_engine.solvers.listing import listed_methods
from DiffusionReconLib.jobs.failures import sentenceOf
from DiffusionReconLib.jobs.settings import BALANCE_OPTION, storedOptions
from DiffusionReconLib.modalities.ct.acquisition import CTAcquisition, scanSettings
from DiffusionReconLib.modalities.ct.measured import nrrdSizes
from DiffusionReconLib.panel.parameters import ReconParameters
from DiffusionReconLib.review import findings as review
from host.dialogs import Recorder
from host.eventloop import turn, waitUntil
from host.guiapplication import Panel
from host.pythonqt import plainToolTip
from prepared import OpenPanel, addChest, idle, makeRunner, useRunner, withResult, writeSinogram
from PySide6 import QtCore, QtWidgets

VOLUME = "vtkMRMLScalarVolumeNode"


def labels() -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(node, np.zeros((3, 4, 5), np.uint8))
    return node


def vectors() -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "vectors")
    slicer.util.updateVolumeFromArray(node, np.zeros((3, 4, 5, 3), np.uint8))
    return node


def sheared() -> Any:
    node = addChest()
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    matrix.SetElement(1, 2, 1.5)
    node.SetIJKToRASMatrix(matrix)
    return node


def withoutVoxels() -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass(VOLUME, "hollow")
    node.SetAndObserveImageData(vtk.vtkImageData())
    return node


@pytest.mark.parametrize(("make", "reason"), [
    (labels, "choose an image, not labels"), (vectors, "has 3 values a voxel"), (sheared, "has a sheared grid"),
    (withoutVoxels, "holds no voxels"),
])
def test_standInApplySaysWhyAVolumeCannotBeUsed(openPanel: OpenPanel, make: Any, reason: str) -> None:
    panel = openPanel()
    panel.widget.logic.getParameterNode().inputVolume = make()
    assert not panel.widget.ui.applyButton.enabled
    assert reason in plainToolTip(panel.widget.ui.applyButton)


def test_standInVectorsAreNotTheFirstVolume(openPanel: OpenPanel) -> None:
    """The selector does not list them, so that it would show nothing."""
    vectors()
    chest = addChest()
    panel = openPanel()
    assert panel.widget.logic.getParameterNode().inputVolume is chest
    assert panel.widget.ui.inputSelector.currentNode() is chest


def test_standInThePreviewIsNoInput(openPanel: OpenPanel, tmp_path: Path) -> None:
    """Where a run's only input is removed none is chosen; the preview may be, is refused, and gone at the end."""
    slicer.app.layoutManager()
    panel, runner = openPanel(), makeRunner(tmp_path, hold=2)
    useRunner(panel, runner)
    ui, run = panel.widget.ui, panel.widget.panel.run
    chest = addChest()
    ui.applyButton.click()
    waitUntil(lambda: run._preview is not None and run._preview.node is not None, what="the preview")
    assert ui.queueButton.enabled
    slicer.mrmlScene.RemoveNode(chest)
    assert ui.inputSelector.currentNode() is None
    assert not ui.queueButton.enabled
    assert panel.widget.panel.notReady() == "Choose an input volume first"
    ui.inputSelector.setCurrentNode(run._preview.node)
    assert not ui.queueButton.enabled
    assert panel.widget.panel.notReady() == "'Chest preview' is the preview of a run: choose another volume"
    runner.engines[0].hold = None
    idle(panel)
    assert ui.statusLabel.text == "Done."  # the result stands alone
    assert slicer.mrmlScene.GetFirstNodeByName("Chest preview") is None
    assert panel.widget.logic.getParameterNode().inputVolume is None


def test_standInAResultNeverBecomesTheInputByItself(openPanel: OpenPanel, tmp_path: Path) -> None:
    """Where the input is removed another volume is chosen, or none; a result only where somebody chooses it."""
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui = panel.widget.ui
    chosen = ui.inputSelector.currentNode
    first = addChest()
    ui.applyButton.click()
    idle(panel)
    mean = panel.widget.panel.review.nodes["mean"]
    other = addChest()
    assert chosen() is first
    slicer.mrmlScene.RemoveNode(first)
    assert (chosen(), panel.widget.logic.getParameterNode().inputVolume) == (other, other)
    assert ui.applyButton.enabled
    slicer.mrmlScene.RemoveNode(other)
    assert (chosen(), panel.widget.logic.getParameterNode().inputVolume) == (None, None)
    assert not ui.applyButton.enabled
    assert panel.widget.panel.notReady() == "Choose an input volume first"
    ui.inputSelector.setCurrentNode(mean)
    assert panel.widget.logic.getParameterNode().inputVolume is mean
    assert ui.applyButton.enabled


def test_standInAResultOfMeasuredDataIsNoInput(openPanel: OpenPanel, tmp_path: Path) -> None:
    """The selector's list was empty before: it takes the first volume that comes, which is the result's."""
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    parameters = panel.widget.logic.getParameterNode()
    panel.widget.ui.sourceComboBox.currentIndex = 1
    panel.widget.ui.sinogramPathEdit.currentPath = str(writeSinogram(tmp_path))
    panel.widget.ui.applyButton.click()
    idle(panel)
    assert panel.widget.ui.statusLabel.text == "Done."
    parameters.source = "volume"
    assert parameters.inputVolume is None
    assert panel.widget.panel.notReady() == "Choose an input volume first"


def held(openPanel: OpenPanel, tmp_path: Path, hold: int = 1) -> tuple[Panel, Any]:
    """A panel whose run has come to a message, and its runner."""
    panel, runner = openPanel(), makeRunner(tmp_path, hold=hold)
    useRunner(panel, runner)
    addChest()
    panel.widget.ui.applyButton.click()
    waitUntil(lambda: runner.engines and runner.engines[-1]._given == hold)
    turn()
    return panel, runner


def test_standInAClosedSceneIsSeenToCancelTheRun(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel, _runner = held(openPanel, tmp_path)
    slicer.mrmlScene.Clear(0)
    assert panel.widget.ui.statusLabel.text == "Cancelling..."
    panel.widget.panel.run.update()
    assert not panel.widget.ui.applyButton.enabled  # it is being cancelled already
    idle(panel)
    assert not panel.widget.panel.run._timer.isActive()


def test_standInProgressDoesNotSpeakOverACancel(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel, runner = held(openPanel, tmp_path)
    panel.widget.ui.applyButton.click()
    assert runner.engines[0].cancelled
    # A message that was on its way already.
    panel.widget.panel.run._message({"event": "progress", "stage": "tv", "step": 1, "total": 2, "fraction": 0.5})
    assert panel.widget.ui.statusLabel.text == "Cancelling..."


def test_standInMeasuredDataHaveNoRegionAndNoView(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    ui = panel.widget.ui
    addChest()
    assert ui.regionSelector.isVisibleTo(panel.container) == ui.extentComboBox.isVisibleTo(panel.container)
    panel.widget.logic.getParameterNode().extent = "current"
    ui.sourceComboBox.currentIndex = 1
    ui.sinogramPathEdit.currentPath = str(writeSinogram(tmp_path))
    ui.partCollapsibleButton.collapsed = False
    assert not ui.regionSelector.isVisibleTo(panel.container)
    assert ui.extentComboBox.currentText == "From the middle"
    assert ui.sliceCountSpinBox.isVisibleTo(panel.container)


@pytest.mark.parametrize("head", [b"NRRD0004\nsizes: a b c\n\n", b"NRRD0004\nsizes: -3 4 5\n\n",
                                  b"NRRD0004\nsizes: 3 4\n\n", b"NRRD0004\n\n"])
def test_aSinogramsBrokenHeadIsOneSentence(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "broken.nrrd"
    path.write_bytes(head)
    with pytest.raises(ValueError, match=r"^'broken\.nrrd' has not the three axes detectors, views and slices: write"):
        nrrdSizes(path)


def test_standInASinogramThatMayNotBeReadIsASentence(
    openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("DiffusionReconLib.modalities.ct.measured.nrrdSizes", refuse)
    panel = openPanel()
    panel.widget.ui.sourceComboBox.currentIndex = 1
    panel.widget.ui.sinogramPathEdit.currentPath = str(writeSinogram(tmp_path))
    text = panel.widget.ui.measuredSummaryLabel.text
    assert text.endswith("disc.nrrd' cannot be used (Permission denied): check that it is there, that you may use it, "
                         "and that there is room on the disk.")


def test_theSystemsErrorsBecomeASentenceAndOwnSentencesStay() -> None:
    assert sentenceOf(OSError(errno.ENOSPC, "No space left on device")).startswith("A file cannot be used (No space")
    assert sentenceOf(OSError("The job is not whole: begin again.")) == "The job is not whole: begin again."


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '{"dds": 5}', '{"dds": null}'])
def test_damagedOptionsCountAsNone(text: str) -> None:
    assert storedOptions(SimpleNamespace(solverOptions=text)) == {}


def test_standInAPressThatFailsSaysSo(openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever kind the error is: too little memory in a large volume, a package that is not there."""
    panel = withResult(openPanel(), tmp_path)
    ui = panel.widget.ui
    for error, sentence in ((MemoryError(), "Slicer's memory did not suffice"),
                            (ImportError("No module named 'x'"), "failed by a mistake of its own (ImportError")):
        def fail(*_given: Any, error: BaseException = error, **_more: Any) -> None:
            raise error

        monkeypatch.setattr(review, "makeReview", fail)
        ui.findButton.click()
        assert sentence in ui.verdictLabel.text
    assert QtWidgets.QApplication.overrideCursor() is None  # the waiting is over


@pytest.mark.parametrize(("place", "text", "usual"), [
    ("ct.views", "abc", 60), ("ct.views", "0", 60), ("ct.arcDegrees", "nan", 180.0), ("seed", "1e99", 0),
])
def test_standInADamagedSettingOfASceneIsTheUsualOne(
    openPanel: OpenPanel, tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str, text: str, usual: float
) -> None:
    """The others stay, the panel works, and the log says so."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    ReconParameters(node).ct.noisePercent = 0.7
    node.SetParameter(place, text)
    parameters = ReconParameters(node)
    top, _dot, member = place.partition(".")
    found = getattr(parameters, top)
    assert (getattr(found, member) if member else found) == usual
    assert parameters.ct.noisePercent == 0.7
    assert f"The setting '{place}' of the scene cannot be read" in caplog.text
    assert openPanel().widget.ui.purposeLabel.text


def test_anUnknownNoiseIsNotTakenForAnother() -> None:
    values = CTAcquisition(noiseKind="speckle")
    with pytest.raises(ValueError, match="has no noise 'speckle'"):
        scanSettings(values)


def test_standInADamagedReportLeavesThePanelUsable(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui, part = panel.widget.ui, panel.widget.panel.review
    addChest()
    for _again in range(2):
        ui.applyButton.click()
        idle(panel)
    report = part.nodes["report"]
    for text in ("{", "[]", ""):
        report.SetText(text)
        ui.resultComboBox.currentIndex = 0
        assert not ui.verdictLabel.text
        assert ui.uncertaintyButton.enabled
        ui.resultComboBox.currentIndex = 1
        said = f"The text '{report.GetName()}' is no report of a result any more: reconstruct again."
        assert ui.verdictLabel.text == said
        assert not ui.uncertaintyButton.enabled
        assert ui.applyButton.enabled


def test_standInAReportWithoutItsSpreadIsShown(openPanel: OpenPanel, tmp_path: Path) -> None:
    """A report of an earlier version may lack the kind of its spread: the map is shown, as no error bar."""
    panel = withResult(openPanel(), tmp_path)
    ui, part = panel.widget.ui, panel.widget.panel.review
    content = json.loads(part.nodes["report"].GetText())
    del content["spread"]
    part.nodes["report"].SetText(json.dumps(content))
    for name in ("uncertainty", "difference", "draws"):
        getattr(ui, f"{name}Button").click()
        assert not ui.verdictLabel.text


def test_standInWhatAPresetTakesAlong(openPanel: OpenPanel) -> None:
    """Weights that serve one method alone go with it, and so do the steps; others that were chosen stay."""
    panel = openPanel()
    parameters, take = panel.widget.logic.getParameterNode(), panel.widget.panel.method._takePreset
    for chosen, left in (("ct-body-few", ""), ("ct-body-medium", "ct-body-medium")):
        parameters.prior, parameters.steps = chosen, 17
        take("posterior")
        assert (parameters.prior, parameters.steps) == (left, 0)
        take("standard")


def test_standInLoadOtherCancelledLeavesTheModel(openPanel: OpenPanel, recordedDialogs: Recorder) -> None:
    combo = openPanel().widget.ui.priorComboBox
    before = combo.currentText
    recordedDialogs.answer("")
    combo.currentIndex = combo.findText("Load other...")
    assert combo.currentText == before


def test_standInWhatCannotBeUsedIsNotOffered(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui, parameters = panel.widget.ui, panel.widget.logic.getParameterNode()
    addChest()
    assert not ui.exportDicomButton.enabled
    ui.applyButton.click()
    idle(panel)
    assert ui.exportDicomButton.enabled
    assert not ui.wholeCheckBox.enabled  # there is no review yet
    ui.findButton.click()
    assert ui.wholeCheckBox.enabled
    slicer.mrmlScene.RemoveNode(panel.widget.panel.review.nodes["report"])
    panel.widget.panel.update()
    assert not ui.exportDicomButton.enabled
    assert not ui.wholeCheckBox.enabled
    # Of Advanced, what the method does not know; of the part, what the region decides.
    for solver in ("dds", "tmpd"):
        parameters.solver = solver
        known = {option.name for option in listed_methods()[solver].options}
        assert ui.balanceSlider.enabled == (BALANCE_OPTION in known), solver
    assert ui.extentComboBox.enabled
    ui.regionSelector.addNode()
    assert not ui.extentComboBox.enabled


def test_standInWithoutParametersNoViewIsFollowed(openPanel: OpenPanel) -> None:
    slicer.app.layoutManager()
    panel = openPanel()
    addChest()
    panel.widget.logic.getParameterNode().extent = "current"
    part = panel.widget.panel.inputs._extent
    assert part._view is not None
    panel.widget.setParameters(None)
    assert part._view is None


def test_standInARunThatEndsWithoutParametersIsPublished(openPanel: OpenPanel, tmp_path: Path) -> None:
    """As while another scene is being loaded: its result is listed once there are parameters again."""
    panel, runner = held(openPanel, tmp_path)
    panel.widget.setParameters(None)
    runner.engines[0].hold = None
    idle(panel)
    assert panel.widget.ui.statusLabel.text == "Done."
    panel.widget.enter()
    assert panel.widget.ui.resultComboBox.count == 1
    assert panel.widget.ui.uncertaintyButton.enabled


def test_standInTheFirstSampleFollowsTheLast(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = withResult(openPanel(), tmp_path)
    ui = panel.widget.ui
    nodes = panel.widget.panel.review.nodes
    shown = []
    for _press in range(nodes["draws"].GetNumberOfDataNodes() + 1):
        ui.drawsButton.click()
        shown.append(nodes["draws_browser"].GetSelectedItemNumber())
    assert shown == [0, 1, 2, 3, 4, 5, 0]


def test_standInAResultIsOfferedTheLooksThatItHas(openPanel: OpenPanel, tmp_path: Path) -> None:
    """What was removed from a result is not offered when it is shown anew, and nothing is without any result."""
    panel = withResult(openPanel(), tmp_path)
    ui, part = panel.widget.ui, panel.widget.panel.review
    names = ("uncertainty", "mean", "flicker", "residual", "notSeen", "difference", "draws", "find", "exportDicom")
    assert all(getattr(ui, f"{name}Button").enabled for name in names)
    report = part.nodes["report"]
    for key in ("uncertainty", "tv", "fbp", "residual"):
        slicer.mrmlScene.RemoveNode(part.nodes[key])
    part.show({"report": report})
    offered = {name for name in names if getattr(ui, f"{name}Button").enabled}
    assert offered == {"mean", "notSeen", "difference", "draws", "exportDicom"}
    ui.findingsTable.setRowCount(1)
    slicer.mrmlScene.Clear(0)
    ui.reviewCollapsibleButton.enabled = True  # else it disables all that is in it
    assert not any(getattr(ui, f"{name}Button").enabled for name in names)
    assert (ui.findingsTable.rowCount, ui.segmentsTable.rowCount) == (0, 0)


def test_standInNothingIsMeasuredOfAFolderThatIsNone(openPanel: OpenPanel, tmp_path: Path) -> None:
    ui = openPanel().widget.ui
    for folder, reason in (("", "Choose a folder of volumes to train on."), ("/nowhere", "'/nowhere' is no folder")):
        ui.trainDataPathEdit.currentPath = folder
        assert ui.trainHintLabel.text.startswith(reason)
        assert (ui.trainForecastButton.enabled, ui.trainStartButton.enabled) == (False, False)
    ui.trainDataPathEdit.currentPath = str(tmp_path)
    assert (ui.trainForecastButton.enabled, ui.trainStartButton.enabled) == (True, True)


def test_standInATrainingsProgressDoesNotSpeakOverACancel(openPanel: OpenPanel) -> None:
    panel = openPanel()
    ui, part = panel.widget.ui, panel.widget.panel.train
    part._training = SimpleNamespace(cancel=lambda: None, request=part.request(), close=lambda: None)
    part.startOrCancel()
    part._message({"event": "progress", "step": 1, "total": 2, "fraction": 0.5})
    assert ui.trainStatusLabel.text == "Cancelling..."
    assert not ui.trainStartButton.enabled


def test_standInLookingForRegionsShowsAWaitingCursor(
    openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = withResult(openPanel(), tmp_path)
    seen: list[Any] = []
    make = review.makeReview

    def watched(*given: Any, **named: Any) -> Any:
        seen.append(QtWidgets.QApplication.overrideCursor().shape())
        return make(*given, **named)

    monkeypatch.setattr(review, "makeReview", watched)
    panel.widget.ui.findButton.click()
    assert seen == [QtCore.Qt.WaitCursor]
    assert QtWidgets.QApplication.overrideCursor() is None


@pytest.mark.parametrize("long", ["x" * 250, "ü" * 200])
def test_standInANameTooLongForADiskIsASentence(
    openPanel: OpenPanel, tmp_path: Path, recordedDialogs: Recorder, long: str
) -> None:
    panel = withResult(openPanel(), tmp_path)
    ui = panel.widget.ui
    ui.findButton.click()
    for button, words in (("exportHtmlButton", "could not be written"), ("exportDicomButton", "could not be written")):
        recordedDialogs.answer(str(tmp_path / (long + "x" * 20)))
        getattr(ui, button).click()
        assert words in ui.verdictLabel.text
        assert "choose a" in ui.verdictLabel.text
    assert not list(tmp_path.glob(".*.part"))
