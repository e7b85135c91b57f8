"""Fixtures of tests on the stand-in: Slicer's real scene and views, with Qt widgets that stand in for Slicer's.

A test's body runs inside Qt's event loop. An exception in a slot, an observer or a virtual function fails the test, and
so does a modal dialog's question that the test did not answer, and an answer that was not asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from host import dialogs, packages, signals
from host.eventloop import runInLoop
from host.guiapplication import GuiApplication, Panel, install, makeGuiApplication

install()  # here, so that test modules can import qt, ctk and slicer.parameterNodeWrapper

MODULE = Path(__file__).resolve().parents[2] / "DiffusionRecon" / "DiffusionRecon.py"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Run the body of a test inside the event loop."""
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    runInLoop(lambda: pyfuncitem.obj(**given))
    return True


@pytest.fixture(autouse=True)
def slotErrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[signals.SlotError]]:
    """What Slicer would print and forget; a test that expects errors clears the list."""
    monkeypatch.setattr(sys, "excepthook", signals.recordUncaught)
    signals.slotErrors.clear()
    yield signals.slotErrors
    found = [str(error) for error in signals.slotErrors]
    signals.slotErrors.clear()
    if found:
        pytest.fail("Exceptions in slots:\n" + "\n".join(found), pytrace=False)


@pytest.fixture(autouse=True)
def recordedDialogs() -> Iterator[dialogs.Recorder]:
    """The modal dialogs that were shown; `answer(...)` queues answers."""
    recorder = dialogs.startRecording()
    yield recorder
    dialogs.stopRecording()
    if recorder.answers:
        pytest.fail(f"Answers that nothing asked for: {recorder.answers}", pytrace=False)


@pytest.fixture
def application(tmp_path: Path) -> Iterator[GuiApplication]:
    """The stand-in with a fresh scene; its temporary folder has a space and letters outside ASCII in its name."""
    temporary = tmp_path / "Größe und Übung 测试"
    temporary.mkdir()
    made = makeGuiApplication(temporary)
    yield made
    made.close()
    packages.setInstaller(None)


@pytest.fixture
def openPanel(application: GuiApplication) -> Callable[..., Panel]:
    """Opens a panel of a module's file, by default of this project's module."""
    return lambda path=MODULE: application.openPanel(path)
