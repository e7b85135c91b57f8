"""The memory that a new array may take, asked before it is allocated."""

from __future__ import annotations

from pathlib import Path

MEGABYTE = 1e6


def free_memory_mb() -> float:
    """Memory that a new process can use, in MB: what the machine has free, or a container's smaller limit."""
    import psutil  # here: Slicer reads this package before it has installed psutil

    free = psutil.virtual_memory().available
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        if limit != "max":
            free = min(free, int(limit) - used)
    except OSError:
        pass  # not Linux, or no such limit
    return free / MEGABYTE
