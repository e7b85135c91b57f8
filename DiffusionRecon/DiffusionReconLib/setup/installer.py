"""What the set-up needs of the world, and the real one: Slicer's PyTorch extension and `slicer.packaging`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from diffusion_engine.safe_path import no_current_folder
from slicer.i18n import tr as _

from DiffusionReconLib.setup.needs import (
    MUON,
    NEEDS,
    TORCH,
    Need,
    constraints,
    cudaOfTorch,
    foundVersion,
    installed,
    isAtLeast,
)

REQUESTER = "Diffusion Reconstruction"
GIGABYTE = 1e9


class Installer(Protocol):
    """What the set-up needs of the world; `SlicerInstaller` is the real one."""

    def missing(self) -> list[Need]:
        """The needs that are not there, or too old; quick, imports nothing."""

    def found(self, need: Need) -> str | None:
        """The version of a need that is there, None where it is not there at all."""

    def refusal(self) -> str:
        """Why PyTorch cannot be installed on this computer or at this moment, one sentence; "" when it can."""

    def canInstallTorch(self) -> bool:
        """Whether the PyTorch extension is there."""

    def hasDriver(self) -> bool:
        """Whether an NVIDIA graphics driver is there."""

    def torchBuild(self) -> str:
        """One sentence about the build of PyTorch that is there."""

    def freeGigabytes(self) -> float:
        """Room on the disk that Slicer's Python is on."""

    def installTorch(self, log: Callable[[str], None]) -> int:
        """Install torch through the PyTorch extension; returns 0 when it is there. This waits."""

    def start(self, needs: list[Need], log: Callable[[str], None], ended: Callable[[int], None]) -> None:
        """Begin to install the other packages and return; `ended` gets the exit code, 0 for success."""


class SlicerInstaller:
    """Installs through the PyTorch extension and `slicer.packaging`, without replacing what Slicer brings."""

    def missing(self) -> list[Need]:
        """The needs that are not there, or too old."""
        importlib.invalidate_caches()
        return [need for need in NEEDS if not installed(need)]

    def found(self, need: Need) -> str | None:
        """The version of a need that is there, None where it is not there at all."""
        return foundVersion(need)

    def refusal(self) -> str:
        """Why PyTorch cannot be installed on this computer or at this moment, one sentence; "" when it can."""
        if sys.platform == "darwin" and platform.machine() == "x86_64":
            return _(
                "There is no PyTorch {lowest} or newer for Macs with an Intel processor, for which this Slicer was "
                "built: on a Mac with Apple silicon install the Slicer that was built for it, else use another "
                "computer."
            ).format(lowest=TORCH.lowest)
        if "torch" in sys.modules and not installed(TORCH):
            return _(
                "PyTorch {found} is in use by another module and too old (needed is {lowest}): restart Slicer and set "
                "up this module before that one is used."
            ).format(found=foundVersion(TORCH) or "", lowest=TORCH.lowest)
        return ""

    def canInstallTorch(self) -> bool:
        """Whether the PyTorch extension is there."""
        return importlib.util.find_spec("PyTorchUtils") is not None

    def hasDriver(self) -> bool:
        """Whether an NVIDIA graphics driver is there."""
        return shutil.which("nvidia-smi") is not None

    def torchBuild(self) -> str:
        """One sentence about the build of PyTorch that is there."""
        version, cuda = foundVersion(TORCH) or "", cudaOfTorch()
        if cuda is not None:
            return _("PyTorch {version} is there, the build for CUDA {cuda}.").format(version=version, cuda=cuda)
        if self.hasDriver():
            return _(
                "PyTorch {version} is there, a build without CUDA, although this computer has an NVIDIA driver: "
                "to use the GPU, choose a CUDA backend in the module 'PyTorch Utils'."
            ).format(version=version)
        return _("PyTorch {version} is there, the build for processors (CPU).").format(version=version)

    def freeGigabytes(self) -> float:
        """Room on the disk that Slicer's Python is on."""
        return shutil.disk_usage(os.path.dirname(sys.executable) or ".").free / GIGABYTE

    def installTorch(self, log: Callable[[str], None]) -> int:
        """Let the PyTorch extension choose the build for this computer and install it."""
        import PyTorchUtils

        try:
            with no_current_folder(), heard(log):
                PyTorchUtils.PyTorchUtilsLogic().installTorch(
                    askConfirmation=False, torchVersionRequirement=f">={TORCH.asked}"
                )
        except Exception as error:
            logging.exception("PyTorch could not be installed")
            log(str(error))
        importlib.invalidate_caches()
        return 0 if installed(TORCH) else 1

    def start(self, needs: list[Need], log: Callable[[str], None], ended: Callable[[int], None]) -> None:
        """Begin to install packages, each version of Slicer's own pinned.

        Slicer waits for the end and calls nothing back where it was started for tests.
        """
        import slicer.packaging

        handle, path = tempfile.mkstemp(suffix="-constraints.txt")
        os.close(handle)
        Path(path).write_text(constraints(), encoding="utf-8")
        codes: list[int] = []

        def finish(code: int) -> None:
            if not codes:
                codes.append(code)
                Path(path).unlink(missing_ok=True)
                ended(code)

        try:
            with no_current_folder(), heard(log):
                slicer.packaging.pip_install(
                    [need.requirement for need in needs], constraints=path, blocking=False, show_progress=False,
                    requester=REQUESTER, logCallback=log, completedCallback=finish,
                )
        except subprocess.CalledProcessError as error:
            log(str(error))
            finish(error.returncode or 1)
        except BaseException:
            Path(path).unlink(missing_ok=True)
            raise
        if not slicer.packaging.isPipInstallInProgress():
            finish(0)


@contextlib.contextmanager
def heard(log: Callable[[str], None]) -> Iterator[None]:
    """While this lasts, each line that Python code of this process prints goes to `log` too.

    Slicer prints the lines of a pip that it waits for, and its error has none of them.
    """
    ear = _Ear(sys.stdout, log)
    try:
        with contextlib.redirect_stdout(ear):
            yield
    finally:
        ear.end()


class _Ear:
    """A stream that passes on what is written to it, and gives each whole line to `log`."""

    def __init__(self, stream: Any, log: Callable[[str], None]) -> None:
        self._stream, self._log, self._line = stream, log, ""
        self._telling = False

    def write(self, text: str) -> int:
        self._stream.write(text)
        if not self._telling:  # a log that prints is not heard once more
            *lines, self._line = (self._line + text).split("\n")
            self._tell(lines)
        return len(text)

    def end(self) -> None:
        """Give the line that has no end."""
        self._tell([self._line])
        self._line = ""

    def _tell(self, lines: list[str]) -> None:
        self._telling = True
        try:
            for line in lines:
                if line.strip():
                    self._log(line.rstrip())
        finally:
            self._telling = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def requirePackages(installer: Installer | None = None, training: bool = False) -> None:
    """Raise RuntimeError, with what to do, while a package of the engine is missing; the console's check.

    `training`: also when PyTorch is too old for a training alone.
    """
    world = installer or SlicerInstaller()
    missing = world.missing()
    if TORCH in missing:
        raise RuntimeError(world.refusal() or _(
            "PyTorch is missing or older than {lowest}: install the extension 'PyTorch' in the Extensions Manager, "
            "restart Slicer, and press Apply in the module 'Diffusion Reconstruction' once."
        ).format(lowest=TORCH.lowest))
    if missing:
        names = ", ".join(need.requirement for need in missing)
        raise RuntimeError(_(
            "These Python packages are missing: {names}. Press Apply in the module 'Diffusion Reconstruction' once."
        ).format(names=names))
    found = world.found(TORCH) if training else None
    if found and not isAtLeast(found, MUON):
        raise RuntimeError(_(
            "Training needs PyTorch {lowest} or newer, and {found} is installed, which is enough for reconstructing "
            "only: uninstall it in the module 'PyTorch Utils', restart Slicer, and press Apply here once."
        ).format(lowest=MUON, found=found))
