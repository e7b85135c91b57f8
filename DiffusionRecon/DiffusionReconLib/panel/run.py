"""Apply and Cancel: set-up before the first run, progress, live preview, the queue."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from DiffusionReconLib.jobs.engine import Message, Reconstruction, ReconstructionCancelled
from DiffusionReconLib.jobs.failures import sentenceOf
from DiffusionReconLib.jobs.runs import Events, Logic, Request, Runs
from DiffusionReconLib.modalities.table import MODALITIES
from DiffusionReconLib.panel.part import Part, setText
from DiffusionReconLib.panel.scroll import scrollTo
from DiffusionReconLib.panel.soon import Soon
from DiffusionReconLib.scene.preview import Preview
from DiffusionReconLib.setup.installer import Installer
from DiffusionReconLib.setup.setup_steps import BLOCKED, INSTALLING, Setup

POLL_MILLISECONDS = 50


class RunPart(Part):
    """Apply, queue, progress and status.

    `request` makes the present settings into a request (ValueError when they cannot be run), `notReady` says why they
    cannot, `published` gets the nodes of each result, `log` the lines of set-up and engine. `installer` None: nothing
    to set up, as with a runner that brings its own Python.
    """

    def __init__(
        self, ui: Any, logic: Logic, request: Callable[[], Request], notReady: Callable[[], str],
        published: Callable[[Request, dict[str, Any]], None], log: Callable[[list[str]], None],
        installer: Installer | None,
    ) -> None:
        super().__init__(ui)
        self._request, self._notReady, self._published, self._log = request, notReady, published, log
        self.runs = Runs(logic, Events(self._began, self._message, self._ended, self._closePreview))
        self.setup = Setup(installer, self._ask) if installer is not None else None
        self._waitingForSetup: Request | None = None
        self._logged = 0
        self._preview: Preview | None = None
        self._cancelling = False
        self._soon = Soon()
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self._poll)
        ui.applyButton.connect("clicked(bool)", self.applyOrCancel)
        ui.queueButton.connect("clicked(bool)", self.queue)
        ui.setupButton.connect("clicked(bool)", self._setupPressed)
        ui.setupFrame.setVisible(False)
        ui.queueButton.setVisible(False)
        ui.progressBar.setVisible(False)
        setText(ui.statusLabel, "")

    @property
    def busy(self) -> bool:
        """Whether a run or the set-up goes on, or a process of an ended run has not left yet."""
        return self.runs.running is not None or self.runs.leaving or self._settingUp

    @property
    def _settingUp(self) -> bool:
        """Whether packages are being installed, also when no request waits for them any more."""
        return self.setup is not None and self.setup.goesOn

    def applyOrCancel(self) -> None:
        """Start a run; while one goes on, cancel it."""
        if self.runs.running is not None:
            self._cancelling = True
            self.runs.cancel()
            setText(self.ui.statusLabel, _("Cancelling..."))
        elif self._waitingForSetup is None:
            self._begin()
        self.update()

    def queue(self) -> None:
        """Run with the present settings once more after the running one; at once, as Apply does, where none runs."""
        if self.runs.running is None:
            self.applyOrCancel()
            return
        self._guarded(lambda: self.runs.add(self._request()))
        self.update()

    def sceneClosing(self) -> None:
        """The nodes go away: end the run without publishing; nothing waits for its end here. A set-up goes on."""
        self._waitingForSetup = None
        self._cancelling = self.runs.running is not None
        if self._cancelling:
            setText(self.ui.statusLabel, _("Cancelling..."))
        self.runs.cancelAll()
        self._closePreview()

    def close(self) -> None:
        """End everything; the engine's process is gone when this returns."""
        self._timer.stop()
        self._waitingForSetup = None
        self.runs.close()
        self._closePreview()

    def update(self) -> None:
        """Apply or Cancel, and why not."""
        running, button = self.runs.running is not None, self.ui.applyButton
        reason = "" if self.parameters is None else self._notReady()
        button.text = _("Cancel") if running else _("Apply")
        if running:
            button.enabled = not self._cancelling
            tip = _("Stop the run; the scene stays as it was")
        elif self._waitingForSetup is not None:
            button.enabled, tip = False, _("The set-up goes on; the run follows")
        elif self._settingUp:
            button.enabled, tip = not reason, reason or _("Reconstruct with these settings, once the set-up is done")
        else:
            button.enabled, tip = not reason, reason or _("Reconstruct with these settings")
        button.toolTip = tip
        self.ui.queueButton.setVisible(running)
        self.ui.queueButton.enabled = not reason
        self.ui.progressBar.setVisible(running or self._settingUp)

    def _begin(self) -> None:
        request = self._guarded(self._request)
        if request is None:
            return
        if self.setup is None:
            self._start(request)
            return
        if self._settingUp:  # begun for a request that is gone, such as one of a scene that was closed
            self._waitingForSetup = request
            return
        self._logged = 0
        state = self._guarded(self.setup.begin)
        if state is None:
            return
        self._showSetup()
        if state == INSTALLING:
            self._waitingForSetup = request
            self.ui.progressBar.value = 0
            self._timer.start()
        elif state != BLOCKED:
            self._start(request)

    def _start(self, request: Request) -> None:
        self._cancelling = False
        self._guarded(lambda: self.runs.add(request))
        if self.runs.running is not None:
            self._timer.start()

    def _guarded(self, action: Callable[[], Any]) -> Any:
        """Do it, and show the sentence of an error in the status line."""
        try:
            return action()
        except Exception as error:
            setText(self.ui.statusLabel, sentenceOf(error), True)
            return None

    def _poll(self) -> None:
        if self._settingUp:
            self._pollSetup()
        self.runs.poll()
        if self._preview is not None:
            self._guarded(self._preview.poll)
        if self.runs.running is not None and self.runs.running.started:
            self._guarded(self._soon.step)
        if not self.busy:
            self._timer.stop()

    def _pollSetup(self) -> None:
        state = self.setup.poll()
        self._showSetup()
        if state == INSTALLING:
            return
        request, self._waitingForSetup = self._waitingForSetup, None
        if state != BLOCKED:
            setText(self.ui.statusLabel, self.setup.sentence)
            if request is not None:
                self._start(request)
        self.update()

    def _showSetup(self) -> None:
        setup = self.setup
        self._log(setup.log[self._logged:])
        self._logged = len(setup.log)
        self.ui.setupFrame.setVisible(setup.state == BLOCKED)
        setText(self.ui.setupLabel, setup.sentence if setup.state == BLOCKED else "", True)
        self.ui.setupButton.text = setup.button or ""
        if setup.state == INSTALLING:
            setText(self.ui.statusLabel, setup.log[-1][:120] if setup.log else setup.sentence)
            # Without a known end the bar moves instead of standing still at a number.
            self.ui.progressBar.setRange(0, 0)
        else:
            self.ui.progressBar.setRange(0, 100)
            setText(self.ui.statusLabel, "")

    def _setupPressed(self) -> None:
        if self.setup.openExtensions:
            slicer.app.openExtensionsManagerDialog()
        elif self.runs.running is None and not self._settingUp:
            self._begin()
            self.update()

    def _ask(self, question: str) -> bool:
        return slicer.util.confirmOkCancelDisplay(question, _("Set up the reconstruction"))

    def _began(self, request: Request, running: Reconstruction) -> None:
        self._cancelling = False
        self.ui.progressBar.setRange(0, 100)
        self.ui.progressBar.value = 0
        setText(self.ui.statusLabel, _("Starting..."))
        self._preview = Preview(running.folder, request.presentInput())
        self.update()

    def _message(self, message: Message) -> None:
        if message["event"] != "progress" or self._cancelling:
            return
        self.ui.progressBar.value = round(100 * message["fraction"])
        text = progressText(message)
        if self.runs.waiting:
            text = _("{text}; more runs that wait: {n}").format(text=text, n=self.runs.waiting)
        setText(self.ui.statusLabel, text)
        if message.get("preview") and self._preview is not None:
            self._preview.load(message["preview"])

    def _ended(
        self, request: Request, nodes: dict[str, Any] | None, failure: Exception | None, log: list[str]
    ) -> None:
        self._closePreview()
        self._log(log)
        self._cancelling = False
        if isinstance(failure, ReconstructionCancelled):
            setText(self.ui.statusLabel, _("Cancelled; the scene is as it was."))
        elif failure is not None:
            self._tell(failure)
        else:
            self.ui.progressBar.value = 100
            setText(self.ui.statusLabel, _("Done."))
            try:
                self._published(request, nodes)
                scrollTo(getattr(self.ui, "reviewCollapsibleButton", None))
            except Exception as error:  # the result is there, only not on show
                self._tell(error)
        self.update()

    def _tell(self, failure: Exception) -> None:
        sentence = sentenceOf(failure)
        setText(self.ui.statusLabel, sentence, True)
        self._log([sentence])

    def _closePreview(self) -> None:
        preview, self._preview = self._preview, None
        if preview is not None:
            preview.close()


def progressText(message: Message) -> str:
    """One line of progress for a user: the stage, its step and the time left."""
    stages = {"prepare": _("Preparing the data")}
    for modality in MODALITIES.values():
        stages.update(modality.stages)
    name, left = message["stage"], message.get("seconds_left")
    facts = {"stage": stages.get(name, stageName(name)), "step": message["step"], "total": message["total"]}
    if left is None:
        return _("{stage}, step {step} of {total}").format(**facts)
    if left >= 90:
        return _("{stage}, step {step} of {total}, about {minutes} min left").format(**facts, minutes=round(left / 60))
    return _("{stage}, step {step} of {total}, about {seconds} s left").format(**facts, seconds=round(left))


def stageName(name: str) -> str:
    """The engine's name of a stage in the panel's words: a draw is a sample there."""
    found = re.fullmatch(r"draw (\d+) of (\d+)(.*)", name)
    if found:
        return _("Sample {n} of {count}{more}").format(n=found.group(1), count=found.group(2), more=found.group(3))
    if name == "surer":
        return _("One more sample, in which the model counts in full")
    return name[:1].upper() + name[1:]
