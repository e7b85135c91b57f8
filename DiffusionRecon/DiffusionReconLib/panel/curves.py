"""The curves of a training as a picture for the panel: loss above, denoising PSNR by noise level below."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import qt
from diffusion_engine.training.units import UNITS
from slicer.i18n import tr as _

from DiffusionReconLib.jobs.training_request import readLog
from DiffusionReconLib.panel.tones import nameOf, readable

INK = ("#1f77b4", "#d95f02", "#1b9e77", "#be5aaa")
"""Hues of the curves and their names; each is made readable on the background."""

FEWEST_FOR_CURVES, NARROWEST = 200, 240
"""Steps before the first curves, and the least width of their picture in pixels."""

Points = list[tuple[float, float]]


class CurvesOnLabel:
    """The curves of a training's log on a label, drawn anew when the log, its unit or the width is another."""

    def __init__(self, label: Any) -> None:
        self._label = label
        self._drawn: tuple[Any, ...] = ()
        # The picture follows the panel's width, not the other way round.
        label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)

    def draw(self, log: Path | None, unit: str, width: int) -> list[dict[str, Any]] | None:
        """Draw a log, hide the label without one; returns its entries, None where nothing is new."""
        width = max(NARROWEST, width)
        wanted = (str(log), log.stat().st_mtime_ns, unit, width) if log is not None else ()
        if wanted == self._drawn:
            return None
        self._drawn = wanted
        entries = readLog(log) if log is not None else []
        held = any("gap_db" in entry for entry in entries)
        pixmap = curvesPixmap(entries, unit, held, self._label, width)
        self._label.setVisible(bool(entries))
        if pixmap is not None:
            self._label.setPixmap(pixmap)
        else:
            self._label.setText(_("The curves begin at step {n}.").format(n=FEWEST_FOR_CURVES))
        return entries


def curvesOf(entries: list[dict[str, Any]]) -> tuple[Points, dict[str, Points]]:
    """Logarithm of the loss over steps, and PSNR in dB over steps by noise level (network units)."""
    loss, levels = [], {}
    for entry in entries:
        if entry.get("loss", 0) > 0:
            loss.append((float(entry["step"]), math.log10(entry["loss"])))
        for level, psnr in entry.get("psnr_db", {}).items():
            levels.setdefault(level, []).append((float(entry["step"]), float(psnr)))
    return loss, levels


def levelText(level: str, unit: str) -> str:
    """A noise level as the user knows it: in the unit of the images where that has one scale."""
    scale = UNITS[unit].scale if unit in UNITS else None
    return f"{float(level) * scale:g} {unit}" if scale is not None else level


def curvesPixmap(entries: list[dict[str, Any]], unit: str, held: bool, label: Any, width: int) -> Any | None:
    """The picture in a label's font and colours, None below two points of loss."""
    loss, levels = curvesOf(entries)
    if len(loss) < 2:
        return None
    last = max(step for points in (loss, *levels.values()) for step, _value in points)
    line = label.fontMetrics().height()
    height = 8 * line
    pixmap = qt.QPixmap(width, 2 * height if levels else height)
    pixmap.fill(label.palette.color(qt.QPalette.Base))
    painter = qt.QPainter()
    painter.begin(pixmap)
    painter.setRenderHint(qt.QPainter.Antialiasing, True)
    text = label.palette.color(qt.QPalette.Text)
    named = {levelText(level, unit): points for level, points in levels.items()}
    background = nameOf(label.palette.color(qt.QPalette.Base))
    draw = _Drawer(painter, label.fontMetrics(), (text, background), width, height, last, list(named))
    draw.panel(0, _("Loss (logarithmic)"), {"": loss}, lambda value: f"{10**value:.3g}")
    if levels:
        title = _("PSNR of held-out patches, dB") if held else _("PSNR of training patches, dB")
        draw.panel(height, title, named, lambda value: f"{value:.1f}")
    painter.end()
    return pixmap


class _Drawer:
    """Panels of curves over the same steps, one under the other."""

    def __init__(
        self, painter: Any, metrics: Any, ink: tuple[Any, str], width: int, height: int, last: float, names: list[str]
    ) -> None:
        self._painter, self._metrics, (self._ink, self._background) = painter, metrics, ink
        self._height, self._last, self._line = height, last, metrics.height()
        # The same margins in all panels: for numbers of the axes at the left, for names of curves at the right.
        self._left = 10 + metrics.horizontalAdvance("0.00000")
        self._right = width - 10 - max([metrics.horizontalAdvance(name) for name in names], default=0)

    def panel(self, top: int, title: str, curves: dict[str, Points], label: Any) -> None:
        """Axes with the ends of their range, the curves, and the name of each at its end."""
        values = [value for points in curves.values() for _step, value in points]
        low, high = min(values), max(values)
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        left, right = self._left, self._right
        upper, lower = top + round(1.6 * self._line), top + self._height - round(1.4 * self._line)
        self._pen(self._ink, 1, 70)
        self._painter.drawLine(left, upper, left, lower)
        self._painter.drawLine(left, lower, right, lower)
        self._pen(self._ink, 1)
        self._painter.drawText(6, top + self._line, title)
        for value, row in ((high, upper), (low, lower)):
            number = label(value)
            self._painter.drawText(left - 5 - self._metrics.horizontalAdvance(number), row + self._line // 3, number)
        steps = f"{self._last:.0f}"
        self._painter.drawText(right - self._metrics.horizontalAdvance(steps), lower + self._line, steps)
        names = []
        for number, (name, points) in enumerate(curves.items()):
            places = [
                (left + (right - left) * step / self._last, lower - (lower - upper) * (value - low) / (high - low))
                for step, value in points
            ]
            colour = qt.QColor(readable(INK[number % len(INK)], self._background))
            self._pen(colour, 2)
            for (x, y), (nextX, nextY) in pairwise(places):
                self._painter.drawLine(round(x), round(y), round(nextX), round(nextY))
            names.append((places[-1][1], name, colour))
        self._names(right + 4, names)

    def _names(self, x: int, names: list[tuple[float, str, Any]]) -> None:
        """The curves' names beside their ends, moved apart where they would cover each other."""
        room = -math.inf
        for y, name, colour in sorted(names, key=lambda entry: entry[0]):
            row = max(round(y) + self._line // 3, room)
            self._pen(colour, 1)
            self._painter.drawText(x, row, name)
            room = row + self._line

    def _pen(self, colour: Any, width: int, percent: int = 100) -> None:
        faded = qt.QColor(colour)
        faded.setAlpha(round(2.55 * percent))
        pen = qt.QPen(faded)
        pen.setWidth(width)
        self._painter.setPen(pen)
