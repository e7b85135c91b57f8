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

from ..safe_path import module_line, safe_environment
from . import job as jobs
from . import lock
from .shortage import Witness

GRACE_S = 1.0
EXIT_S = 5.0
LOOK_S = 1.0
FINAL = ("done", "cancelled", "error")

Message = dict[str, Any]


class JobProcess:
    """A running worker and everything it started; made by :func:`start`, used from one thread.

    ``run``: the identifier under which the folder is held until the end, see :mod:`.lock`.
    """

    def __init__(
        self, folder: Path, process: subprocess.Popen[bytes], what: str = "reconstruction", run: str | None = None,
        witness: Witness | None = None,
    ) -> None:
        assert process.stdout is not None
        self.folder = folder
        self.what = what
        self.pid = process.pid
        self._process = process
        self._run = run
        self._witness = witness or Witness()
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read, args=(process.stdout, self._lines), daemon=True)
        self._reader.start()
        self._reaping = threading.Lock()
        self._tree: dict[int, psutil.Process] = {}
        with contextlib.suppress(psutil.Error):
            self._tree[process.pid] = psutil.Process(process.pid)
        self._looked = 0.0
        self._ended_at = 0.0
        self._cancelled = self._settled = False
        self._last: Message | None = None
        self._last_time = 0.0

    def running(self) -> bool:
        """Whether messages may still come: True until :meth:`poll` has returned the last one and the worker ended."""
        if self._last is None or not self._ended():
            return True
        self._settle()
        return False

    def poll(self) -> list[Message]:
        """The messages since the last call, without waiting; the last of all is done, cancelled or error.

        A worker that ended without a last message (killed, crashed) gives one error, and its children are ended.
        """
        ended = self._ended()
        now = time.monotonic()
        if ended:
            self._ended_at = self._ended_at or now
            self._end_tree()
        elif now - self._looked > LOOK_S:
            self._remember_tree()
            self._witness.look(self._tree.values())
        messages = self._drain() if self._last is None else []
        # What a worker said before its end may still be on its way; only a child that got away holds the pipe longer.
        heard = not self._reader.is_alive() or now - self._ended_at > EXIT_S
        if ended and heard and self._last is None:
            messages += self._drain()
        if ended and heard and self._last is None:
            jobs.clear_outputs(self.folder, keep_finished=True)
            # A result that was whole before the end is a result, whoever ended the worker.
            messages.append(self._finish(self._epitaph()))
        if not ended and self._last is not None and now - self._last_time > EXIT_S:
            self._end_tree()
        if ended and self._last is not None:
            self._settle()
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
            if not isinstance(message, dict) or "event" not in message:
                continue  # a launcher speaks
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
        memory = self._witness.testimony(code, self.folder / jobs.LOG, self.what)
        if memory is not None:
            return {"event": "error", "message": memory}
        how = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"signal {signal.Signals(-code).name}"
        cause = ", as when someone kills it" if code in (-9, 137) else ""
        return {"event": "error", "message": (
            f"The {self.what} process ended before its result ({how}{cause}): no result was saved; "
            f"see {jobs.LOG}, then run it again."
        )}

    def _ended(self) -> bool:
        """Whether the worker has ended; what is left of its process group goes with it.

        On POSIX the group is ended while the worker's number is still its own: once its end is taken note of, that
        number may be another's.
        """
        with self._reaping:
            if self._process.returncode is not None:
                return True
            if os.name == "posix":
                state = _state(self.pid)
                if state == psutil.STATUS_ZOMBIE:
                    self._end_group()
                elif state is not None:
                    return False
            return self._process.poll() is not None

    def _settle(self) -> None:
        """After the end and the last word: no process is left, and the folder is free."""
        self._end_tree()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if self._run is not None:
            lock.release(self.folder, self._run)
            self._run = None
        self._settled = True  # asked again, it would look at every process of the machine once more

    def _end_group(self) -> None:
        """Kill the process group, if its leader's end was not taken note of yet; called with the lock held."""
        if os.name == "posix" and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _remember_tree(self) -> None:
        """Note the worker's descendants while they can be found through it: after its death nobody knows them."""
        self._looked = time.monotonic()
        root = self._tree.get(self.pid)
        with contextlib.suppress(psutil.Error):
            if root is not None:
                self._tree.update({child.pid: child for child in root.children(recursive=True)})

    def _end_after_grace(self) -> None:
        end = time.monotonic() + GRACE_S
        while not self._ended() and time.monotonic() < end:
            time.sleep(0.02)
        self._end_tree()

    def _end_tree(self) -> None:
        """Kill the worker, its descendants and, on POSIX, its whole process group; harmless when all are gone."""
        if self._settled:
            return
        self._remember_tree()
        with self._reaping:
            self._end_group()
        for process in list(self._tree.values()):
            with contextlib.suppress(psutil.Error):
                process.kill()  # psutil looks whether the number is still the same process's


def start(
    folder: str | os.PathLike[str], python: str = sys.executable, command: Sequence[str] | None = None,
) -> JobProcess:
    """Start the worker on a job folder, in a process group of its own.

    ``command``: what to run in place of ``python -m diffusion_engine.jobs.worker``; it gets the folder, ``--attached``
    and ``--run`` appended. Raises ValueError, one sentence, for a bad job or folder, one in which another run goes on,
    or a python that does not start.
    """
    place = Path(folder).resolve()
    jobs.read_job(place)
    jobs.check_folder(place, 0)
    jobs.check_free_names(place)
    run = lock.take(place)
    try:
        jobs.clear_outputs(place)
        line = list(command) if command else module_line("diffusion_engine.jobs.worker", python)
        return launch(place, [*line, str(place), "--attached", f"--run={run}"], run=run)
    except BaseException:
        lock.release(place, run)
        raise


def launch(place: Path, line: Sequence[str], what: str = "reconstruction", run: str | None = None) -> JobProcess:
    """Start a command that speaks as the worker does, in a process group of its own with ``place`` as its folder.

    ``what``: it does, for the sentence that is said when it ends without a word; ``run``: see :class:`JobProcess`. It
    imports nothing from the current folder (:mod:`..safe_path`). Raises ValueError for a command that does not start.
    """
    (place / jobs.CANCEL).unlink(missing_ok=True)
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    witness = Witness()
    try:
        with open(jobs.fresh_log(place), "wb") as log:
            process = subprocess.Popen(
                line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=safe_environment(), **options
            )
    except OSError as error:
        raise ValueError(f"expected to start {line[0]}, but it failed ({error.strerror}): check its path") from error
    return JobProcess(place, process, what, run, witness)


def _state(pid: int) -> str | None:
    """What a child does, without taking note of its end; None where the system does not say, or has another know."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.ZombieProcess:
        return str(psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return None


def _read(stream: IO[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
