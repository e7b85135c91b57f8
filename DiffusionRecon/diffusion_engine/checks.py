"""Checks of single values: of settings, with one sentence for whatever is out of range, of cards, of file names."""

from __future__ import annotations

import math
import os


def need(condition: bool, expected: str, found: object) -> None:
    """Raise ValueError with what was expected and found, unless the condition holds."""
    if not condition:
        raise ValueError(f"expected {expected}, found {found!r}: change the setting")


def whole(value: object) -> bool:
    """Whether this is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(value: object) -> bool:
    """Whether this is a finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_plain(name: object) -> bool:
    """Whether this names a file within a folder: no path, no drive, nothing that leads up or elsewhere."""
    if not isinstance(name, str) or not name or name in (".", "..") or "\0" in name:
        return False
    return not any(sign in name for sign in ("/", "\\", *((":",) if os.name == "nt" else ())))
