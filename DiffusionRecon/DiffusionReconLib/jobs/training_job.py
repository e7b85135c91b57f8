"""One training as Slicer sees it: the engine's process, messages to poll, a checkpoint that stays."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from DiffusionReconLib.jobs.engine import LAST_EVENTS, LOG_LINES, POLL_SECONDS, EngineProcess, Message, endProcess
from DiffusionReconLib.jobs.estimate import timeText
from DiffusionReconLib.jobs.training_request import CARD, CHECKPOINT, TrainingRequest

WHOLE = 100
"""Steps that follow from a wish in minutes are a multiple of this: the log has a line for as many."""


class TrainingCancelled(Exception):
    """The training was cancelled; what its last checkpoint holds is kept."""


def launchEngine(folder: Path, arguments: list[str]) -> EngineProcess:
    """Start the engine's command line in Slicer's own Python; `folder` is for its log and for the request to stop."""
    from diffusion_engine.jobs.process import launch
    from diffusion_engine.safe_path import module_line

    line = [*module_line("diffusion_engine"), *arguments, f"--messages={folder}"]
    return launch(folder, line, "training")


class Training:
    """A running training, or the forecast of one: poll it from a timer or wait for it, then close it.

    With a wish in minutes a forecast comes first; `request` has the steps that follow from it once the message
    "forecast" was given. Raises ValueError for a request that cannot be started.
    """

    def __init__(
        self, request: TrainingRequest, forecastOnly: bool = False,
        start: Callable[[Path, list[str]], EngineProcess] = launchEngine,
    ) -> None:
        (request.checkData if forecastOnly else request.check)()
        self.request = request
        self.forecastOnly = forecastOnly
        self._launch = start
        self._forecasting = forecastOnly or request.minutes > 0
        self._last: Message | None = None
        self._failure: Exception | None = None
        self._cancelled = False
        if not self._forecasting:
            self._record()
        self.folder = Path(tempfile.mkdtemp(prefix="DiffusionRecon-Training-", dir=slicer.app.temporaryPath))
        try:
            self._process = start(self.folder, request.arguments(self._forecasting))
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def finished(self) -> bool:
        """Whether the last word is said."""
        return self._last is not None

    @property
    def card(self) -> Path:
        """The model card of the prior, once it is trained."""
        return self.request.file(CARD).resolve()

    def poll(self) -> list[Message]:
        """The engine's new messages, without waiting. After the last one `finished` is true."""
        if self.finished:
            return []
        try:
            return self._news()
        except Exception as error:  # whatever it was: the training ends, and `check` raises it
            self._failure = error
            self._last = {"event": "error", "message": str(error)}
            self._process.cancel()
            return [self._last]

    def wait(self, progress: Callable[[Message], bool | None] | None = None) -> None:
        """Return when it is done; raises what went wrong. `progress` gets each message; False cancels."""
        while not self.finished:
            for message in self.poll():
                if progress is not None and progress(message) is False:
                    self.cancel()
            if not self.finished:
                time.sleep(POLL_SECONDS)
        self.check()

    def check(self) -> None:
        """Raise what went wrong, once finished: TrainingCancelled, or RuntimeError with the engine's sentence."""
        if self._failure is not None:
            raise self._failure
        if self._cancelled or self._last["event"] == "cancelled":
            raise TrainingCancelled(self._kept())
        if self._last["event"] == "error":
            lines = self.logLines()
            if lines:
                logging.error("Log of the training ends:\n%s", "\n".join(lines[-LOG_LINES:]))
            raise RuntimeError(self._last["message"])

    def cancel(self) -> None:
        """Ask the engine to stop; it says its last word within two seconds. Never waits."""
        self._cancelled = True
        self._process.cancel()

    def gone(self) -> bool:
        """Whether the engine's process has ended as well."""
        self._process.poll()
        return not self._process.running()

    def close(self) -> None:
        """End the engine if it still runs (this can take two seconds) and remove the temporary folder."""
        endProcess(self._process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def logLines(self) -> list[str]:
        """What the engine has printed so far."""
        log = self.folder / "worker.log"
        return log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []

    def _news(self) -> list[Message]:
        if not self._forecasting and self.request.minutes > 0:
            return self._follow()
        messages = self._process.poll()
        for place, message in enumerate(messages):
            if message["event"] == "done" and self._forecasting:
                messages[place] = self._foreseen(message["result"])
            elif message["event"] in LAST_EVENTS:
                self._last = message
        return messages

    def _foreseen(self, found: dict[str, Any]) -> Message:
        """The message of a forecast; the wish in minutes becomes steps."""
        self._forecasting = False
        steps, seconds = self.request.steps, float(found["seconds"])
        if self.request.minutes > 0:
            steps = stepsFor(self.request.minutes, seconds / steps)
            seconds *= steps / self.request.steps
        message = {"event": "forecast", "steps": steps, "seconds": seconds, "memory_mb": found["memory_mb"]}
        if self.forecastOnly:
            self._last = {"event": "done", "result": found}
        self.request = replace(self.request, steps=steps)
        return message

    def _follow(self) -> list[Message]:
        """After the forecast, once its process is gone: the training itself."""
        self._process.poll()
        if self._process.running():
            return []
        if self._cancelled:
            self._last = {"event": "cancelled"}
            return [self._last]
        self.request = replace(self.request, minutes=0.0)
        self._record()
        self._process = self._launch(self.folder, self.request.arguments())
        return []

    def _record(self) -> None:
        try:
            self.request.write()
        except OSError as error:
            raise ValueError(_("The folder '{folder}' cannot be written ({reason}): choose another one.").format(
                folder=self.request.out, reason=error.strerror)) from error

    def _kept(self) -> str:
        if self.request.has(CHECKPOINT):
            return _("Cancelled; its last checkpoint is kept, from which it can be continued.")
        return _("Cancelled; there is no checkpoint yet, so it would begin again.")


def stepsFor(minutes: float, secondsPerStep: float) -> int:
    """The steps that take about so long, in hundreds, 100 at least."""
    return max(WHOLE, WHOLE * round(60 * minutes / max(secondsPerStep, 1e-9) / WHOLE))


def forecastText(message: Message) -> str:
    """A forecast in one sentence."""
    return _("About {time} for {steps} steps and {memory:.1f} GB of memory, as measured now on this computer.").format(
        time=timeText(message["seconds"]), steps=message["steps"], memory=message["memory_mb"] / 1000)


def progressLine(message: Message) -> str:
    """One line of progress: the step and the time left."""
    step, total, left = message["step"], message["total"], message.get("seconds_left")
    if step >= total:
        return _("All {total} steps done; measuring and writing the model...").format(total=total)
    if left is None:
        return _("Step {step} of {total}").format(step=step, total=total)
    return _("Step {step} of {total}, about {time} left").format(step=step, total=total, time=timeText(left))
