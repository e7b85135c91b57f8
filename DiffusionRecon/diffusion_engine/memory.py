"""How much memory this computer, or the container that the process runs in, still has to give."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

MEGABYTE = 1e6
GROUPS = Path("/sys/fs/cgroup")


def free_memory_mb() -> float:
    """Memory that a new process can use, in MB: what the machine has free, or a container's smaller limit."""
    import psutil  # here: Slicer reads this package before psutil is installed

    free = float(psutil.virtual_memory().available)
    limit, used = _container()
    return min(free, limit - used) / MEGABYTE


def total_memory_mb() -> float:
    """The memory of this machine, or a container's smaller limit, in MB."""
    import psutil

    return min(float(psutil.virtual_memory().total), _container()[0]) / MEGABYTE


def _container() -> tuple[float, float]:
    """Limit and use of this container's memory in bytes, both versions of control groups; no limit: infinity."""
    for group, limit, used in (
        ("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        place = GROUPS / group
        with contextlib.suppress(OSError, ValueError):  # not Linux, or "max", which is no limit
            allowed = int((place / limit).read_text(encoding="ascii"))
            taken = int((place / used).read_text(encoding="ascii"))
            return float(allowed), float(taken - _cached(place))
    return math.inf, 0.0


def _cached(place: Path) -> int:
    """What the container holds of files and gives back when memory is wanted, in bytes."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in (place / "memory.stat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            found[name] = int(value)
    return found.get("total_inactive_file", found.get("inactive_file", 0))
