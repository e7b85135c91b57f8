"""The half-life of a header's radionuclide. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...physics.decay import HALF_LIFE_S
from .clock import text_of
from .decay_reference import number_of

SYMBOLS = {"carbon": "C", "nitrogen": "N", "oxygen": "O", "fluorine": "F", "copper": "Cu", "gallium": "Ga",
           "rubidium": "Rb", "zirconium": "Zr", "iodine": "I"}
SAME = 0.02
"""Largest relative difference of a stated half-life from the known one."""
OTHER_UNITS = {"minutes": 60.0, "hours": 3600.0, "milliseconds": 1e-3}


def name_of(text: str) -> str:
    """Such as "F-18" out of "^18^Fluorine", "18F", "F18", "Fluorine-18" or "F-18"; the text itself for another."""
    plain = text.replace("^", "").strip()
    found = re.fullmatch(r"(\d{1,3})-?([A-Za-z]+)|([A-Za-z]+)[- ]?(\d{1,3})", plain)
    if not found:
        return text.strip()
    mass, symbol = found.group(1) or found.group(4), found.group(2) or found.group(3)
    return f"{SYMBOLS.get(symbol.lower(), symbol.capitalize())}-{mass}"


def half_life(header: Mapping[str, Any], reasons: list[str]) -> float:
    """The half-life in s, by RadionuclideHalfLife, else by the radionuclide's name, which is said in ``reasons``.

    Raises ValueError, one sentence, where neither tells it, where both are known and differ, and for another unit.
    """
    stated, name = number_of(header, "RadionuclideHalfLife"), name_of(text_of(header, "Radionuclide"))
    known = HALF_LIFE_S.get(name)
    if stated is None:
        if known is None:
            raise ValueError("expected the half-life in s as RadionuclideHalfLife, found none: state it")
        reasons.append(f"The header states no half-life; that of {name} was taken, {known:g} s.")
        return known
    if stated <= 0 or (known is not None and abs(stated / known - 1) > SAME):
        raise ValueError(f"expected the half-life in s as RadionuclideHalfLife, found {stated:g}"
                         + (f", where {name} has {known:g}" if known else "") + ": correct it")
    looks = None if known else _in_another_unit(stated)
    if looks:
        raise ValueError(f"expected the half-life in s as RadionuclideHalfLife, found {stated:g}, which looks like "
                         f"{looks}: state it in s")
    return stated


def _in_another_unit(stated: float) -> str | None:
    """Such as "F-18 in minutes", where a half-life is that of no tracer in use, but would be one in another unit."""
    if any(abs(stated / known - 1) <= SAME for known in HALF_LIFE_S.values()):
        return None
    return next((f"{name} in {unit}" for unit, seconds in OTHER_UNITS.items() for name, known in HALF_LIFE_S.items()
                 if abs(stated * seconds / known - 1) <= SAME), None)
