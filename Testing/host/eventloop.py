"""Qt's event loop in tests: a body runs inside it, as all code does in Slicer, and waits by letting it turn."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from PySide6 import QtCore, QtWidgets

# C++'s QCoreApplication::processEvents(QFlags<QEventLoop::ProcessEventsFlag>), as its compilers write the name.
_PROCESS_EVENTS = "_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE"
ALL_EVENTS, WAIT_FOR_MORE = 0, 4
TICK_MILLISECONDS = 50
_held: list[Callable[[int], None]] = []


@contextlib.contextmanager
def lockHeld() -> Iterator[None]:
    """Let the event loop keep the interpreter's lock while it waits, within the block, as PythonQt's does in Slicer.

    PySide6 gives the lock away whenever it calls Qt, so threads of Python run freely beside the loop. Here `waitUntil`
    and `turn` call Qt without giving it away: such threads advance only while Python itself runs, in slots and at the
    loop's ticks. Raises RuntimeError on Windows, whose compilers write C++'s names otherwise.
    """
    if os.name != "posix":
        raise RuntimeError("The loop that holds the interpreter's lock is made for Linux and macOS: run it there.")
    function = ctypes.PyDLL(QtCore.__file__)[_PROCESS_EVENTS]  # PyDLL, unlike CDLL, keeps the lock
    function.argtypes, function.restype = [ctypes.c_int], None
    tick = QtCore.QTimer()  # nothing is connected: it only ends a wait
    tick.start(TICK_MILLISECONDS)
    _held.append(function)
    try:
        yield
    finally:
        _held.pop()
        tick.stop()


def _wait() -> None:
    """Let the loop turn once, waiting a little for something to happen."""
    if _held:
        _held[-1](WAIT_FOR_MORE)
    else:
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.AllEvents, 20)
        QtCore.QThread.msleep(2)


def waitUntil(predicate: Callable[[], Any], seconds: float = 60.0, what: str = "") -> Any:
    """Let the event loop turn until the predicate holds, and return its value; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"Expected {what or predicate} within {seconds:g} s.")
        _wait()


def turn(times: int = 3) -> None:
    """Let the event loop deliver what is pending."""
    for _ in range(times):
        if _held:
            _held[-1](ALL_EVENTS)
        else:
            QtWidgets.QApplication.processEvents()


def runInLoop(body: Callable[[], Any]) -> Any:
    """Run a function inside the event loop; return its value or raise what it raised.

    Outside of it, deleteLater and queued calls would behave otherwise than in Slicer.
    """
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["value"] = body()
        except BaseException as error:  # raised again below, outside of Qt
            outcome["error"] = error
        finally:
            QtCore.QCoreApplication.exit(0)

    QtCore.QTimer.singleShot(0, run)
    QtCore.QCoreApplication.instance().exec()
    if "error" in outcome:
        raise outcome["error"]
    return outcome.get("value")
