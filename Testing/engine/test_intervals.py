"""Prediction intervals from few draws: coverage by simulation, the rule chosen, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.posterior.intervals import (
    claimed_level,
    interval_rule,
    prediction_interval,
    spread_factor,
    spread_in_words,
    spread_of,
)

TRIALS = 40_000


def coverage(count: int, level: float, draw: str = "normal") -> float:
    """Share of trials in which the interval of ``count`` draws holds one more."""
    rng = np.random.default_rng(count)
    values = getattr(rng, draw)(size=(count + 1, TRIALS))
    low, high = prediction_interval(values[:-1], level)
    return float(((values[-1] >= low) & (values[-1] <= high)).mean())


def four_standard_errors(level: float) -> float:
    return 4 * float(np.sqrt(level * (1 - level) / TRIALS))


@pytest.mark.parametrize("count", [2, 4, 8, 16, 19, 64])
def test_covers_normal_draws_as_often_as_it_says(count: int) -> None:
    # Between order statistics the line is not exact: at 64 draws 0.0003 are allowed for it.
    assert abs(coverage(count, 0.9) - 0.9) < four_standard_errors(0.9) + 3e-4


@pytest.mark.parametrize("draw", ["exponential", "standard_cauchy", "uniform"])
def test_order_statistics_need_no_normal_draws(draw: str) -> None:
    # 39 draws: the 2nd and the 38th, exactly 90 % for any continuous distribution.
    assert abs(coverage(39, 0.9, draw) - 0.9) < four_standard_errors(0.9)


def test_raw_quantiles_would_cover_too_little() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(17, TRIALS))
    low, high = np.quantile(values[:-1], (0.05, 0.95), axis=0)
    raw = ((values[-1] >= low) & (values[-1] <= high)).mean()
    assert raw < 0.83
    assert coverage(16, 0.9) > raw + 0.05


def test_rule_changes_where_the_extremes_suffice() -> None:
    assert [interval_rule(count) for count in (2, 18, 19, 64)] == [
        "Student t", "Student t", "order statistics", "order statistics",
    ]  # fmt: skip
    assert interval_rule(39, 0.95) == "order statistics"
    assert interval_rule(38, 0.95) == "Student t"
    values = np.random.default_rng(1).normal(size=19)
    assert [float(end) for end in prediction_interval(values)] == [values.min(), values.max()]


def test_shape_follows_the_draws_and_factor_agrees() -> None:
    values = np.random.default_rng(2).normal(3.0, 2.0, size=(6, 4, 5))
    low, high = prediction_interval(values)
    assert low.shape == high.shape == (4, 5)
    half = spread_factor(6) * values.std(axis=0, ddof=1)
    assert np.allclose((high - low) / 2, half)
    assert np.allclose((high + low) / 2, values.mean(axis=0))
    single = prediction_interval(values[:, 1, 2])
    assert single[0].shape == ()
    assert float(single[0]) == pytest.approx(low[1, 2])


def test_factor_falls_to_the_normal_one_with_many_draws() -> None:
    factors = [spread_factor(count) for count in (2, 4, 16, 10_000)]
    assert factors == sorted(factors, reverse=True)
    assert spread_factor(None) == pytest.approx(1.6449, abs=1e-4)
    assert factors[-1] == pytest.approx(spread_factor(None), rel=1e-3)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 2 draws"):
        prediction_interval(np.ones(1))
    with pytest.raises(ValueError, match="several draws"):
        prediction_interval(np.float64(1.0))
    with pytest.raises(ValueError, match="between 0 and 1"):
        prediction_interval(np.ones(4), 1.0)
    with pytest.raises(FloatingPointError, match="NaN"):
        prediction_interval(np.array([1.0, np.nan, 2.0]))


@pytest.mark.parametrize(("spread", "count", "level"), [
    ("posterior", 19, 0.9), ("posterior", 64, 0.9), ("posterior", 18, None), ("posterior", 8, None),
    ("posterior", 1, None), ("posterior", 0, None), ("concentrated", 64, None), ("point", 64, None), (None, 64, None),
])
def test_only_many_draws_of_a_posterior_claim_a_level(spread: str | None, count: int, level: float | None) -> None:
    assert claimed_level(spread, count) == level


def test_without_a_level_a_spread_is_smallest_to_largest() -> None:
    values = np.array([-792.4, -791.8, -792.1, -792.0])
    assert spread_of(values, None) == (-792.4, -791.8)
    low, high = spread_of(values, 0.9)
    assert (low, high) == pytest.approx(tuple(float(end) for end in prediction_interval(values)))
    assert spread_in_words(4, None) == "smallest to largest of 4 samples"
    assert spread_in_words(None, None) == "smallest to largest of the samples"
    assert "%" not in spread_in_words(4, None)
    assert spread_in_words(24, 0.9) == "90 % interval of 24 samples, under the trained model"
    for wrong in (np.array([1.0]), np.array([1.0, np.nan])):
        with pytest.raises((ValueError, FloatingPointError)):
            spread_of(wrong, None)
