"""One run at a time in a folder: a file says which process holds it; that of a process that is gone counts no more."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from .job import LOCK

SAME_START_S = 2.0
"""A process is the one that was noted when its start differs by no more: the clock that it is told by can be moved."""
TRIES = 20
KINDS: tuple[tuple[str, type], ...] = (("run", str), ("pid", int), ("started", float), ("computer", str))


def take(folder: Path, run: str | None = None, name: str = LOCK) -> str:
    """Hold the folder for this process, and return the run's identifier.

    ``run``: an identifier that :func:`take` gave the process that started this one, whose place it takes. Raises
    ValueError, one sentence, while a living process holds the folder, or one of another computer, of which none here
    can tell.
    """
    path = folder / name
    note = {"run": run or uuid.uuid4().hex, **_of_this_process()}
    for _ in range(TRIES):
        if _created(path, note):
            return str(note["run"])
        holder = _holder(path)
        if holder is not None and holder["run"] == run:
            _replace(path, note)
            return str(note["run"])
        if holder is not None and _lives(holder):
            raise ValueError(_told(path, holder))
        if path.exists():
            _remove(path, holder)
        time.sleep(0.01)
    raise ValueError(f"expected to hold the folder {folder}, but the file {path} cannot be renewed: remove it")


def release(folder: Path, run: str, name: str = LOCK) -> None:
    """Let go of the folder, if this run still holds it."""
    path = folder / name
    holder = _holder(path)
    if holder is not None and holder["run"] == run:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def held(folder: Path, name: str) -> Iterator[None]:
    """Hold what is called ``name`` in a folder, which is made when it is missing, and goes again if nothing came in."""
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    run = take(folder, name=f"{name}.lock")
    try:
        yield
    finally:
        release(folder, run, name=f"{name}.lock")
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _of_this_process() -> dict[str, Any]:
    process = psutil.Process()
    return {"pid": process.pid, "started": process.create_time(), "computer": platform.node()}


def _created(path: Path, note: dict[str, Any]) -> bool:
    """Whether there was no such file, and now there is this one; raises ValueError where it cannot be written."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    except OSError as error:
        if path.exists():  # Windows, while another process removes it
            return False
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(note, stream)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _unwritable(path, error) from error
    return True


def _unwritable(path: Path, error: OSError) -> ValueError:
    return ValueError(
        f"expected to write {path}, but it failed ({error.strerror}): free disk space or choose another folder"
    )


def _holder(path: Path) -> dict[str, Any] | None:
    """Who holds the folder; None without a file, or with one that a crash left half written."""
    for _ in range(TRIES):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            time.sleep(0.02)  # it may be about to be written
            continue
        whole = isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in KINDS)
        return found if whole and 0 < found["pid"] < 2**31 else None
    return None


def _lives(holder: dict[str, Any]) -> bool:
    """Whether the process that was noted still runs; True where nobody here can tell."""
    if holder["computer"] != platform.node():
        return True
    try:
        process = psutil.Process(holder["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - holder["started"]) <= SAME_START_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _remove(path: Path, stale: dict[str, Any] | None) -> None:
    """Remove a file of nobody's; one that another process put there meanwhile comes back."""
    aside = path.with_name(f".{uuid.uuid4().hex}.part")
    with contextlib.suppress(OSError):
        os.rename(path, aside)
        if _holder(aside) == stale:
            aside.unlink()
        else:
            os.rename(aside, path)


def _replace(path: Path, note: dict[str, Any]) -> None:
    aside = path.with_name(f".{uuid.uuid4().hex}.part")
    aside.write_text(json.dumps(note), encoding="utf-8")
    os.replace(aside, path)


def _told(path: Path, holder: dict[str, Any]) -> str:
    place = path.parent if path.name == LOCK else path.with_suffix("")
    if holder["computer"] != platform.node():
        return (
            f"expected that no other run uses {place}, found one on the computer {holder['computer']}: wait for its "
            f"end, choose another folder, or remove {path} if nothing runs there"
        )
    return (
        f"expected that no other run uses {place}, found that of the process {holder['pid']}: wait for its end, "
        "cancel it, or choose another folder"
    )
