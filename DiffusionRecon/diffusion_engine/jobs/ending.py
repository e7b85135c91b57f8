"""How a process of the engine ends: with the one that started it, and with one sentence where it fails."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

import psutil

from .shortage import did_not_suffice, ran_out

ERROR = 1
"""Exit code of a process that could not do its work."""


def sentence(error: BaseException, what: str = "reconstruction") -> str:
    """One line for the user; errors that are not about the input name their kind and the log.

    ``what`` failed: what would need less memory depends on it.
    """
    text = " ".join(str(error).split())
    if isinstance(error, (ValueError, FloatingPointError, ChildProcessError)) and text:
        return text
    if ran_out(error):
        return did_not_suffice(what)
    return f"The {what} failed ({type(error).__name__}: {text[:300] or 'no message'}): see worker.log."


def end_with_parent(leave: Callable[[], None] | None = None) -> None:
    """End this process and its children as soon as stdin closes, which is when the process that started it ends.

    ``leave``: called last of all, to tidy up.
    """

    def watch() -> None:
        # os.read, not sys.stdin: a thread inside sys.stdin makes the interpreter abort on a normal exit.
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
        if leave is not None:
            with contextlib.suppress(OSError):
                leave()
        os._exit(ERROR)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
