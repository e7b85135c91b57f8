"""The first Apply's set-up: what is missing, asked once, installed with a readable log; a small state machine.

    ready  <-  missing nothing
    begin -> asked -> installing (one step after the other) -> ready
                 \\-> blocked: one sentence, and what a button would do

No Qt here: `ask` is a question with yes or no, `Installer` does the work, `poll` is called from a timer.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from diffusion_engine.safe_path import no_current_folder
from slicer.i18n import tr as _

READY, INSTALLING, BLOCKED = "ready", "installing", "blocked"
REQUESTER = "Diffusion Reconstruction"
GIGABYTE = 1e9
PROTECTED = ("numpy", "SimpleITK", "requests", "torch")
"""Packages that the set-up never replaces."""


@dataclass(frozen=True)
class Need:
    """A package: how it is imported, its name for the installer, the lowest version, the room it takes."""

    module: str
    package: str
    lowest: str
    gigabytes: float

    @property
    def requirement(self) -> str:
        """As pip writes it."""
        return f"{self.package}>={self.lowest}"


TORCH = Need("torch", "torch", "2.8", 6.0)
# Beside torch, what the engine needs and Slicer does not bundle.
NEEDS = (
    TORCH,
    Need("monai", "monai", "1.5", 0.1),
    Need("safetensors", "safetensors", "0.4", 0.01),
    Need("scipy", "scipy", "1.10", 0.2),
    Need("psutil", "psutil", "5.9", 0.01),
)
TROUBLES = (
    (r"No space left|not enough space|Errno 28", "The disk is full: free some space, then try again."),
    (
        r"NewConnectionError|ConnectTimeout|name resolution|Network is unreachable|Max retries|ProxyError|SSLError|"
        r"getaddrinfo|Could not fetch URL",
        "The network cannot be reached: connect this computer (or set its proxy), then try again.",
    ),
    (
        r"ResolutionImpossible|conflicting dependencies",
        "The packages do not fit those that Slicer has: update Slicer, then try again; nothing was replaced.",
    ),
    (r"Permission denied|Errno 13|Access is denied",
     "Slicer's folder cannot be written: start Slicer with the right to, or install it in your own folder."),
)


class Installer(Protocol):
    """What the state machine needs of the world; `SlicerInstaller` is the real one."""

    def missing(self) -> list[Need]:
        """The needs that are not there, or too old; quick, imports nothing."""

    def canInstallTorch(self) -> bool:
        """Whether the PyTorch extension is there."""

    def freeGigabytes(self) -> float:
        """Room on the disk that Slicer's Python is on."""

    def installTorch(self, log: Callable[[str], None]) -> int:
        """Install torch through the PyTorch extension; returns 0 when it is there. This waits."""

    def start(self, needs: list[Need], log: Callable[[str], None], ended: Callable[[int], None]) -> None:
        """Begin to install the other packages and return; `ended` gets the exit code, 0 for success."""


class Setup:
    """Where the set-up is: `state`, one `sentence`, what the `button` says (None: no button), `fraction`, `log`."""

    def __init__(self, installer: Installer, ask: Callable[[str], bool]) -> None:
        self._installer, self._ask = installer, ask
        self.state, self.sentence = "", ""
        self.button: str | None = None
        self.openExtensions = False
        self.fraction = 0.0
        self.log: list[str] = []
        self._torch = False
        self._others: list[Need] = []
        self._code: int | None = None
        self._running = False

    def begin(self) -> str:
        """Look for what is missing, ask, and start; returns the state."""
        self.log, self.fraction, self.button, self.openExtensions = [], 0.0, None, False
        missing = self._installer.missing()
        if not missing:
            return self._now(READY, _("Everything is installed."))
        self._torch = TORCH in missing
        self._others = [need for need in missing if need != TORCH]
        if self._torch and not self._installer.canInstallTorch():
            self.openExtensions = True
            return self._block(
                _("PyTorch is missing: install the extension 'PyTorch' in the Extensions Manager and restart Slicer."),
                _("Open the Extensions Manager"),
            )
        needed, free = sum(need.gigabytes for need in missing), self._installer.freeGigabytes()
        if free < needed:
            return self._block(
                _("The set-up needs about {needed:.1f} GB on the disk, {free:.1f} GB are free: free some space first.")
                .format(needed=needed, free=free),
                _("Try again"),
            )
        names = ", ".join(need.requirement for need in missing)
        question = _(
            "Before the first reconstruction these Python packages are installed into Slicer: {names} "
            "(about {size:.1f} GB, some minutes). Slicer's own packages stay as they are. Install them now?"
        ).format(names=names, size=needed)
        if not self._ask(question):
            return self._block(_("The packages were not installed; without them nothing can be reconstructed."),
                               _("Set up now"))
        return self._now(INSTALLING, self._step())

    def poll(self) -> str:
        """Go on with the installation; call it from a timer while the state is `INSTALLING`."""
        if self.state != INSTALLING:
            return self.state
        if self._torch:
            self._torch = False
            if self._installer.installTorch(self.log.append) != 0:
                return self._fail(_("PyTorch was not installed: see the log, or use the module 'PyTorch Utils'."))
            self.fraction = 0.7 if self._others else 1.0
            return self._now(INSTALLING, self._step())
        if self._others and not self._running:
            self._running, self._code = True, None
            try:
                self._installer.start(self._others, self.log.append, self._ended)
            except Exception as error:
                self._running = False
                self.log.append(str(error))
                return self._fail(_("The installer did not start: see the log."))
            return self.state
        if self._running and self._code is None:
            return self.state
        code, self._running, self._others = self._code, False, []
        left = [need.requirement for need in self._installer.missing()]
        if code or left:
            return self._fail(_("Some packages could not be installed ({names}): see the log.").format(
                names=", ".join(left) or _("an error")))
        self.fraction = 1.0
        return self._now(READY, _("Everything is installed."))

    def _ended(self, code: int) -> None:
        self._code = code

    def _step(self) -> str:
        if self._torch:
            return _("Installing PyTorch (2 GB to load): some minutes, in which Slicer does not answer...")
        return _("Installing {names}...").format(names=", ".join(need.package for need in self._others))

    def _fail(self, otherwise: str) -> str:
        text = "\n".join(self.log)
        known = next((_(sentence) for pattern, sentence in TROUBLES if re.search(pattern, text)), otherwise)
        self._running, self._others, self._torch = False, [], False
        return self._block(known, _("Try again"))

    def _block(self, sentence: str, button: str) -> str:
        self.button = button
        return self._now(BLOCKED, sentence)

    def _now(self, state: str, sentence: str) -> str:
        self.state, self.sentence = state, sentence
        return state


class SlicerInstaller:
    """Installs through the PyTorch extension and `slicer.packaging`, without replacing what Slicer brings."""

    def missing(self) -> list[Need]:
        """The needs that are not there, or too old."""
        importlib.invalidate_caches()
        return [need for need in NEEDS if not installed(need)]

    def canInstallTorch(self) -> bool:
        """Whether the PyTorch extension is there."""
        return importlib.util.find_spec("PyTorchUtils") is not None

    def freeGigabytes(self) -> float:
        """Room on the disk that Slicer's Python is on."""
        return shutil.disk_usage(os.path.dirname(sys.executable) or ".").free / GIGABYTE

    def installTorch(self, log: Callable[[str], None]) -> int:
        """Let the PyTorch extension choose the build for this computer and install it."""
        import PyTorchUtils

        try:
            with no_current_folder():
                PyTorchUtils.PyTorchUtilsLogic().installTorch(
                    askConfirmation=False, torchVersionRequirement=f">={TORCH.lowest}"
                )
        except Exception as error:
            logging.exception("PyTorch could not be installed")
            log(str(error))
        importlib.invalidate_caches()
        return 0 if installed(TORCH) else 1

    def start(self, needs: list[Need], log: Callable[[str], None], ended: Callable[[int], None]) -> None:
        """Begin to install packages, each version of Slicer's own pinned."""
        import slicer.packaging

        handle, path = tempfile.mkstemp(suffix="-constraints.txt")
        os.close(handle)
        Path(path).write_text(constraints(), encoding="utf-8")

        def finish(code: int) -> None:
            Path(path).unlink(missing_ok=True)
            ended(code)

        with no_current_folder():
            slicer.packaging.pip_install(
                [need.requirement for need in needs], constraints=path, blocking=False, show_progress=False,
                requester=REQUESTER, logCallback=log, completedCallback=finish,
            )


def installed(need: Need) -> bool:
    """Whether a package is there in a version that is new enough; it is not imported."""
    if importlib.util.find_spec(need.module) is None:
        return False
    try:
        found = importlib.metadata.version(need.package)
    except importlib.metadata.PackageNotFoundError:
        return True  # on the path without its record: what it says of itself cannot be asked
    return _release(found) >= _release(need.lowest)


def constraints() -> str:
    """A constraints file that keeps the protected packages at the versions they have."""
    lines = []
    for package in PROTECTED:
        try:
            lines.append(f"{package}=={importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "\n".join([*lines, ""])


def requirePackages(installer: Installer | None = None) -> None:
    """Raise RuntimeError, with what to do, while a package of the engine is missing; the console's check."""
    missing = (installer or SlicerInstaller()).missing()
    if not missing:
        return
    if TORCH in missing:
        raise RuntimeError(_(
            "PyTorch is missing or older than {lowest}: install the extension 'PyTorch' in the Extensions Manager, "
            "restart Slicer, and press Apply in the module 'Diffusion Reconstruction' once."
        ).format(lowest=TORCH.lowest))
    names = ", ".join(need.requirement for need in missing)
    raise RuntimeError(_(
        "These Python packages are missing: {names}. Press Apply in the module 'Diffusion Reconstruction' once."
    ).format(names=names))


def _release(version: str) -> tuple[int, ...]:
    """The leading whole numbers of a version: 2.8.0+cpu is (2, 8, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()
