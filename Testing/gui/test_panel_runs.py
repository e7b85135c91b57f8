"""Runs of the panel on the stand-in with a prepared engine: cancel at each stage, queue, scene and panel closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import slicer
import slicer.util
from DiffusionReconLib.setup.setup_steps import TORCH, Need, Setup
from host.dialogs import Recorder
from host.eventloop import waitUntil
from host.guiapplication import GuiApplication
from prepared import OpenPanel, addChest, idle, leftovers, makeRunner, nodeIDs, useRunner


def test_standInCancelAtEachStageLeavesTheSceneAsItWas(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path)
    useRunner(panel, runner)
    ui, run = panel.widget.ui, panel.widget.panel.run
    addChest()
    before = nodeIDs()
    # While the volume is copied: the timer has not turned once.
    ui.applyButton.click()
    ui.applyButton.click()
    idle(panel)
    assert "Cancelled" in ui.statusLabel.text
    assert not runner.engines
    # While the engine works, at each of its messages.
    for hold in (0, 1, 2, 3):
        runner.hold = hold
        ui.applyButton.click()
        waitUntil(lambda hold=hold: len(runner.engines) == hold + 1 and runner.engines[-1]._given == hold)
        ui.applyButton.click()
        assert ui.statusLabel.text == "Cancelling..."
        assert not ui.applyButton.enabled
        idle(panel)
        assert "Cancelled" in ui.statusLabel.text
        assert ui.applyButton.text == "Apply"
        assert ui.applyButton.enabled
    assert nodeIDs() == before
    assert run.runs.running is None
    assert not leftovers()


def test_standInShowsAPreviewAndPutsTheViewsBack(
    application: GuiApplication, openPanel: OpenPanel, tmp_path: Path
) -> None:
    slicer.app.layoutManager()  # as in Slicer, views exist
    panel, runner = openPanel(), makeRunner(tmp_path, hold=2)
    useRunner(panel, runner)
    node = addChest()
    slicer.util.setSliceViewerLayers(background=node)
    layers = slicer.util.getNode("vtkMRMLSliceCompositeNodeRed")
    panel.widget.ui.applyButton.click()
    waitUntil(lambda: layers.GetForegroundVolumeID(), what="the preview")
    shown = slicer.mrmlScene.GetNodeByID(layers.GetForegroundVolumeID())
    assert (shown.GetName(), layers.GetForegroundOpacity()) == ("Chest preview", 1.0)
    assert layers.GetBackgroundVolumeID() == node.GetID()  # what a scene saved now opens with
    assert not shown.GetSaveWithScene()
    assert "Total variation, step 1 of 2, about 3 s left" in panel.widget.ui.statusLabel.text
    panel.widget.ui.applyButton.click()
    idle(panel)
    assert (layers.GetBackgroundVolumeID(), layers.GetForegroundVolumeID()) == (node.GetID(), None)
    assert slicer.mrmlScene.GetFirstNodeByName("Chest preview") is None


def test_standInASecondApplyWaitsItsTurn(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path, hold=1)
    useRunner(panel, runner)
    ui = panel.widget.ui
    addChest()
    ui.applyButton.click()
    ui.seedSpinBox.value = 5
    ui.queueButton.click()
    assert panel.widget.panel.run.runs.waiting == 1
    waitUntil(lambda: runner.engines)
    runner.hold = None
    runner.engines[0].hold = None
    idle(panel)
    assert [engine.job["settings"]["seed"] for engine in runner.engines] == [0, 5]
    assert ui.resultComboBox.count == 2


def test_standInSceneClosedMidRunEndsItWithoutAResult(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path, hold=2)
    useRunner(panel, runner)
    ui = panel.widget.ui
    addChest()
    ui.applyButton.click()
    waitUntil(lambda: runner.engines and runner.engines[0]._given == 2)
    slicer.mrmlScene.Clear(0)
    idle(panel)
    assert runner.engines[0].cancelled
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert not leftovers()
    assert not ui.applyButton.enabled
    addChest()  # and the panel goes on in the new scene
    runner.hold = None
    ui.applyButton.click()
    idle(panel)
    assert ui.statusLabel.text == "Done."


def test_standInClosingThePanelEndsTheRun(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path, hold=1)
    useRunner(panel, runner)
    addChest()
    panel.widget.ui.applyButton.click()
    waitUntil(lambda: runner.engines)
    panel.close()
    assert runner.engines[0].cancelled
    assert not leftovers()


def test_standInEngineErrorIsItsSentenceInTheStatusLine(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path)
    runner.last = {"event": "error", "message": "The memory did not suffice: choose fewer slices."}
    useRunner(panel, runner)
    addChest()
    before = nodeIDs()
    panel.widget.ui.applyButton.click()
    idle(panel)
    assert panel.widget.ui.statusLabel.text == "The memory did not suffice: choose fewer slices."
    assert "memory did not suffice" in panel.widget.ui.logTextEdit.plainText
    assert nodeIDs() == before


class FakeInstaller:
    """Everything is missing until it was installed."""

    def __init__(self, code: int = 0, line: str = "Collecting monai") -> None:
        self.needs, self.code, self.line, self.calls = [TORCH, Need("monai", "monai", "1.5", 0.1)], code, line, []

    def missing(self) -> list[Need]:
        return list(self.needs)

    def canInstallTorch(self) -> bool:
        return True

    def freeGigabytes(self) -> float:
        return 100.0

    def installTorch(self, log: Callable[[str], None]) -> int:
        self.calls.append("torch")
        self.needs.remove(TORCH)
        return 0

    def start(self, needs: list[Need], log: Callable[[str], None], ended: Callable[[int], None]) -> None:
        self.calls += [need.module for need in needs]
        log(self.line)
        if self.code == 0:
            self.needs.clear()
        ended(self.code)


def test_standInFirstApplyAsksInstallsAndGoesOn(
    openPanel: OpenPanel, tmp_path: Path, recordedDialogs: Recorder
) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path)
    useRunner(panel, runner)
    ui, run = panel.widget.ui, panel.widget.panel.run
    installer = FakeInstaller(1, "ERROR: NewConnectionError: name resolution failed")
    run.setup = Setup(installer, run._ask)
    addChest()
    recordedDialogs.answer("Cancel")
    ui.applyButton.click()
    assert "not installed" in ui.setupLabel.text
    assert not installer.calls
    recordedDialogs.answer("Ok")
    ui.setupButton.click()
    waitUntil(lambda: not run.busy)
    assert "network cannot be reached" in ui.setupLabel.text
    assert "NewConnectionError" in ui.logTextEdit.plainText
    assert not runner.engines
    installer.code, installer.line = 0, "Successfully installed monai"
    recordedDialogs.answer("Ok")
    ui.applyButton.click()
    idle(panel)
    assert installer.calls == ["torch", "monai", "monai"]
    assert ui.statusLabel.text == "Done."
    assert len(runner.engines) == 1


