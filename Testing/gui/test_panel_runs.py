"""Runs of the panel on the stand-in with a prepared engine: cancel at each stage, queue, scene and panel closed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import qt
import slicer
import slicer.util
from diffusion_engine.jobs import process
from DiffusionReconLib.jobs import engine
from DiffusionReconLib.panel import soon
from DiffusionReconLib.panel.run import progressText
from DiffusionReconLib.panel.scroll import scrollAreaAbove
from DiffusionReconLib.setup.installer import SlicerInstaller
from DiffusionReconLib.setup.needs import TORCH, Need
from DiffusionReconLib.setup.setup_steps import INSTALLING, Setup
from host import packages
from host.dialogs import Recorder
from host.eventloop import lockHeld, turn, waitUntil
from host.guiapplication import GuiApplication
from host.older import slicer510
from host.pythonqt import plainToolTip
from host.window import arrange
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
    assert not shown.GetDisplayNode().GetSaveWithScene()
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


def test_standInQueuedWhereNothingRunsIsRunAtOnce(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path)
    useRunner(panel, runner)
    addChest()
    panel.widget.panel.run.queue()
    idle(panel, 10)
    assert panel.widget.ui.statusLabel.text == "Done."
    assert len(runner.engines) == 1


def test_standInSceneClosedMidRunEndsItWithoutAResult(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel, runner = openPanel(), makeRunner(tmp_path, hold=2)
    useRunner(panel, runner)
    ui = panel.widget.ui
    addChest()
    ui.applyButton.click()
    waitUntil(lambda: runner.engines and runner.engines[0]._given == 2)
    ui.queueButton.click()
    slicer.mrmlScene.Clear(0)
    idle(panel)
    assert len(runner.engines) == 1  # what waited is not begun
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
        self.waits, self.finish = False, lambda: None

    def missing(self) -> list[Need]:
        return list(self.needs)

    def found(self, need: Need) -> str | None:
        return None

    def refusal(self) -> str:
        return ""

    def hasDriver(self) -> bool:
        return False

    def torchBuild(self) -> str:
        return "PyTorch 2.9 is there, the build for processors (CPU)."

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
        self.finish = lambda: (self.code or self.needs.clear(), ended(self.code))
        if not self.waits:
            self.finish()


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




def test_standInASetUpOutlivesItsScene(openPanel: OpenPanel, tmp_path: Path, recordedDialogs: Recorder) -> None:
    """Only the run that waited for it is dropped; another one can wait in the new scene."""
    panel, runner = openPanel(), makeRunner(tmp_path)
    useRunner(panel, runner)
    ui, run = panel.widget.ui, panel.widget.panel.run
    installer = FakeInstaller()
    installer.waits = True
    run.setup = Setup(installer, run._ask)
    addChest()
    recordedDialogs.answer("Ok")
    ui.applyButton.click()
    assert not ui.applyButton.enabled
    waitUntil(lambda: "monai" in installer.calls)
    slicer.mrmlScene.Clear(0)
    assert run.busy
    assert run.setup.state == INSTALLING
    addChest()
    assert ui.applyButton.enabled
    assert "once the set-up is done" in plainToolTip(ui.applyButton)
    ui.applyButton.click()
    assert not ui.applyButton.enabled
    slicer.mrmlScene.Clear(0)
    installer.finish()
    idle(panel)
    assert ui.statusLabel.text == "Everything is installed."
    assert not runner.engines
    addChest()
    ui.applyButton.click()
    idle(panel)
    assert installer.calls == ["torch", "monai"]
    assert ui.statusLabel.text == "Done."


def test_standInUnderTestingTheSetUpWaitsForPipAndGoesOn(
    application: GuiApplication, openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slicer calls nothing back there, and agrees to every question."""
    monai = Need("monai", "monai", "1.5", 0.1)
    panel, runner, missing = openPanel(), makeRunner(tmp_path), [monai]
    useRunner(panel, runner)
    ui, run = panel.widget.ui, panel.widget.panel.run
    monkeypatch.setattr(SlicerInstaller, "missing", lambda _self: list(missing))
    monkeypatch.setattr(SlicerInstaller, "found", lambda _self, _need: None)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_texts: True)
    run.setup = Setup(SlicerInstaller(), run._ask)
    slicer.app.setTesting(True)

    def fails(_arguments: list[str]) -> Iterator[str]:
        yield "Collecting monai"
        raise OSError(28, "No space left on device")

    def works(_arguments: list[str]) -> Iterator[str]:
        yield "Successfully installed monai"
        missing.clear()

    addChest()
    packages.setInstaller(fails)
    ui.applyButton.click()
    waitUntil(lambda: not run.busy)
    assert ui.setupLabel.text == "The disk is full: free some space, then try again."
    packages.setInstaller(works)
    ui.setupButton.click()
    idle(panel)
    assert ui.statusLabel.text == "Done."


@pytest.mark.parametrize("where", ["prepare", "start", "poll", "publish", "show"])
def test_standInAMistakeOfTheProgramEndsTheRunWithASentence(
    where: str, openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Wherever it happens: nothing hangs, the log has the traceback, and the next run in the queue has its turn."""
    panel, runner = openPanel(), makeRunner(tmp_path)
    useRunner(panel, runner)
    ui, run, left = panel.widget.ui, panel.widget.panel.run, [1]

    def once(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if left:
                raise KeyError(left.pop() and "no such entry")
            return original(*arguments, **named)
        return call

    def late(*arguments: Any) -> Iterator[None]:
        yield from prepare(*arguments)

    place, name = {
        "prepare": (engine.Reconstruction, "_preparation"), "start": (panel.widget.logic, "_runner"),
        "poll": (engine.Reconstruction, "poll"), "publish": (panel.widget.logic, "publish"),
        "show": (run, "_published"),
    }[where]
    prepare = once(getattr(place, name))
    monkeypatch.setattr(place, name, late if where == "prepare" else prepare)
    addChest()
    said: list[str] = []
    monkeypatch.setattr(run, "_log", said.extend)
    ui.applyButton.click()
    ui.queueButton.click()
    idle(panel)
    assert any("mistake of its own (KeyError: 'no such entry')" in line for line in said)
    assert ui.statusLabel.text == "Done."
    assert ui.resultComboBox.count == (2 if where == "show" else 1)
    assert any(record.exc_info and record.exc_info[0] is KeyError for record in caplog.records)
    assert not leftovers()


def test_standInADoneRunShowsTheReview(application: GuiApplication, openPanel: OpenPanel, tmp_path: Path) -> None:
    """It opens below what is visible: the panel scrolls to it."""
    panel, runner = openPanel(), makeRunner(tmp_path)
    useRunner(panel, runner)
    arrange(application, panel)
    ui = panel.widget.ui
    addChest()
    turn()
    area = scrollAreaAbove(ui.reviewCollapsibleButton)
    assert area is not None
    assert area.verticalScrollBar().value == 0
    ui.applyButton.click()
    idle(panel)
    waitUntil(lambda: area.verticalScrollBar().value > 0, 5.0, "the panel scrolled")
    top = ui.reviewCollapsibleButton.mapTo(area.widget(), qt.QPoint(0, 0)).y()
    shown = area.verticalScrollBar().value
    assert shown <= top < shown + area.viewport().height


def test_standInTheLogIsThereOnceItHasLines(openPanel: OpenPanel) -> None:
    panel = openPanel()
    log = panel.widget.ui.logTextEdit
    assert log.isHidden()
    panel.widget.panel.advanced.appendLog([])
    assert log.isHidden()
    panel.widget.panel.advanced.appendLog(["Collecting monai"])
    assert not log.isHidden()


@pytest.mark.skipif(sys.platform == "win32", reason="the loop that holds the lock is made for Linux and macOS")
def test_standInARunGoesOnWhileTheLoopHoldsTheLock(openPanel: OpenPanel, tmp_path: Path) -> None:
    """As in Slicer: the job is written and previews are read at the panel's own turns, not by threads."""
    panel, runner = openPanel(), makeRunner(tmp_path)
    useRunner(panel, runner)
    addChest((48, 128, 128))
    threads = set(threading.enumerate())
    with lockHeld():
        panel.widget.ui.applyButton.click()
        waitUntil(lambda: not panel.widget.panel.run.busy, 10.0, "the end of the run")
    assert panel.widget.ui.statusLabel.text == "Done."
    assert set(threading.enumerate()) <= threads
    library = Path(engine.__file__).parents[1]
    assert not [path.name for path in library.rglob("*.py") if "threading" in path.read_text(encoding="utf-8")]


def test_progressIsAWholeSentenceInThePanelsWords() -> None:
    message = {"stage": "draw 2 of 4", "step": 3, "total": 30, "seconds_left": None}
    assert progressText(message) == "Sample 2 of 4, step 3 of 30"
    assert progressText({**message, "stage": "tv", "seconds_left": 31.4}) == (
        "Total variation, step 3 of 30, about 31 s left")
    assert progressText({**message, "stage": "gate", "seconds_left": 150.0}) == "Gate, step 3 of 30, about 2 min left"


DEAF = """
import json, sys, time
print(json.dumps({"event": "progress", "stage": "tv", "step": 1, "total": 2, "fraction": 0.5}), flush=True)
while True:
    time.sleep(1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the loop that holds the lock is made for Linux and macOS")
def test_standInAWorkerThatDoesNotListenIsEndedWhileTheLoopHoldsTheLock(openPanel: OpenPanel, tmp_path: Path) -> None:
    """After its grace of a second, although the thread that waits for that goes on at the loop's ticks alone."""
    (tmp_path / "deaf.py").write_text(DEAF, encoding="ascii")
    panel = openPanel()
    useRunner(panel, lambda folder: process.start(folder, command=[sys.executable, str(tmp_path / "deaf.py")]))
    addChest()
    ui, run = panel.widget.ui, panel.widget.panel.run
    with lockHeld():
        ui.applyButton.click()
        waitUntil(lambda: ui.progressBar.value == 50, 10.0, "the worker's first message")
        asked = time.monotonic()
        ui.applyButton.click()
        waitUntil(lambda: not run.busy, 20.0, "the end of the run")
    assert time.monotonic() - asked < 2.5
    assert "Cancelled" in ui.statusLabel.text


def test_standInTheEndOfARunImportsNothing(openPanel: OpenPanel, tmp_path: Path) -> None:
    """What it needs was imported while the engine worked, a file at a turn; here: in the order of a first run."""
    panel, runner = openPanel(), makeRunner(tmp_path, hold=1)
    useRunner(panel, runner)
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name in soon.MODULES]:
            del sys.modules[name]
        addChest()
        panel.widget.ui.applyButton.click()
        waitUntil(lambda: set(soon.MODULES) <= set(sys.modules), 10.0, "the files for the run's end")
        panel.widget.ui.applyButton.click()
        idle(panel)


def test_standInAnOlderSlicerShowsASentenceInPlaceOfThePanel(openPanel: OpenPanel) -> None:
    with slicer510():
        panel = openPanel()
        label = slicer.util.findChild(panel.container, "refusalLabel")
        assert label.text.startswith("Diffusion Reconstruction needs Slicer 5.12 or newer, but this is Slicer 5.10:")
        panel.widget.enter()
        panel.close()


def test_standInReloadReadsTheLibrariesToo(openPanel: OpenPanel, tmp_path: Path) -> None:
    """Slicer executes the module's own file; what it is made of follows, all of it at once."""
    useRunner(openPanel(), makeRunner(tmp_path))
    with mock.patch.dict(sys.modules):  # other tests go on with what they have imported
        names = [name for name in sys.modules if name.partition(".")[0] in ("DiffusionReconLib", "diffusion_engine")]
        before = {name: sys.modules[name] for name in names}
        slicer.util.reloadScriptedModule("DiffusionRecon")
        widget = slicer.modules.DiffusionReconWidget
        for name in names:
            assert sys.modules.get(name) is not before[name], name
        # No new file has met an old one.
        assert widget.panel.run.runs.add.__func__.__globals__["Reconstruction"] is (
            sys.modules["DiffusionReconLib.jobs.engine"].Reconstruction)
        assert type(widget.panel).__module__ in sys.modules
        again = sys.modules["DiffusionReconLib.panel.panel"]
        slicer.modules.diffusionrecon.createNewWidgetRepresentation()  # a second panel is no reload
        assert sys.modules["DiffusionReconLib.panel.panel"] is again
        addChest()
        assert widget.ui.applyButton.enabled
