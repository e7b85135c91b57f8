"""Colours of texts that say good, warning or bad, readable on the light and on the dark style."""

from __future__ import annotations

from typing import Any

import qt

from DiffusionReconLib.review.banner import BAD, GOOD, PLAIN, WARNING

# Dark for a light background, light for a dark one.
TONES = {GOOD: ("#1b5e20", "#81c784"), WARNING: ("#8a4b00", "#ffb74d"), BAD: ("#b71c1c", "#ef9a9a")}
LEAST_CONTRAST = 4.5
BLACK, WHITE = "#000000", "#ffffff"


def toneColour(widget: Any, state: str) -> str:
    """The colour "#rrggbb" of a text of this state ("good", "warning", "bad" or "plain") on a widget as it is now."""
    if state == PLAIN:  # of what is around it: the widget's own palette has the colour that its style sheet gave it
        around = widget.parentWidget()
        palette = qt.QApplication.palette() if around is None else around.palette
        return nameOf(palette.color(qt.QPalette.WindowText))
    return toneOn(nameOf(widget.palette.color(qt.QPalette.Window)), state)


def toneOn(background: str, state: str) -> str:
    """The colour of a state on a background "#rrggbb", with a contrast of at least 4.5."""
    return readable(max(TONES[state], key=lambda tone: contrast(tone, background)), background)


def readable(colour: str, background: str) -> str:
    """A colour "#rrggbb", mixed with as much black or white as a contrast of 4.5 on the background needs."""
    end = max(BLACK, WHITE, key=lambda each: contrast(each, background))
    for share in range(0, 101, 5):
        mixed = _mixed(colour, end, share / 100)
        if contrast(mixed, background) >= LEAST_CONTRAST:
            return mixed
    return end


def contrast(first: str, second: str) -> float:
    """(lighter + 0.05) / (darker + 0.05) of the relative luminances of two colours "#rrggbb", 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def nameOf(colour: Any) -> str:
    """A QColor as "#rrggbb"."""
    return f"#{colour.red():02x}{colour.green():02x}{colour.blue():02x}"


def _parts(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))


def _mixed(colour: str, end: str, share: float) -> str:
    pairs = zip(_parts(colour), _parts(end), strict=True)
    return "#" + "".join(f"{round(one + share * (other - one)):02x}" for one, other in pairs)


def _luminance(colour: str) -> float:
    shares = (part / 255 for part in _parts(colour))
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
