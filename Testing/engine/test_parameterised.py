"""A "network" that knows a Gaussian prior exactly gives, in each parameterisation, the exact denoiser."""

from __future__ import annotations

import math

import pytest
import torch
from diffusion_engine.denoiser import as_column
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.foreign.parameterised import (
    FlowDenoiser,
    VEDenoiser,
    VPDenoiser,
)
from diffusion_engine.priors.foreign.rescaled import Rescaled
from diffusion_engine.priors.foreign.schedules import ContinuousVP, DiscreteSchedule, LogTime, make_betas
from torch import Tensor

SIZE = 6
BETAS = make_betas("linear")
SIGMAS = (0.02, 0.3, 1.0, 7.0, torch.tensor([0.1, 0.8, 3.0], dtype=torch.float64))


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(seed: int = 5, weight: float = 0.3) -> GaussianDenoiser:
    frequency = torch.fft.fftfreq(SIZE, dtype=torch.float64)
    return GaussianDenoiser(random(SIZE, SIZE, seed=seed), weight / (0.05 + frequency[:, None] ** 2 + frequency**2))


PRIOR = gaussian()
X = random(3, 1, SIZE, SIZE, seed=9)


def level(sigma: float | Tensor) -> Tensor:
    return torch.as_tensor(sigma, dtype=torch.float64)


def log_abar(time: Tensor) -> Tensor:
    """ln abar at fractional steps such that ln sigma is linear between them: the definition of a time in between."""
    bar = (1 - BETAS).cumprod(0)
    levels = 0.5 * ((1 - bar) / bar).log()
    below = time.floor().clamp(0, len(bar) - 2).long()
    sigma = (levels[below] + (time - below) * (levels[below + 1] - levels[below])).exp()
    return -torch.log1p(sigma**2)


def vp_network(prediction: str, log_bar=log_abar):
    """The exact network of PRIOR as a variance-preserving one: it is given x_t and t, nothing else."""

    def network(inner: Tensor, time: Tensor) -> Tensor:
        bar = as_column(log_bar(time).exp(), inner)
        a, b = bar.sqrt(), (1 - bar).sqrt()
        clean = PRIOR(inner / a, (b / a).flatten())
        noise = (inner - a * clean) / b
        return {"epsilon": noise, "v": a * noise - b * clean, "sample": clean}[prediction]

    return network


@pytest.mark.parametrize("sigma", SIGMAS, ids=str)
@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_discrete_variance_preserving_networks(prediction: str, sigma: float | Tensor) -> None:
    s = level(sigma)
    found = VPDenoiser(vp_network(prediction), DiscreteSchedule.from_betas(BETAS), prediction)(X, s)
    torch.testing.assert_close(found, PRIOR(X, s), atol=1e-9, rtol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_continuous_variance_preserving_networks(prediction: str) -> None:
    def log_bar(time: Tensor) -> Tensor:
        t = time / 999
        return -(0.1 * t + 0.5 * t**2 * 19.9)

    denoiser = VPDenoiser(vp_network(prediction, log_bar), ContinuousVP(), prediction)
    for sigma in SIGMAS:
        torch.testing.assert_close(denoiser(X, level(sigma)), PRIOR(X, level(sigma)), atol=1e-9, rtol=0)


def test_nearest_steps_are_exact_at_the_steps_and_close_between() -> None:
    nearest = DiscreteSchedule.from_betas(BETAS, interpolate=False)
    denoiser = VPDenoiser(vp_network("epsilon"), nearest)
    at = nearest.sigmas[[0, 37, 500, 999]]
    assert nearest.time(at).tolist() == [0, 37, 500, 999]
    for sigma in at:
        torch.testing.assert_close(denoiser(X, sigma), PRIOR(X, sigma), atol=1e-9, rtol=0)
    between = (nearest.sigmas[400] * nearest.sigmas[401]).sqrt()
    away = float((denoiser(X, between) - PRIOR(X, between)).abs().max())
    assert 1e-6 < away < 0.01


def test_a_learned_variance_is_dropped_and_other_shapes_are_refused() -> None:
    inner = vp_network("epsilon")
    schedule = DiscreteSchedule.from_betas(BETAS)
    double = VPDenoiser(lambda x, t: torch.cat([inner(x, t), x * 9], 1), schedule)
    torch.testing.assert_close(double(X, level(0.5)), PRIOR(X, level(0.5)))
    with pytest.raises(ValueError, match="as many channels as the image, or twice as many"):
        VPDenoiser(lambda x, t: torch.cat([x, x, x], 1), schedule)(X, level(0.5))
    with pytest.raises(ValueError, match="no prediction 'flow'"):
        VPDenoiser(inner, schedule, "flow")


def test_variance_exploding_networks() -> None:
    def network(inner: Tensor, time: Tensor) -> Tensor:
        s = as_column(2 * time.exp(), inner)
        return (PRIOR(inner, s.flatten()) - inner) / s

    for sigma in SIGMAS:
        found = VEDenoiser(network, LogTime(unit=2.0))(X, level(sigma))
        torch.testing.assert_close(found, PRIOR(X, level(sigma)), atol=1e-8, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_flow_matching_networks(scale: float) -> None:
    def network(inner: Tensor, time: Tensor) -> Tensor:
        t = as_column(time / scale, inner)
        clean = PRIOR(inner / (1 - t), (t / (1 - t)).flatten())
        return (inner - (1 - t) * clean) / t - clean

    for sigma in SIGMAS:
        found = FlowDenoiser(network, scale)(X, level(sigma))
        torch.testing.assert_close(found, PRIOR(X, level(sigma)), atol=1e-9, rtol=0)


def test_times_of_the_schedules() -> None:
    ddpm = DiscreteSchedule.from_betas(BETAS)
    assert float(ddpm.sigmas[0]) == pytest.approx((1e-4 / (1 - 1e-4)) ** 0.5)
    assert float(ddpm.sigmas[-1]) == pytest.approx(157.4, abs=0.1)  # abar of the last step is 4.04e-5 (DDPM)
    assert float(ddpm.time(level(0.001))) == 0
    assert float(make_betas("scaled_linear", 5, 0.01, 0.09)[2]) == pytest.approx(0.04)
    cosine = (1 - make_betas("squaredcos_cap_v2", 100)).cumprod(0)
    assert float(cosine[49]) == pytest.approx(0.5, abs=0.02)
    assert float(ContinuousVP().time(level(math.expm1(10.05) ** 0.5))) == pytest.approx(999)
    assert float(ContinuousVP(2.0, 2.0, 1.0).time(level(math.expm1(1.0) ** 0.5))) == pytest.approx(0.5)
    for schedule in (ddpm, ContinuousVP(), LogTime(largest=80.0)):
        with pytest.raises(ValueError, match="start at a positive level within its range"):
            schedule.time(level(1e5))
        with pytest.raises(ValueError, match="start at a positive level within its range"):
            schedule.time(level(0.0))
    with pytest.raises(ValueError, match="choose from"):
        make_betas("sigmoid")
    with pytest.raises(ValueError, match="between 0 and 1"):
        DiscreteSchedule.from_betas(torch.tensor([0.1, 1.0]))
    with pytest.raises(ValueError, match="rise from step to step"):
        DiscreteSchedule(torch.tensor([1.0, 0.5]))


def test_the_condition_reaches_the_network_as_channels() -> None:
    planes = random(2, SIZE, SIZE)
    seen = []

    def network(inner: Tensor, time: Tensor) -> Tensor:
        seen.append((inner, time))
        return inner[:, :1]

    for denoiser in (
        VPDenoiser(network, DiscreteSchedule.from_betas(BETAS)), VEDenoiser(network, LogTime()),
        FlowDenoiser(network),
    ):
        denoiser(X, level(0.5), planes)
        inner, time = seen[-1]
        assert time.shape == (3,)
        assert inner.shape == (3, 3, SIZE, SIZE)
        assert bool((inner[:, 1:] == planes).all())
    assert len(seen) == 3


def test_a_prior_in_other_units() -> None:
    """x = 40 + 25 z with z from PRIOR: its own Gaussian denoiser, and the rescaled one."""
    own = GaussianDenoiser(40 + 25 * PRIOR.mean, 25**2 * PRIOR.spectrum)
    x = 40 + 30 * X
    found = Rescaled(PRIOR, 25.0, 40.0)(x, level(12.0))
    torch.testing.assert_close(found, own(x, level(12.0)))
    with pytest.raises(ValueError, match="positive scale"):
        Rescaled(PRIOR, -1.0)
