"""One reconstruction as Slicer sees it: a temporary job folder, the engine's process, and messages to poll.

The engine runs in a process of its own (`PythonSlicer`, which is `sys.executable` inside Slicer): torch is never
imported into Slicer, and neither a crash nor a cancel touches the scene. The job is prepared in small steps on the
main thread, so that Slicer stays responsive: no thread, which would stand still while Slicer's event loop waits.
"""

from __future__ import annotations

import importlib
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import slicer
from slicer.i18n import tr as _

LAST_EVENTS = ("done", "cancelled", "error")
LOG_LINES = 20
POLL_SECONDS = 0.05
END_SECONDS = 20.0
PREPARE_SECONDS = 0.01
"""How long one poll may prepare the job."""

Message = dict
# Called with every message of the engine; returning False asks for a cancel.
Progress = Callable[[Message], "bool | None"]
Prepare = Callable[[Path], Generator[None, None, None]]
"""Steps of some milliseconds each, which read the scene and write the job into its folder."""
Beside = Mapping[str, slicer.vtkMRMLScalarVolumeNode]
"""Further volumes of a run, by the setting of the engine that names the file of each."""
Description = str | Path | Mapping[str, Any] | None
"""What describes measured data: the path of a JSON file, its content, or nothing."""


class EngineProcess(Protocol):
    """What a runner gives back: `diffusion_engine.jobs.process.JobProcess` or a stand-in for it in tests."""

    def poll(self) -> list[Message]: ...

    def running(self) -> bool: ...

    def cancel(self) -> None: ...


Runner = Callable[[Path], EngineProcess]


class ReconstructionCancelled(Exception):
    """The reconstruction was cancelled before it ended; the scene is as it was."""


def endProcess(process: EngineProcess) -> None:
    """Cancel a process that still runs and wait until it is gone, which can take two seconds."""
    if not process.running():
        return
    process.cancel()
    end = time.monotonic() + END_SECONDS
    while process.running() and time.monotonic() < end:
        process.poll()
        time.sleep(POLL_SECONDS)


def startEngine(folder: Path) -> EngineProcess:
    """Start the engine's worker on a job folder in Slicer's own Python."""
    from diffusion_engine.jobs.process import start

    return start(folder, python=sys.executable)


class Reconstruction:
    """A running reconstruction: poll it from a timer (panel) or wait for it (console), then close it.

    It owns its temporary folder, which `close` removes; close it in every case.
    """

    def __init__(self, prepare: Prepare, runner: Runner | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="DiffusionRecon-", dir=slicer.app.temporaryPath))
        self._runner = runner or startEngine
        self._steps: Generator[None, None, None] | None = self._preparation(prepare)
        self._failure: Exception | None = None
        self._process: EngineProcess | None = None
        self._last: Message | None = None
        self._cancelled = False

    def poll(self) -> list[Message]:
        """The engine's new messages; takes some milliseconds. After the last one `finished` is true."""
        if self.finished:
            return []
        if self._steps is not None:
            self._prepareOn()
            return []
        if self._process is None:
            self._start()
            return []
        messages = self._process.poll()
        for message in messages:
            if message["event"] in LAST_EVENTS:
                self._last = message
        return messages

    @property
    def finished(self) -> bool:
        """Whether the last word is said."""
        return self._last is not None

    @property
    def started(self) -> bool:
        """Whether the engine's process runs, after the preparation."""
        return self._process is not None

    def wait(self, progress: Progress | None = None) -> None:
        """Return when the result is there; raises what went wrong, or ReconstructionCancelled."""
        while not self.finished:
            for message in self.poll():
                if progress is not None and progress(message) is False:
                    self.cancel()
            if not self.finished and self._process is not None:
                time.sleep(POLL_SECONDS)
        self.check()

    def check(self) -> None:
        """Raise what went wrong, once finished: ReconstructionCancelled, ValueError for bad input, or RuntimeError."""
        if self._cancelled or self._last["event"] == "cancelled":
            raise ReconstructionCancelled(_("The reconstruction was cancelled; the scene is as it was."))
        if self._failure is not None:
            raise self._failure
        if self._last["event"] == "error":
            self._keepLog()
            raise RuntimeError(self._last["message"])

    def cancel(self) -> None:
        """Ask the engine to stop; it says its last word within two seconds. Never waits."""
        self._cancelled = True
        if self._process is not None:
            self._process.cancel()
        elif not self.finished:
            self._leaveSteps()
            self._end("cancelled")

    def gone(self) -> bool:
        """Whether the engine's process has ended as well, some time after its last word; then `close` does not wait."""
        if self._process is None:
            return True
        self._process.poll()
        return not self._process.running()

    def close(self) -> None:
        """End the engine if it still runs (this can take two seconds) and remove the temporary folder."""
        self._leaveSteps()
        if self._process is not None:
            endProcess(self._process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _preparation(self, prepare: Prepare) -> Generator[None, None, None]:
        yield from prepare(self.folder)
        if self._runner is startEngine:
            importlib.import_module("diffusion_engine.jobs.process")  # at a step of its own: it takes its time
            yield

    def _prepareOn(self) -> None:
        """Some steps of the preparation."""
        end = time.monotonic() + PREPARE_SECONDS
        try:
            while time.monotonic() < end:
                next(self._steps)
        except StopIteration:
            self._steps = None
        except Exception as error:
            self._steps, self._failure = None, error
            self._end("error")

    def _start(self) -> None:
        try:
            self._process = self._runner(self.folder)
        except Exception as error:
            self._failure = error
            self._end("error")

    def _leaveSteps(self) -> None:
        """Give a preparation up; the file that it writes is closed."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()

    def _end(self, event: str) -> None:
        self._last = {"event": event, "message": str(self._failure or "")}

    def _keepLog(self) -> None:
        """Copy the end of the worker's log into Slicer's, as the folder goes away."""
        lines = self.logLines()
        if lines:
            logging.error("Log of the reconstruction engine ends:\n%s", "\n".join(lines[-LOG_LINES:]))

    def logLines(self) -> list[str]:
        """The worker's log so far."""
        log = self.folder / "worker.log"
        return log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []


def simulateFrom(
    node: slicer.vtkMRMLScalarVolumeNode, settings: dict, beside: Beside = MappingProxyType({})
) -> Prepare:
    """Prepares a job that simulates a scan of a volume and reconstructs it; only the wanted slices are copied.

    `beside`: further volumes by the setting that names their file, which are brought to the volume's frame. Raises
    ValueError at once for a node that is no image.
    """
    from DiffusionReconLib.jobs.job_input import besideInSteps, jobInSteps
    from DiffusionReconLib.scene.volumes import checkedMatrix, volumeInSteps

    checkedMatrix(node)
    for each in beside.values():
        checkedMatrix(each)
    slices = settings.get("slices")
    left = {name: value for name, value in settings.items() if name != "slices"}

    def prepare(folder: Path) -> Generator[None, None, None]:
        volume = yield from volumeInSteps(node, None if slices is None else tuple(slices))
        files = yield from besideInSteps(folder, beside, node)
        yield from jobInSteps(folder, volume, {**left, **files})

    return prepare


def reconstructFrom(
    dataPath: str | Path, description: Description, settings: dict, beside: Beside = MappingProxyType({})
) -> Prepare:
    """Prepares a job that reconstructs measured data of the settings' modality.

    `description`: the path of the JSON file that describes them, its content, or "" where there is none. The files are
    copied, with those that the description names, so that the job folder alone repeats the job. `beside`: as for
    `simulateFrom`, in the frame of the scene. Raises ValueError for a missing or wrong file.
    """
    from diffusion_engine.jobs.job import JOB, modality_of, write_json

    from DiffusionReconLib.jobs.job_input import besideInSteps, copyInSteps
    from DiffusionReconLib.scene.volumes import checkedMatrix

    given = Path(description) if isinstance(description, (str, Path)) and str(description) else description or None
    parts = modality_of(settings).files.parts(Path(dataPath), given)
    for each in beside.values():
        checkedMatrix(each)

    def prepare(folder: Path) -> Generator[None, None, None]:
        for name, source in parts.copies.items():
            yield from copyInSteps(source, folder / name)
        for name, content in parts.written.items():
            write_json(folder / name, content)
        files = yield from besideInSteps(folder, beside, None)
        write_json(folder / JOB, {
            "kind": "measured", "input": parts.input, "geometry": parts.description, "settings": {**settings, **files},
        })

    return prepare
