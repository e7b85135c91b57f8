"""The panel's runs: one at a time, the next waits; a plain state machine that a timer polls. No Qt here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import slicer

from DiffusionReconLib.jobs.engine import Description, Message, Reconstruction
from DiffusionReconLib.jobs.failures import isGone


@dataclass(frozen=True, eq=False)
class Request:
    """What Apply asks for, fixed at that moment: later changes in the panel do not touch it.

    `beside`: further volumes of the run, by the setting that names their file.
    """

    settings: dict[str, Any]
    inputNode: slicer.vtkMRMLScalarVolumeNode | None = None
    measured: tuple[str, Description] | None = None
    folderName: str = ""
    name: str = ""
    beside: Mapping[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)

    def presentInput(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The input while it is still in the scene: a result whose input was removed stands alone."""
        present = self.inputNode is not None and slicer.mrmlScene.IsNodePresent(self.inputNode)
        return self.inputNode if present else None


class Logic(Protocol):
    """What of the module's logic a run needs."""

    def startRequest(self, request: Request) -> Reconstruction: ...

    def publish(self, reconstruction: Reconstruction, inputVolumeNode: Any, folderName: str) -> dict[str, Any]: ...


@dataclass
class Events:
    """Called by the queue: `began`, each `message` of the engine, `ended` with nodes or what went wrong and the log."""

    began: Callable[[Request, Reconstruction], None]
    message: Callable[[Message], None]
    ended: Callable[[Request, dict[str, Any] | None, Exception | None, list[str]], None]
    beforePublish: Callable[[], None] = field(default=lambda: None)


class Runs:
    """A queue of requests, of which the first runs."""

    def __init__(self, logic: Logic, events: Events) -> None:
        self._logic, self._events = logic, events
        self._waiting: list[Request] = []
        self._request: Request | None = None
        self._running: Reconstruction | None = None
        self._leaving: list[Reconstruction] = []

    @property
    def leaving(self) -> bool:
        """Whether a process of an ended run still lives: it takes a second to leave after its last word."""
        return bool(self._leaving)

    @property
    def running(self) -> Reconstruction | None:
        """The run in progress, also while it is being cancelled."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def add(self, request: Request) -> None:
        """Run it now, or when those before it have ended; raises ValueError at once for unusable input."""
        if self._running is not None:
            self._waiting.append(request)
            return
        self._start(request)

    def poll(self) -> None:
        """Go on: pass messages on, publish what is finished, start what waits."""
        for left in [each for each in self._leaving if isGone(each)]:
            self._leaving.remove(left)
            left.close()
        if self._running is None:
            return
        try:
            messages = self._running.poll()
        except Exception as error:  # whatever it was: the run ends, and with a sentence
            self._finish(error)
            return
        for message in messages:
            self._tell(message)
            if self._running is None:  # a listener ended everything
                return
        if self._running.finished:
            self._finish()

    def cancel(self) -> None:
        """End the run in progress, within two seconds; the next one follows."""
        if self._running is not None:
            self._running.cancel()

    def cancelAll(self) -> None:
        """End the run in progress and forget those that wait."""
        self._waiting.clear()
        self.cancel()

    def close(self) -> None:
        """End everything now; this can take two seconds."""
        self._waiting.clear()
        ending = [*self._leaving, *([self._running] if self._running is not None else [])]
        self._leaving, self._running, self._request = [], None, None
        for each in ending:
            try:
                each.close()
            except Exception:
                logging.exception("A run could not be ended in order")

    def _start(self, request: Request) -> None:
        self._running, self._request = self._logic.startRequest(request), request
        self._events.began(request, self._running)

    def _tell(self, message: Message) -> None:
        """A message that cannot be shown is no reason to end the run."""
        try:
            self._events.message(message)
        except Exception:
            logging.exception("A message of the engine could not be shown: %s", message)

    def _finish(self, failure: Exception | None = None) -> None:
        request, running = self._request, self._running
        nodes, log = None, []
        try:
            log = running.logLines()
            if failure is not None:
                running.cancel()
            else:
                running.check()
                self._events.beforePublish()
                nodes = self._logic.publish(running, request.presentInput(), request.folderName)
        except Exception as error:  # whatever it was, `ended` tells it: nothing may hang
            failure = failure or error
        finally:
            self._running, self._request = None, None
            self._leaving.append(running)  # closed by `poll`: to wait for its process here would hold up the panel
        try:
            self._events.ended(request, nodes, failure, log)
        finally:
            self._next()

    def _next(self) -> None:
        while self._waiting and self._running is None:
            request = self._waiting.pop(0)
            try:
                self._start(request)
            except Exception as error:
                if self._running is not None:  # it was `began` that failed
                    self._finish(error)
                    return
                self._events.ended(request, None, error, [])
