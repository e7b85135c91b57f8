"""A job in a process of its own: start, messages without blocking, cancel, and no orphan afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from . import job as jobs

GRACE_S = 1.0
EXIT_S = 5.0
FINAL = ("done", "cancelled", "error")

Message = dict[str, Any]


class JobProcess:
    """A running worker and everything it started; made by :func:`start`, used from one thread."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], what: str = "reconstruction") -> None:
        assert process.stdout is not None
        self.folder = folder
        self.what = what
        self.pid = process.pid
        self._process = process
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read, args=(process.stdout, self._lines), daemon=True)
        self._reader.start()
        self._tree: dict[int, psutil.Process] = {}
        with contextlib.suppress(psutil.Error):
            self._tree[process.pid] = psutil.Process(process.pid)
        self._looked = 0.0
        self._cancelled = False
        self._last: Message | None = None
        self._last_time = 0.0

    def running(self) -> bool:
        """Whether messages may still come: True until :meth:`poll` has returned the last one and the worker ended."""
        return self._last is None or self._process.poll() is None

    def poll(self) -> list[Message]:
        """The messages since the last call, without waiting; the last of all is done, cancelled or error.

        A worker that ended without a last message (killed, crashed) gives one error, and its children are ended.
        """
        ended = self._process.poll() is not None
        if ended:
            self._end_tree()
            self._reader.join(1.0)
        elif time.monotonic() - self._looked > 1.0:
            self._remember_tree()
        messages = self._drain() if self._last is None else []
        if ended and self._last is None:
            jobs.clear_outputs(self.folder, keep_finished=True)
            # A result that was whole before the end is a result, whoever ended the worker.
            messages.append(self._finish(self._epitaph()))
        if not ended and self._last is not None and time.monotonic() - self._last_time > EXIT_S:
            self._end_tree()
        if ended and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        return messages

    def cancel(self) -> None:
        """Ask the worker to stop and end its process tree if it has not done so after a grace of 1 s; no waiting."""
        if self._cancelled or not self.running():
            return
        self._cancelled = True
        with contextlib.suppress(OSError):
            (self.folder / jobs.CANCEL).touch()
        self._remember_tree()
        threading.Thread(target=self._end_after_grace, daemon=True).start()

    def wait(self, on_message: Callable[[Message], None] | None = None) -> Message:
        """Wait for the end and return the last message; ``on_message`` gets each one as it comes."""
        while self.running():
            messages = self.poll()
            for message in messages:
                if on_message is not None:
                    on_message(message)
            if not messages:
                time.sleep(0.05)
        self._end_tree()
        assert self._last is not None
        return self._last

    def _drain(self) -> list[Message]:
        messages: list[Message] = []
        while self._last is None:
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                break
            try:
                message = json.loads(line)
            except ValueError:
                continue  # half a line of a killed worker
            messages.append(self._finish(message) if message["event"] in FINAL else message)
        return messages

    def _finish(self, message: Message) -> Message:
        self._last, self._last_time = message, time.monotonic()
        with contextlib.suppress(OSError):
            (self.folder / jobs.CANCEL).unlink(missing_ok=True)
        return message

    def _epitaph(self) -> Message:
        """The last message of a worker that could not say one itself."""
        if (self.folder / jobs.RESULT).is_file():
            return {"event": "done", "result": jobs.RESULT}
        if self._cancelled:
            return {"event": "cancelled"}
        code = self._process.returncode
        how = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"signal {signal.Signals(-code).name}"
        cause = ", as when memory runs out or someone kills it" if code == -9 else ""
        return {"event": "error", "message": (
            f"The {self.what} process ended before its result ({how}{cause}): no result was saved; "
            f"see {jobs.LOG}, then run it again."
        )}

    def _remember_tree(self) -> None:
        """Note the worker's descendants while they can be found through it: after its death nobody knows them."""
        self._looked = time.monotonic()
        root = self._tree.get(self.pid)
        with contextlib.suppress(psutil.Error):
            if root is not None:
                self._tree.update({child.pid: child for child in root.children(recursive=True)})

    def _end_after_grace(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self._end_tree()

    def _end_tree(self) -> None:
        """Kill the worker, its descendants and, on POSIX, its whole process group; harmless when all are gone."""
        self._remember_tree()
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        for process in list(self._tree.values()):
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)


def start(
    folder: str | os.PathLike[str], python: str = sys.executable, command: Sequence[str] | None = None,
) -> JobProcess:
    """Start the worker on a job folder, in a process group of its own.

    ``command``: what to run in place of ``python -m diffusion_engine.jobs.worker``; it gets the folder and
    ``--attached`` appended. Raises ValueError, one sentence, for a bad job or folder or a python that does not start.
    """
    place = Path(folder).resolve()
    jobs.read_job(place)
    jobs.check_folder(place, 0)
    jobs.clear_outputs(place)
    return launch(place, [*(command or [python, "-m", "diffusion_engine.jobs.worker"]), str(place), "--attached"])


def launch(place: Path, line: Sequence[str], what: str = "reconstruction") -> JobProcess:
    """Start a command that speaks as the worker does, in a process group of its own with ``place`` as its folder.

    ``what``: it does, for the sentence that is said when it ends without a word. Raises ValueError for a command that
    does not start.
    """
    (place / jobs.CANCEL).unlink(missing_ok=True)
    environment = dict(os.environ)
    engine = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [engine, environment.get("PYTHONPATH")]))
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    try:
        with open(place / jobs.LOG, "wb") as log:
            process = subprocess.Popen(
                line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, **options
            )
    except OSError as error:
        raise ValueError(f"expected to start {line[0]}, but it failed ({error.strerror}): check its path") from error
    return JobProcess(place, process, what)


def _read(stream: IO[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
