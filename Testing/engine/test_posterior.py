"""Running moments and the residual test with what it may and may not say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_engine.posterior.moments import RunningMoments
from diffusion_engine.posterior.residual import (
    LIMITATION,
    SLACK,
    UNFITTED_SLACK,
    ResidualTest,
    accepted_range,
    summarise,
)


def test_moments_are_numpys() -> None:
    draws = torch.randn(7, 3, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1000
    moments = RunningMoments()
    for draw in draws:
        moments.add(draw)
    assert moments.count == 7
    np.testing.assert_allclose(moments.mean.numpy(), draws.double().mean(0).numpy(), rtol=1e-6)
    np.testing.assert_allclose(moments.std.numpy(), draws.double().std(0).numpy(), rtol=1e-5)
    assert moments.mean.dtype == moments.std.dtype == torch.float32


def test_moments_keep_two_images_however_many_draws() -> None:
    moments = RunningMoments()
    sizes = []
    for n in range(40):
        moments.add(torch.full((8, 8), float(n)))
        sizes.append(sum(v.numel() if isinstance(v, torch.Tensor) else 1 for v in vars(moments).values()))
    assert set(sizes) == {2 * 64 + 1}


def test_a_draw_does_not_change_when_it_was_the_first() -> None:
    first = torch.ones(2, 2, dtype=torch.float64)
    moments = RunningMoments()
    moments.add(first)
    moments.add(torch.full((2, 2), 3.0))
    assert first.tolist() == [[1, 1], [1, 1]]
    assert moments.mean.tolist() == [[2, 2], [2, 2]]


def test_moments_refuse_what_has_no_meaning() -> None:
    moments = RunningMoments()
    with pytest.raises(ValueError, match="no draw yet"):
        _ = moments.mean
    moments.add(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="at least 2 draws"):
        _ = moments.std
    for bad in (float("nan"), float("inf")):
        with pytest.raises(FloatingPointError, match="NaN or infinite"):
            moments.add(torch.tensor([[0.0, bad]]))
    assert moments.count == 1


@pytest.mark.parametrize("simulated", [0.3, 1.0, 25.0])
def test_the_accepted_range_holds_its_centre_and_narrows_with_more_readings(simulated: float) -> None:
    low, high = accepted_range(simulated, 10_000)
    assert 0 < low < simulated < high
    few_low, few_high = accepted_range(simulated, 10)
    assert 0 < few_low < low
    assert few_high > high


def verdict(ratio: float) -> ResidualTest:
    return ResidualTest("mean", ratio, (ratio, 3 * ratio, ratio / 2), (0.8, 1.4), group="view")


def test_a_passed_test_says_what_it_cannot_see() -> None:
    assert verdict(1.1).passed
    assert verdict(0.8).passed
    assert verdict(1.4).passed
    assert "1.10 times the noise (normal here: 0.80 to 1.40)" in verdict(1.1).statement
    assert LIMITATION in verdict(1.1).statement
    assert "not absence of invented structure" in LIMITATION


def test_too_large_a_residual_names_the_worst_view() -> None:
    assert not verdict(2.0).passed
    text = verdict(2.0).statement
    assert "inconsistent with geometry, noise level or field of view" in text
    assert "view is number 2 with 6.00" in text
    assert LIMITATION not in text


def test_too_small_a_residual_doubts_the_noise_level() -> None:
    assert not verdict(0.5).passed
    assert "noise level is likely too high" in verdict(0.5).statement


def test_summary_is_the_mean_and_refuses_what_is_not_finite() -> None:
    assert summarise([1.0, 2.0]) == 1.5
    for bad in (float("nan"), float("inf")):
        with pytest.raises(FloatingPointError, match="not finite"):
            summarise([1.0, bad])


def test_an_image_that_was_not_fitted_cannot_fit_too_well() -> None:
    low, high = accepted_range(20.0, 10_000, fitted=False)
    assert low == 0.0
    assert high == pytest.approx(accepted_range(20.0, 10_000)[1] * UNFITTED_SLACK / SLACK)
