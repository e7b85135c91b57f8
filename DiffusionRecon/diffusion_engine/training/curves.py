"""The curves of a training log as a picture: loss above, denoising PSNR by noise level below. No plotting library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, EDGE = 60, 60, 20
"""Margins of a panel in pixels: numbers of the axis, names of the curves, above and below."""
INK = ((0, 90, 160), (200, 80, 0), (0, 130, 80), (150, 60, 140), (90, 90, 90))
DIGITS = {
    "0": (7, 5, 5, 5, 7), "1": (2, 6, 2, 2, 7), "2": (7, 1, 7, 4, 7), "3": (7, 1, 7, 1, 7), "4": (5, 5, 7, 1, 1),
    "5": (7, 4, 7, 1, 7), "6": (7, 4, 7, 5, 7), "7": (7, 1, 1, 2, 2), "8": (7, 5, 7, 5, 7), "9": (7, 5, 7, 1, 7),
    ".": (0, 0, 0, 0, 2), "-": (0, 0, 7, 0, 0),
}
"""Rows of 3 pixels of each sign, as binary numbers."""

Points = list[tuple[float, float]]


def draw_curves(entries: Sequence[dict[str, Any]], path: Path) -> bool:
    """Write the PNG of a log's entries ("step", "loss", "psnr_db"); False, and no file, below two entries of loss.

    Numbers at the left: ends of the axis (loss on a logarithmic scale, PSNR in dB); at the right: the noise level of
    each curve; below: the last step.
    """
    loss = [(float(e["step"]), math.log10(e["loss"])) for e in entries if e.get("loss", 0) > 0]
    if len(loss) < 2:
        return False
    levels: dict[str, Points] = {}
    for entry in entries:
        for level, psnr in entry.get("psnr_db", {}).items():
            levels.setdefault(level, []).append((float(entry["step"]), float(psnr)))
    panels = [_panel({"": loss}, loss[-1][0], lambda v: f"{10**v:.3g}")]
    if levels:
        panels.append(_panel(levels, loss[-1][0], lambda v: f"{v:.1f}"))
    sitk.WriteImage(sitk.GetImageFromArray(np.concatenate(panels), isVector=True), str(path))
    return True


def _panel(curves: dict[str, Points], last: float, label: Callable[[float], str]) -> np.ndarray:
    """One panel (HEIGHT, WIDTH, 3) of named curves over steps from 0 to ``last``."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    values = [v for points in curves.values() for _, v in points]
    low, high = min(values), max(values)
    span = max(high - low, 1e-9)
    bottom, right = HEIGHT - EDGE, WIDTH - RIGHT

    def place(step: float, value: float) -> tuple[float, float]:
        return LEFT + (right - LEFT) * step / last, bottom - (bottom - EDGE) * (value - low) / span

    image[EDGE : bottom + 1, LEFT] = image[bottom, LEFT:right] = 160
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        row = round(place(0, value)[1])
        image[row, LEFT:right:4] = 200
        _write(image, label(value), 4, row - 5)
    _write(image, f"{last:g}" if last < 1e6 else f"{last:.0f}", right - 30, bottom + 6)
    for n, (name, points) in enumerate(curves.items()):
        ink = INK[n % len(INK)]
        for begin, end in pairwise(points):
            _line(image, place(*begin), place(*end), ink)
        x, y = place(*points[-1])
        _write(image, name, round(x) + 6, round(y) - 5, ink)
    return image


def _line(
    image: np.ndarray, begin: tuple[float, float], end: tuple[float, float], ink: tuple[int, int, int]
) -> None:
    count = 2 + int(max(abs(end[0] - begin[0]), abs(end[1] - begin[1])))
    x, y = (np.rint(np.linspace(begin[k], end[k], count)).astype(int) for k in (0, 1))
    for thick in (0, 1):
        image[np.clip(y + thick, 0, HEIGHT - 1), np.clip(x, 0, WIDTH - 1)] = ink


def _write(image: np.ndarray, text: str, x: int, y: int, ink: tuple[int, int, int] = (0, 0, 0)) -> None:
    """Digits, points and minus signs of 6 x 10 pixels from (x, y); others are left out, and so is what leaves it."""
    for sign in text:
        rows = DIGITS.get(sign)
        if rows is None:
            continue
        bits = np.array([[row >> (2 - k) & 1 for k in range(3)] for row in rows], bool).repeat(2, 0).repeat(2, 1)
        y = min(max(y, 0), HEIGHT - 10)
        if x + 6 <= WIDTH:
            image[y : y + 10, x : x + 6][bits] = ink
        x += 8
