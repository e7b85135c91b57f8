"""One reconstruction as Slicer sees it: a temporary job folder, the engine's process, and messages to poll.

The engine runs in a process of its own (`PythonSlicer`, which is `sys.executable` inside Slicer): torch is never
imported into Slicer, and neither a crash nor a cancel touches the scene. The job is prepared in small steps on the
main thread (what reads nodes) and on a thread of its own (what writes files), so that Slicer stays responsive.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Protocol

import slicer

LAST_EVENTS = ("done", "cancelled", "error")
LOG_LINES = 20
POLL_SECONDS = 0.05
END_SECONDS = 20.0
VARIANCE = "geometry.variance.nrrd"
COPY_SECONDS = 0.01
"""How long one poll may read nodes."""

Message = dict
# Called with every message of the engine; returning False asks for a cancel.
Progress = Callable[[Message], "bool | None"]
Write = Callable[[], object]
Prepare = Callable[[Path], Generator[None, None, Write]]
"""Steps on the main thread, which read the scene; they return what writes the job, to be run on another thread."""


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
        self._steps: Generator[None, None, Write] | None = prepare(self.folder)
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._process: EngineProcess | None = None
        self._last: Message | None = None
        self._cancelled = False

    def poll(self) -> list[Message]:
        """The engine's new messages; takes some milliseconds. After the last one `finished` is true."""
        if self.finished:
            return []
        if self._steps is not None:
            self._readScene()
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            if self._failure is not None or self._process is None:
                self._end("cancelled" if self._cancelled else "error")
            elif self._cancelled:
                self._process.cancel()
        if self._process is None or self._thread is not None:
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
            if not self.finished and self._steps is None:
                time.sleep(POLL_SECONDS)
        self.check()

    def check(self) -> None:
        """Raise what went wrong, once finished: ReconstructionCancelled, ValueError for bad input, or RuntimeError."""
        if self._cancelled or self._last["event"] == "cancelled":
            raise ReconstructionCancelled("The reconstruction was cancelled; the scene is as it was.")
        if self._failure is not None:
            raise self._failure
        if self._last["event"] == "error":
            self._keepLog()
            raise RuntimeError(self._last["message"])

    def cancel(self) -> None:
        """Ask the engine to stop; it says its last word within two seconds. Never waits."""
        self._cancelled = True
        if self._steps is not None:
            self._steps.close()
            self._steps = None
            self._end("cancelled")
        elif self._thread is None and self._process is not None:
            self._process.cancel()

    def gone(self) -> bool:
        """Whether the engine's process has ended as well, some time after its last word; then `close` does not wait."""
        if self._process is None:
            return self._thread is None
        self._process.poll()
        return not self._process.running()

    def close(self) -> None:
        """End the engine if it still runs (this can take two seconds) and remove the temporary folder."""
        self._steps = None
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._process is not None:
            endProcess(self._process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _readScene(self) -> None:
        """Some steps of reading nodes; after the last one the thread that writes the job starts."""
        end = time.monotonic() + COPY_SECONDS
        try:
            while time.monotonic() < end:
                next(self._steps)
        except StopIteration as last:
            self._steps = None
            self._thread = threading.Thread(target=self._writeAndStart, args=(last.value,), daemon=True)
            self._thread.start()
        except Exception as error:
            self._steps, self._failure = None, error
            self._end("error")

    def _writeAndStart(self, write: Write) -> None:
        """On a thread of its own: no node is touched here."""
        try:
            write()
            if not self._cancelled:
                self._process = self._runner(self.folder)
        except Exception as error:
            self._failure = error

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


def simulateFrom(node: slicer.vtkMRMLScalarVolumeNode, settings: dict) -> Prepare:
    """Prepares a job that simulates a scan of a volume and reconstructs it; only the wanted slices are copied.

    Raises ValueError at once for a node that is no image.
    """
    from DiffusionReconLib.scene.volumes import checkedMatrix, volumeInSteps

    checkedMatrix(node)
    slices = settings.get("slices")
    left = {name: value for name, value in settings.items() if name != "slices"}

    def prepare(folder: Path) -> Generator[None, None, Write]:
        volume = yield from volumeInSteps(node, None if slices is None else tuple(slices))

        def write() -> None:
            from diffusion_engine.jobs.job import write_job

            write_job(folder, volume, left)

        return write

    return prepare


def reconstructFrom(sinogramPath: str | Path, geometryPath: str | Path, settings: dict) -> Prepare:
    """Prepares a job that reconstructs a measured sinogram (NRRD) with its geometry (JSON).

    The files are copied, with that of the noise which the geometry may name beside it, so that the job folder alone
    repeats the job. Raises ValueError for a missing or wrong file.
    """
    sinogram, geometry = Path(sinogramPath), Path(geometryPath)
    for path, kind, ending in ((sinogram, "sinogram", ".nrrd"), (geometry, "geometry", ".json")):
        if not path.is_file() or path.suffix.lower() != ending:
            raise ValueError(f"The {kind} must be an existing {ending} file, but '{path}' is not: choose another one.")
    try:
        described = json.loads(geometry.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The geometry '{geometry}' is not valid JSON ({error}): write it again.") from error
    variance = _besideGeometry(geometry, described)

    def prepare(folder: Path) -> Generator[None, None, Write]:
        def write() -> None:
            shutil.copyfile(sinogram, folder / "sinogram.nrrd")
            shutil.copyfile(geometry, folder / "geometry.json")
            if variance is not None:
                shutil.copyfile(variance, folder / VARIANCE)
                text = json.dumps({**described, "variance": VARIANCE}, indent=2)
                (folder / "geometry.json").write_text(text, encoding="utf-8")
            job: dict[str, Any] = {
                "kind": "measured", "input": "sinogram.nrrd", "geometry": "geometry.json", "settings": settings,
            }
            (folder / "job.json").write_text(json.dumps(job, indent=2), encoding="utf-8")

        yield
        return write

    return prepare


def _besideGeometry(geometry: Path, described: Any) -> Path | None:
    """The file of the readings' variance that a geometry names, beside it; None where it names none."""
    from diffusion_engine.jobs.inside import is_plain

    name = described.get("variance") if isinstance(described, dict) else None
    if name is None:
        return None
    if not is_plain(name) or not geometry.with_name(name).is_file():
        raise ValueError(
            f"The variance must be the name of a file beside '{geometry}', but {name!r} is not: put it there."
        )
    return geometry.with_name(name)
