"""How long a job still takes and how much memory its processes hold."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

MEGABYTE = 1e6


class TimeLeft:
    """Seconds left from the fraction done: left = (1 - f) / rate, the rate a moving average over recent time.

    rate is the average of df/dt with weights exp(-age / ``memory_s``), so that it follows a change of stage but
    not one slow step. ``clock``: monotonic seconds.
    """

    def __init__(self, memory_s: float = 15.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory_s = memory_s
        self._clock = clock
        self._time = clock()
        self._fraction = 0.0
        self._gained = 0.0
        self._passed = 0.0

    @property
    def fraction(self) -> float:
        """The largest fraction seen."""
        return self._fraction

    def update(self, fraction: float) -> float | None:
        """Seconds left after reaching ``fraction`` (0 to 1); None while nothing can be said.

        A fraction below an earlier one counts as standing still. Raises ValueError outside 0 to 1.
        """
        if not math.isfinite(fraction) or not 0 <= fraction <= 1 + 1e-9:
            raise ValueError(f"expected a fraction of the job from 0 to 1, found {fraction}: correct the pipeline")
        now = self._clock()
        seconds = now - self._time
        gain = max(0.0, min(fraction, 1.0) - self._fraction)
        fading = math.exp(-seconds / self._memory_s)
        self._gained = fading * self._gained + gain
        self._passed = fading * self._passed + seconds
        self._time = now
        self._fraction += gain
        if self._passed <= 0 or self._gained <= 0:
            return None
        return (1 - self._fraction) * self._passed / self._gained


class PeakMemory:
    """The largest memory of this process and its children together, in MB, as far as :meth:`update` saw it.

    Of this process the operating system's own peak counter is read, so nothing between two updates is missed;
    children are summed at most once a second.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._own_mb = 0.0
        self._children_mb = 0.0
        self._looked = -math.inf

    def update(self) -> float:
        """The peak so far in MB."""
        # The kernel's counter is exact to some hundred kB only and may seem to fall.
        self._own_mb = max(self._own_mb, own_peak_mb())
        now = time.monotonic()
        if now - self._looked >= 1.0:
            self._looked = now
            children = 0.0
            for child in self._process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    children += child.memory_info().rss / MEGABYTE
            self._children_mb = max(self._children_mb, children)
        return self._own_mb + self._children_mb


def own_peak_mb() -> float:
    """The largest resident memory that this process ever had, in MB."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / MEGABYTE
    if sys.platform == "linux":
        # Not ru_maxrss: on Linux a process starts with the peak of the one that started it.
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / MEGABYTE
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / MEGABYTE
