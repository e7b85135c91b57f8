"""Whether it was the memory: of an error that was raised, and of a process that ended without a word.

A launcher between this process and the worker can turn the signal that killed it into an exit code of its own, so the
code alone proves nothing. What tells: the system's count of processes that it killed for want of memory, what the
worker's libraries said last, and how much memory was free when it was last looked at.
"""

from __future__ import annotations

import contextlib
import errno
import math
from collections.abc import Iterable
from pathlib import Path

import psutil

from ..memory import GROUPS, MEGABYTE, free_memory_mb, total_memory_mb

SMALLER = {
    "reconstruction": "fewer slices, a smaller region, fewer views, or the device cpu",
    "training": "a smaller network, the device cpu, or close other programs",
}
"""What needs less memory, by what runs."""
WORDS = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "std::bad_alloc",
    "bad allocation", "unable to allocate", "failed to allocate memory", "status_alloc_failed",
    "paging file is too small",
)
"""What allocators of processors and GPUs say in errors of no kind of their own."""
NO_MEMORY = 0xC0000017
"""Windows' own exit code for want of memory."""
SCARCE = 0.05
"""Part of the memory that is all but none: free when a process was killed, it was the reason, most likely."""
TAIL = 4000


def ran_out(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that memory did not suffice."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or type(seen).__name__ == "OutOfMemoryError":
            return True
        if isinstance(seen, OSError) and seen.errno == errno.ENOMEM:
            return True
        if isinstance(seen, (RuntimeError, OSError)) and _speaks_of_memory(str(seen)):
            return True
        seen = seen.__cause__
    return False


def did_not_suffice(what: str) -> str:
    """The sentence for the user; ``what`` ran."""
    return f"The memory did not suffice: choose {SMALLER[what]}."


class Witness:
    """What the process that started a worker knows of its memory; made before it starts, asked after its end."""

    def __init__(self) -> None:
        self._kills = killed_for_memory()
        self._free_mb = math.inf
        self._held_mb = 0.0

    def look(self, processes: Iterable[psutil.Process]) -> None:
        """Note what is free, and what the worker and its children hold."""
        held = 0.0
        for process in processes:
            with contextlib.suppress(psutil.Error):
                held += process.memory_info().rss / MEGABYTE
        if held:
            self._held_mb, self._free_mb = held, free_memory_mb()

    def testimony(self, code: int, log: Path, what: str) -> str | None:
        """What the memory had to do with the end of a process that said no last word; None: nothing is known.

        ``code``: its exit code, or that of its launcher; ``log``: where its libraries wrote.
        """
        said = _tail(log)
        if _speaks_of_memory(said) or "MemoryError" in said or code & 0xFFFFFFFF == NO_MEMORY:
            return did_not_suffice(what)
        if "Traceback (most recent call last)" in said:
            return None
        held = f" when it held {self._held_mb:.0f} MB" if self._held_mb else ""
        if killed_for_memory() > self._kills:
            return (
                f"The memory did not suffice, and the system ended the {what} process{held}: choose {SMALLER[what]}."
            )
        if self._free_mb < SCARCE * total_memory_mb():
            return (
                f"The {what} process ended without a word{held} and {self._free_mb:.0f} MB were free: the memory "
                f"probably did not suffice; choose {SMALLER[what]}."
            )
        return None


def killed_for_memory() -> int:
    """How many processes of this one's group the system killed for want of memory so far; 0 where it does not say.

    Linux counts for each control group, and older versions for the whole machine.
    """
    for place in _counters():
        with contextlib.suppress(OSError, ValueError):
            for line in place.read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return 0


def _counters() -> list[Path]:
    own: list[Path] = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                own.append(GROUPS / line[3:].strip("/") / "memory.events")
    return [*own, GROUPS / "memory.events", GROUPS / "memory" / "memory.oom_control", Path("/proc/vmstat")]


def _speaks_of_memory(text: str) -> bool:
    return any(words in text.lower() for words in WORDS)


def _tail(log: Path) -> str:
    try:
        with open(log, "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - TAIL))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
