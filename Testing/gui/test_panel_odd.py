"""Odd inputs, files and moments on the stand-in: what cannot be used is refused in a sentence, what can goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from DiffusionReconLib.jobs.failures import sentenceOf
from DiffusionReconLib.jobs.settings import storedOptions
from DiffusionReconLib.modalities.ct.measured import nrrdSizes
from DiffusionReconLib.review import findings as review
from host.eventloop import turn, waitUntil
from host.guiapplication import Panel
from host.pythonqt import plainToolTip
from prepared import OpenPanel, addChest, idle, makeRunner, useRunner, writeSinogram
from PySide6 import QtWidgets

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
    """Where a run's only input is removed the selector chooses the preview: it is refused, and gone with the run."""
    slicer.app.layoutManager()
    panel, runner = openPanel(), makeRunner(tmp_path, hold=2)
    useRunner(panel, runner)
    ui, run = panel.widget.ui, panel.widget.panel.run
    chest = addChest()
    ui.applyButton.click()
    waitUntil(lambda: run._preview is not None and run._preview.node is not None, what="the preview")
    assert ui.queueButton.enabled
    slicer.mrmlScene.RemoveNode(chest)
    assert ui.inputSelector.currentNode() is run._preview.node
    assert not ui.queueButton.enabled
    assert panel.widget.panel.notReady() == "'Chest preview' is the preview of a run: choose another volume"
    runner.engines[0].hold = None
    idle(panel)
    assert ui.statusLabel.text == "Done."  # the result stands alone
    assert slicer.mrmlScene.GetFirstNodeByName("Chest preview") is None


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
    runner.engines[0].cancel = lambda: None  # a message is on its way already
    panel.widget.ui.applyButton.click()
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
    panel = openPanel()
    useRunner(panel, makeRunner(tmp_path))
    ui = panel.widget.ui
    addChest()
    ui.applyButton.click()
    idle(panel)
    for error, sentence in ((MemoryError(), "Slicer's memory did not suffice"),
                            (ImportError("No module named 'x'"), "failed by a mistake of its own (ImportError")):
        def fail(*_given: Any, error: BaseException = error, **_more: Any) -> None:
            raise error

        monkeypatch.setattr(review, "makeReview", fail)
        ui.findButton.click()
        assert sentence in ui.verdictLabel.text
    assert QtWidgets.QApplication.overrideCursor() is None  # the waiting is over
