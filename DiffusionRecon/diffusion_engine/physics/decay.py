"""Radioactive decay: what is left after a time, and its mean over a frame.

Half-lives: table of the BIPM monographie 5, http://www.lnhb.fr/nuclear-data.
"""

from __future__ import annotations

import math

HALF_LIFE_S = {
    "C-11": 1221.8, "N-13": 597.9, "O-15": 122.24, "F-18": 6586.2, "Cu-64": 45723.6, "Ga-68": 4069.8, "Rb-82": 76.4,
    "Zr-89": 282276.0, "I-124": 360806.4,
}
"""Of the positron emitters in use."""


def remaining(elapsed_s: float, half_life_s: float) -> float:
    """2^(-t / T): the part that is left after ``elapsed_s`` (negative for before)."""
    if not (math.isfinite(half_life_s) and half_life_s > 0):
        raise ValueError(f"expected a positive half-life in seconds, found {half_life_s}: state the isotope's")
    if not math.isfinite(elapsed_s):
        raise ValueError(f"expected a finite time in seconds, found {elapsed_s}: check the two times of the decay")
    return 2.0 ** (-elapsed_s / half_life_s)


def mean_over_frame(duration_s: float, half_life_s: float) -> float:
    """(1 - e^(-l d)) / (l d) with l = ln 2 / T: mean activity of a frame over that at its start."""
    if not (math.isfinite(duration_s) and duration_s >= 0):
        raise ValueError(f"expected a frame duration of 0 s or more, found {duration_s}: correct it")
    if duration_s == 0:
        return 1.0
    return (1 - remaining(duration_s, half_life_s)) * half_life_s / (duration_s * math.log(2))
