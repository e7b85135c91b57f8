"""The first Apply's set-up: what is missing, asked once, installed with a readable log; a small state machine.

    ready  <-  missing nothing
    begin -> asked -> installing (one step after the other) -> ready
                 \\-> blocked: one sentence, and what a button would do

No Qt here: `ask` is a question with yes or no, `Installer` does the work, `poll` is called from a timer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from slicer.i18n import tr as _

from DiffusionReconLib.setup.installer import Installer, SlicerInstaller, requirePackages
from DiffusionReconLib.setup.needs import CPU_GIGABYTES, NEEDS, TORCH, Need

READY, INSTALLING, BLOCKED = "ready", "installing", "blocked"
__all__ = [
    "BLOCKED", "INSTALLING", "NEEDS", "READY", "TORCH", "Installer", "Need", "Setup", "SlicerInstaller",
    "requirePackages", "troubleOf",
]


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
        self._inside = False

    @property
    def goesOn(self) -> bool:
        """Whether something is being installed."""
        return self.state == INSTALLING

    def begin(self) -> str:
        """Look for what is missing, ask, and start; returns the state."""
        if self.goesOn:
            return self.state
        self.log, self.fraction, self.button, self.openExtensions = [], 0.0, None, False
        missing = self._installer.missing()
        if not missing:
            return self._now(READY, _("Everything is installed."))
        self._torch = TORCH in missing
        self._others = [need for need in missing if need != TORCH]
        refusal = self._installer.refusal() if self._torch else ""
        if refusal:
            return self._block(refusal, _("Try again"))
        if self._torch and not self._installer.canInstallTorch():
            self.openExtensions = True
            return self._block(
                _("PyTorch is missing: install the extension 'PyTorch' in the Extensions Manager and restart Slicer."),
                _("Open the Extensions Manager"),
            )
        needed, free = sum(self._gigabytes(need) for need in missing), self._installer.freeGigabytes()
        if free < needed:
            return self._block(
                _("The set-up needs about {needed:.1f} GB on the disk, {free:.1f} GB are free: free some space first.")
                .format(needed=needed, free=free),
                _("Try again"),
            )
        if not self._ask(self._question(missing, needed)):
            return self._block(_("The packages were not installed; without them nothing can be reconstructed."),
                               _("Set up now"))
        return self._now(INSTALLING, self._step())

    def poll(self) -> str:
        """Go on with the installation; call it from a timer while the state is `INSTALLING`.

        Slicer lets its timers run while it waits for pip: a call from within another one does nothing.
        """
        if self.state != INSTALLING or self._inside:
            return self.state
        self._inside = True
        try:
            return self._goOn()
        except Exception as error:  # whatever an installer fails by, the set-up ends with a sentence
            logging.exception("The set-up failed")
            self.log.append(str(error))
            return self._fail(_("The installer failed: see the log, then try again."))
        finally:
            self._inside = False

    def _goOn(self) -> str:
        if self._torch:
            self._torch = False
            if self._installer.installTorch(self.log.append) != 0:
                return self._fail(_("PyTorch was not installed: see the log, or use the module 'PyTorch Utils'."))
            self.log.append(self._installer.torchBuild())
            self.fraction = 0.7 if self._others else 1.0
            return self._now(INSTALLING, self._step())
        if self._others and not self._running:
            self._running, self._code = True, None
            self._installer.start(self._others, self.log.append, self._ended)
            return self.state
        if self._running and self._code is None:
            return self.state
        code, self._running, self._others = self._code, False, []
        left = [need.requirement for need in self._installer.missing()]
        if left:
            return self._fail(_("These packages could not be installed: {names}; see the log.").format(
                names=", ".join(left)))
        if code:
            return self._fail(_("The installer ended with an error: see the log, then try again."))
        self.fraction = 1.0
        return self._now(READY, _("Everything is installed."))

    def _ended(self, code: int) -> None:
        self._code = code

    def _gigabytes(self, need: Need) -> float:
        """The room that a package takes in the build that this computer gets."""
        return CPU_GIGABYTES if need == TORCH and not self._installer.hasDriver() else need.gigabytes

    def _question(self, missing: list[Need], gigabytes: float) -> str:
        """What is about to be installed, in which build, and what it takes the place of."""
        sentences = [_(
            "Before the first reconstruction these Python packages are installed into Slicer: {names} "
            "(about {size:.1f} GB, some minutes)."
        ).format(names=", ".join(need.requirement for need in missing), size=gigabytes)]
        if TORCH in missing:
            sentences.append(
                _("PyTorch comes in the build for CUDA, since there is an NVIDIA driver.")
                if self._installer.hasDriver()
                else _("PyTorch comes in the build for processors (CPU), since there is no NVIDIA driver."))
        for need in missing:
            found = self._installer.found(need)
            if found:
                sentences.append(_(
                    "{package} {found}, which another extension may have installed, is too old and gets replaced."
                ).format(package=need.package, found=found))
        sentences.append(_("Slicer's own packages stay as they are. Install them now?"))
        return " ".join(sentences)

    def _step(self) -> str:
        if self._torch:
            return _("Installing PyTorch (2 GB to load): some minutes, in which Slicer hardly answers...")
        return _("Installing {names}...").format(names=", ".join(need.package for need in self._others))

    def _fail(self, otherwise: str) -> str:
        self._running, self._others, self._torch = False, [], False
        return self._block(troubleOf("\n".join(self.log)) or otherwise, _("Try again"))

    def _block(self, sentence: str, button: str) -> str:
        self.button = button
        return self._now(BLOCKED, sentence)

    def _now(self, state: str, sentence: str) -> str:
        self.state, self.sentence = state, sentence
        return state


def troubleOf(log: str) -> str:
    """What an installer's lines say went wrong, one sentence with what to do; "" when they do not tell."""
    troubles = (
        (
            r"pip_install is already in progress",
            _("Another installation of Python packages goes on in Slicer: wait for its end, then try again."),
        ),
        (r"No space left|not enough space|Errno 28", _("The disk is full: free some space, then try again.")),
        (
            r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|name resolution|Network is unreachable"
            r"|Max retries|ProxyError|SSLError|getaddrinfo|Could not fetch URL|Connection refused",
            _("The network cannot be reached: connect this computer (or set its proxy), then try again."),
        ),
        (
            r"ResolutionImpossible|conflicting dependencies",
            _("The packages do not fit those that Slicer has: update Slicer, then try again; nothing was replaced."),
        ),
        (
            r"Permission denied|Errno 13|Access is denied|WinError 5\b",
            _("Slicer's folder cannot be written, or a package in it is in use: restart Slicer with the right to write "
              "it, or install Slicer in your own folder."),
        ),
        (
            r"No matching distribution|Could not find a version|is not a supported wheel|Failed building wheel"
            r"|Failed to build|subprocess-exited-with-error",
            _("There is no ready-made package for this Slicer's Python and this system: update Slicer, then try "
              "again; the log names the package."),
        ),
    )
    return next((sentence for pattern, sentence in troubles if re.search(pattern, log)), "")
