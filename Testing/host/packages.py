"""`slicer.packaging`: checks what is installed as Slicer does, and hands every installation to a given installer.

Nothing is ever installed by it: without an installer, an installation raises. An installer is a function that takes
pip's arguments and yields pip's lines; it fails by raising, and what it raised becomes the last line.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import slicer

Installer = Callable[[list[str]], Iterator[str]]
_installer: list[Installer] = []
_missing: set[str] = set()
_running: list[bool] = []


def setInstaller(installer: Installer | None, missing: tuple[str, ...] = ()) -> None:
    """Give the function that plays pip (None: none), and names that pip_check shall not find until it has run."""
    _installer[:] = [installer] if installer else []
    _missing.clear()
    _missing.update(missing)
    _running.clear()


def setFound(*names: str) -> None:
    """Let pip_check find these names again, as an installer does that has installed them."""
    _missing.difference_update(names)


def pip_check(req: Any) -> bool:
    """Whether requirements (a string, a list, or packaging's Requirement) are met by what is installed."""
    from packaging.requirements import Requirement

    for one in req if isinstance(req, list) else req.split() if isinstance(req, str) else [req]:
        wanted = Requirement(str(one))
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        if wanted.name.lower() in _missing:
            return False
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        if not wanted.specifier.contains(found, prereleases=True):
            return False
    return True


def isPipInstallInProgress() -> bool:
    """Whether an installation that does not block is under way."""
    return bool(_running)


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    parent: Any = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> None:
    """Install through the given installer, at once or, with `blocking` false, one line a turn of the event loop.

    Under --testing every installation blocks, and none calls back.
    Raises subprocess.CalledProcessError if a blocking installation fails, RuntimeError without an installer or while
    another installation runs, ValueError for options that the stand-in does not have.
    """
    if no_deps_requirements is not None or skip_packages is not None:
        raise ValueError("The stand-in has neither no_deps_requirements nor skip_packages: leave them out.")
    if not _installer:
        raise RuntimeError("No installer was given to the stand-in, and it installs nothing itself: setInstaller().")
    if _running and not blocking:
        raise RuntimeError("A non-blocking pip_install is already in progress.")
    arguments = ["install", *(requirements.split() if isinstance(requirements, str) else requirements)]
    if constraints is not None:
        arguments += ["-c", str(constraints)]
    lines = _installer[0](arguments)
    log = logCallback or print
    blocking = blocking or slicer.app.testingEnabled()
    if blocking:
        while True:
            code = _step(lines, log)
            if code is not None:
                break
        if code:
            raise subprocess.CalledProcessError(code, arguments)
        return
    _running.append(True)
    _later(lines, log, completedCallback or (lambda _code: None))


def _step(lines: Iterator[str], log: Callable[[str], None]) -> int | None:
    """Take one line; return the exit code after the last."""
    try:
        log(next(lines))
    except StopIteration:
        return 0
    except Exception as error:  # whatever the installer fails by is a failed installation
        log(str(error))
        return 1
    return None


def _later(lines: Iterator[str], log: Callable[[str], None], done: Callable[[int], None]) -> None:
    import qt

    def turn() -> None:
        code = _step(lines, log)
        if code is None:
            qt.QTimer.singleShot(0, turn)
        else:
            _running.clear()
            done(code)

    qt.QTimer.singleShot(0, turn)


def pip_uninstall(requirements: str | list[str], **_named: Any) -> None:
    """Uninstalling is nothing that a module of this project does."""
    raise RuntimeError(f"The stand-in uninstalls nothing, asked for {requirements}.")


def pip_ensure(
    requirements: Any, constraints: str | Path | None = None, prompt_install: bool = True, **named: Any
) -> None:
    """Install what pip_check misses, after the user has agreed; raises RuntimeError if the user declines."""
    wanted = requirements if isinstance(requirements, list) else str(requirements).split()
    missing = [str(one) for one in wanted if not pip_check([one])]
    if not missing:
        return
    question = f"{len(missing)} Python packages need to be installed. Continue?"
    if prompt_install and not slicer.util.confirmOkCancelDisplay(question, detailedText="\n".join(missing)):
        raise RuntimeError("User declined package installation")
    pip_install(missing, constraints=constraints, requester=named.get("requester"))
