"""Colours of texts that say good, warning or bad, readable on the light and on the dark style."""

from __future__ import annotations

from typing import Any

import qt

GOOD, WARNING, BAD, PLAIN = "good", "warning", "bad", "plain"
# Dark for a light background, light for a dark one.
TONES = {GOOD: ("#1b5e20", "#81c784"), WARNING: ("#8a4b00", "#ffb74d"), BAD: ("#b71c1c", "#ef9a9a")}
LEAST_CONTRAST = 4.5
BLACK, WHITE = "#000000", "#ffffff"


def toneColour(widget: Any, state: str) -> str:
    """The colour "#rrggbb" of a text of this state ("good", "warning", "bad" or "plain") on a widget as it is now."""
    palette = widget.palette
    if state == PLAIN:
        return _name(palette.color(qt.QPalette.WindowText))
    return toneOn(_name(palette.color(qt.QPalette.Window)), state)


def toneOn(background: str, state: str) -> str:
    """The colour of a state on a background "#rrggbb": a contrast of at least 4.5; black or white where no hue has."""
    best = max(TONES[state], key=lambda tone: contrast(tone, background))
    if contrast(best, background) >= LEAST_CONTRAST:
        return best
    return max(BLACK, WHITE, key=lambda tone: contrast(tone, background))


def contrast(first: str, second: str) -> float:
    """(lighter + 0.05) / (darker + 0.05) of the relative luminances of two colours "#rrggbb", 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    shares = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _name(colour: Any) -> str:
    return f"#{colour.red():02x}{colour.green():02x}{colour.blue():02x}"
