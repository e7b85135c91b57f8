"""Intervals from few draws: what covers the truth as often as it says, although the draws are few.

The raw 5 and 95 % quantiles of 16 draws cover a further draw in 81 % of cases only: with n draws the outermost two
enclose a share (n - 1) / (n + 1) of what else may come. Both rules here correct for it.
"""

from __future__ import annotations

import numpy as np

LEVEL = 0.9
"""Share of cases that an interval covers, unless said otherwise."""


def interval_rule(count: int, level: float = LEVEL) -> str:
    """Which rule :func:`prediction_interval` uses for ``count`` draws: "order statistics" or "Student t"."""
    raise NotImplementedError


def spread_factor(count: int | None, level: float = LEVEL) -> float:
    """Half width of the interval in standard deviations: t(n - 1) sqrt(1 + 1/n), or the normal value for None."""
    raise NotImplementedError


def prediction_interval(values: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end of the interval that covers a further exchangeable draw with probability ``level``.

    ``values``: (draws, ...), at least two draws on the first axis; the ends have the remaining shape (0-d for a list
    of numbers). Raises ValueError for fewer than two draws or a level outside 0 to 1, FloatingPointError for NaN.
    """
    raise NotImplementedError
