"""Intervals from few draws: what covers the truth as often as it says, although the draws are few.

The raw 5 and 95 % quantiles of 16 draws cover a further draw in 81 % of cases only: with n draws the outermost two
enclose a share (n - 1) / (n + 1) of what else may come. Both rules here correct for it. They cover the truth only as
far as the truth is exchangeable with the draws, that is, as far as the draws are draws from the posterior. For other
draws only the smallest and the largest value are given: a spread of estimates that claims no share of cases.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

LEVEL = 0.9
"""Share of cases that an interval covers, unless said otherwise."""

ORDER_STATISTICS, STUDENT = "order statistics", "Student t"


def interval_rule(count: int, level: float = LEVEL) -> str:
    """Which rule :func:`prediction_interval` uses for ``count`` draws: order statistics, or Student's t for few.

    The outermost of n draws enclose a further one with probability (n - 1) / (n + 1): from 19 draws on for 90 %.
    """
    _check(count, level)
    # Written so that 19 draws at 0.9 are enough despite rounding.
    return ORDER_STATISTICS if (count + 1) * (1 - level) / 2 >= 1 - 1e-9 else STUDENT


def spread_factor(count: int | None, level: float = LEVEL) -> float:
    """Half width of an interval in standard deviations: t_(n-1) sqrt(1 + 1/n), or the normal quantile for None.

    ``count`` n: draws behind the standard deviation, at least two; None when they are many or unknown.
    """
    if count is None:
        _check(2, level)
        return NormalDist().inv_cdf((1 + level) / 2)
    _check(count, level)
    # Imported here: the module is read at a panel's opening, and scipy.stats takes a second.
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, count - 1)) * math.sqrt(1 + 1 / count)


def prediction_interval(values: np.ndarray, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end of the interval that covers a further exchangeable draw with probability ``level``.

    Enough draws: from the order statistic number r = (n + 1) (1 - level) / 2 to number n + 1 - r, straight lines
    between neighbours; exact for every continuous distribution where r is whole. Fewer: mean -+ t_(n-1) s
    sqrt(1 + 1/n), exact for normal draws. ``values``: (draws, ...), two draws or more on the first axis; the ends have
    the remaining shape (0-d for plain numbers), float64, in the unit of the values. Raises ValueError for fewer draws
    or a level outside 0 to 1, FloatingPointError for NaN or infinity. Source: Wilks, doi:10.1214/aoms/1177731788.
    """
    draws = np.asarray(values, dtype=np.float64)
    if draws.ndim == 0:
        raise ValueError("expected several draws on the first axis, found a single number: give at least 2")
    count = draws.shape[0]
    rule = interval_rule(count, level)
    if not np.isfinite(draws).all():
        raise FloatingPointError("a draw holds NaN or infinite values: no interval can be given")
    if rule == STUDENT:
        middle, half = draws.mean(axis=0), spread_factor(count, level) * draws.std(axis=0, ddof=1)
        return np.asarray(middle - half), np.asarray(middle + half)
    # Weibull's plotting positions are the order statistics' own: the k-th of n lies at k / (n + 1).
    low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2), axis=0, method="weibull")
    return np.asarray(low), np.asarray(high)


def claimed_level(spread: str | None, count: int, level: float = LEVEL) -> float | None:
    """The share of cases that an interval of ``count`` draws may claim to cover, None: a spread of estimates only.

    ``spread``: of the method that drew, see :class:`..solvers.listing.Listed`. Only draws from the posterior may claim
    one, and only where order statistics suffice: for fewer draws the shape of the distribution would be an assumption.
    """
    return level if spread == "posterior" and count > 1 and interval_rule(count, level) == ORDER_STATISTICS else None


def spread_in_words(count: int | None, level: float | None) -> str:
    """What the two ends of a value's spread over ``count`` draws are, one phrase for the user."""
    samples = "the samples" if count is None else f"{count} samples"
    if level is None:
        return f"smallest to largest of {samples}"
    return f"{100 * level:g} % interval of {samples}, under the trained model"


def spread_of(values: np.ndarray, level: float | None) -> tuple[float, float]:
    """Low and high end of a number over its draws (draws,): of the interval of ``level``, or smallest and largest.

    Raises ValueError for fewer than two draws, FloatingPointError for NaN or infinity.
    """
    if level is not None:
        low, high = prediction_interval(values, level)
        return float(low), float(high)
    draws = np.asarray(values, dtype=np.float64)
    _check(len(draws), LEVEL)
    if not np.isfinite(draws).all():
        raise FloatingPointError("a draw holds NaN or infinite values: no interval can be given")
    return float(draws.min()), float(draws.max())


def _check(count: int, level: float) -> None:
    if count < 2:
        raise ValueError(f"expected at least 2 draws for an interval, found {count}: ask for more draws")
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, found {level}: give for instance 0.9")
