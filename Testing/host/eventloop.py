"""Qt's event loop in tests: a body runs inside it, as all code does in Slicer, and waits by letting it turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets


def waitUntil(predicate: Callable[[], Any], seconds: float = 60.0, what: str = "") -> Any:
    """Let the event loop turn until the predicate holds, and return its value; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"Expected {what or predicate} within {seconds:g} s.")
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.AllEvents, 20)
        QtCore.QThread.msleep(2)


def turn(times: int = 3) -> None:
    """Let the event loop deliver what is pending."""
    for _ in range(times):
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
