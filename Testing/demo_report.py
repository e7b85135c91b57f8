"""What the demo prints: a bar with the time left, and the closing table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

METHODS = {
    "fbp": "FBP", "zero-filled": "zero-filled", "sense": "CG-SENSE", "wavelet": "l1-wavelet", "tv": "TV",
    "diffusion": "diffusion prior",
}
SPREADS = {
    "posterior": "posterior spread under this prior",
    "near-posterior": "spread near a posterior's, not an error bar",
    "concentrated": "spread of estimates, mostly narrower than a posterior",
}
PLAIN_EVERY_S = 5.0


class Bar:
    """Progress messages as one line that renews itself on a terminal, as lines some seconds apart elsewhere."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._last = -PLAIN_EVERY_S
        self._open = False

    def show(self, message: dict) -> None:
        """Show a progress message; others are passed over."""
        if message["event"] != "progress":
            return
        text = f"{message['fraction']:4.0%}  {message['stage']} {message['step']}/{message['total']}"
        text += f"  {duration(message['seconds_left'])} left  {message['memory_mb']:.0f} MB"
        if self._out.isatty():
            width = max(20, shutil.get_terminal_size().columns - 1)
            full = min(30, width // 3)
            done = round(full * message["fraction"])
            self._out.write("\r" + f"[{'#' * done}{'.' * (full - done)}] {text}"[:width].ljust(width))
            self._open = True
        elif self._clock() - self._last >= PLAIN_EVERY_S:
            self._last = self._clock()
            self._out.write(text + "\n")
        self._out.flush()

    def end(self) -> None:
        """Leave the bar's line."""
        if self._open:
            self._out.write("\n")
            self._open = False


def duration(seconds: float | None) -> str:
    """Seconds as 5 s or 2 min 5 s; a question mark when unknown."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def methods_table(report: dict) -> list[str]:
    """One line a method, best last, then what the spread is, the peak memory and the seconds of all."""
    lines = [f"{'method':18s}{'PSNR dB':>9s}{'SSIM':>8s}{'residual':>10s}{'seconds':>9s}"]
    metrics = report.get("metrics", {})
    names = [name for name in METHODS if name in metrics] + [name for name in metrics if name not in METHODS]
    for name in names:
        row = metrics[name]
        cells = (
            _cell(row.get("psnr"), 9, 2), _cell(row.get("ssim"), 8, 3), _cell(row.get("residual_ratio"), 10, 2),
            _cell(row.get("seconds"), 9, 1),
        )
        lines.append(f"{METHODS.get(name, name):18s}" + "".join(cells))
    spread = SPREADS.get(report["spread"], report["spread"])
    if (report.get("calibration") or {}).get("matched"):
        spread = "spread of estimates, rescaled for this acquisition"
    lines += [
        "", f"uncertainty map: {spread} ({report['draws']} draws)",
        f"peak memory {report['peak_memory_mb']:.0f} MB, {report['seconds']:.0f} s in all, seed {report['seed']}",
    ]
    return lines + [str(note) for note in report.get("notes", [])]


def files_table(files: list[Path]) -> list[str]:
    """The folder, then one line a file with its size."""
    lines = [f"{files[0].parent}:"]
    return lines + [f"  {path.name:24s}{path.stat().st_size / 1e6:9.3f} MB" for path in files]


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}s}" if value is None else f"{value:{width}.{digits}f}"
