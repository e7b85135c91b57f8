"""One reconstruction as Slicer sees it: a temporary job folder, the engine's process, and messages to poll.

The engine runs in a process of its own (`PythonSlicer`, which is `sys.executable` inside Slicer): torch is never
imported into Slicer, and neither a crash nor a cancel touches the scene.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import slicer
from diffusion_engine.jobs.job import write_job
from diffusion_engine.volume import Volume

LAST_EVENTS = ("done", "cancelled", "error")
LOG_LINES = 20
POLL_SECONDS = 0.05
END_SECONDS = 5.0
# Beside torch, what the engine needs and Slicer does not bundle.
PACKAGES = {"safetensors": "safetensors>=0.4", "psutil": "psutil>=5.9", "scipy": "scipy>=1.10", "monai": "monai>=1.5"}

Message = dict
# Called with every message of the engine; returning False asks for a cancel.
Progress = Callable[[Message], "bool | None"]


class EngineProcess(Protocol):
    """What a runner gives back: `diffusion_engine.jobs.process.JobProcess` or a stand-in for it in tests."""

    def poll(self) -> list[Message]: ...

    def running(self) -> bool: ...

    def cancel(self) -> None: ...


Runner = Callable[[Path], EngineProcess]


class ReconstructionCancelled(Exception):
    """The reconstruction was cancelled before it ended; the scene is as it was."""


def requirePackages() -> None:
    """Make sure that the engine's process finds its packages; raises RuntimeError that says what to install.

    Inside Slicer, torch comes through the PyTorch extension (it picks the build for the computer's GPU) and the rest
    through Slicer's own installer, which asks first.
    """
    if importlib.util.find_spec("torch") is None:
        if importlib.util.find_spec("PyTorchUtils") is None:
            raise RuntimeError(
                "PyTorch is missing: install the extension 'PyTorch' in the Extensions Manager and restart Slicer."
            )
        import PyTorchUtils

        if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
            raise RuntimeError("PyTorch was not installed: install it in the module 'PyTorch Util' and try again.")
    missing = [need for name, need in PACKAGES.items() if importlib.util.find_spec(name) is None]
    if missing and importlib.util.find_spec("slicer.packaging") is not None:
        import slicer.packaging

        slicer.packaging.pip_ensure(missing, requester="Diffusion Reconstruction")
        importlib.invalidate_caches()
        missing = [need for name, need in PACKAGES.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f"These Python packages are missing: install {', '.join(missing)} and try again.")


def startEngine(folder: Path) -> EngineProcess:
    """Start the engine's worker on a job folder in Slicer's own Python."""
    from diffusion_engine.jobs.process import start

    return start(folder, python=sys.executable)


class Reconstruction:
    """A running reconstruction: poll it from a timer (panel) or wait for it (console), then close it.

    It owns its temporary folder, which `close` removes; close it in every case.
    """

    def __init__(self, prepare: Callable[[Path], object], runner: Runner | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="DiffusionRecon-", dir=slicer.app.temporaryPath))
        self._last: Message | None = None
        self._cancelled = False
        self._process: EngineProcess | None = None
        try:
            prepare(self.folder)
            self._process = (runner or startEngine)(self.folder)
        except BaseException:
            self.close()
            raise

    def poll(self) -> list[Message]:
        """The engine's new messages; never waits. After the last one `finished` is true."""
        messages = self._process.poll()
        for message in messages:
            if message["event"] in LAST_EVENTS:
                self._last = message
        return messages

    @property
    def finished(self) -> bool:
        """Whether the engine said its last word."""
        return self._last is not None

    def wait(self, progress: Progress | None = None) -> None:
        """Return when the result is there; raises RuntimeError (the engine's sentence) or ReconstructionCancelled."""
        while not self.finished:
            for message in self.poll():
                if progress is not None and progress(message) is False:
                    self.cancel()
            if not self.finished:
                time.sleep(POLL_SECONDS)
        self.check()

    def check(self) -> None:
        """Raise what went wrong, once finished: ReconstructionCancelled or RuntimeError with the engine's sentence."""
        if self._cancelled or self._last["event"] == "cancelled":
            raise ReconstructionCancelled("The reconstruction was cancelled; the scene is as it was.")
        if self._last["event"] == "error":
            self._keepLog()
            raise RuntimeError(self._last["message"])

    def cancel(self) -> None:
        """Ask the engine to stop; it says its last word within two seconds. Never waits."""
        self._cancelled = True
        self._process.cancel()

    def close(self) -> None:
        """End the engine if it still runs (this can take two seconds) and remove the temporary folder."""
        if self._process is not None and self._process.running():
            self._process.cancel()
            end = time.monotonic() + END_SECONDS
            while self._process.running() and time.monotonic() < end:
                self._process.poll()
                time.sleep(POLL_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keepLog(self) -> None:
        """Copy the end of the worker's log into Slicer's, as the folder goes away."""
        log = self.folder / "worker.log"
        if log.is_file():
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            logging.error("Log of the reconstruction engine ends:\n%s", "\n".join(lines[-LOG_LINES:]))


def simulateFrom(volume: Volume, settings: dict) -> Callable[[Path], object]:
    """Prepares a job that simulates a scan of a volume and reconstructs it."""
    return lambda folder: write_job(folder, volume, settings)


def reconstructFrom(sinogramPath: str | Path, geometryPath: str | Path, settings: dict) -> Callable[[Path], object]:
    """Prepares a job that reconstructs a measured sinogram (NRRD) with its geometry (JSON).

    The files are copied, so that the job folder alone repeats the job. Raises ValueError for a missing or wrong file.
    """
    sinogram, geometry = Path(sinogramPath), Path(geometryPath)
    for path, kind, ending in ((sinogram, "sinogram", ".nrrd"), (geometry, "geometry", ".json")):
        if not path.is_file() or path.suffix.lower() != ending:
            raise ValueError(f"The {kind} must be an existing {ending} file, but '{path}' is not: choose another one.")
    try:
        json.loads(geometry.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"The geometry '{geometry}' is not valid JSON ({error}): write it again.") from error

    def prepare(folder: Path) -> None:
        shutil.copyfile(sinogram, folder / "sinogram.nrrd")
        shutil.copyfile(geometry, folder / "geometry.json")
        job = {"kind": "measured", "input": "sinogram.nrrd", "geometry": "geometry.json", "settings": settings}
        (folder / "job.json").write_text(json.dumps(job, indent=2), encoding="utf-8")

    return prepare
