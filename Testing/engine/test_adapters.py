"""Adapters: a "network" that knows a Gaussian prior exactly, in each parameterisation, gives the exact denoiser."""

from __future__ import annotations

import math

import pytest
import torch
from diffusion_engine.denoiser import as_column
from diffusion_engine.priors.adapters import (
    ConsistencyDenoiser,
    FlowDenoiser,
    PFGMDenoiser,
    VEDenoiser,
    VPDenoiser,
)
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.combine import AveragedDenoiser, ComplexDenoiser, GuidedDenoiser, Rescaled
from diffusion_engine.priors.schedules import ContinuousVP, DiscreteSchedule, LevelTime, make_betas
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


@pytest.mark.parametrize("predicts", ["score", "noise"])
@pytest.mark.parametrize(
    ("schedule", "to_sigma"),
    [
        (LevelTime(), lambda t: t),
        (LevelTime(0.25, logarithm=True), lambda t: (4 * t).exp()),
        (DiscreteSchedule.geometric(0.01, 50, 200), lambda t: 0.01 * 5000 ** ((199 - t) / 199)),
    ],
    ids=["sigma", "logarithm", "geometric"],
)
def test_variance_exploding_networks(predicts: str, schedule, to_sigma) -> None:
    def network(inner: Tensor, time: Tensor) -> Tensor:
        s = as_column(to_sigma(time), inner)
        noise = (inner - PRIOR(inner, s.flatten())) / s
        return -noise / s if predicts == "score" else noise

    denoiser = VEDenoiser(network, schedule, predicts)
    steps = schedule.sigmas[[3, 90, 150]] if isinstance(schedule, DiscreteSchedule) else level(SIGMAS[-1])
    torch.testing.assert_close(denoiser(X, steps), PRIOR(X, steps), atol=1e-8, rtol=0)
    with pytest.raises(ValueError, match="no prediction"):
        VEDenoiser(network, schedule, "x")


@pytest.mark.parametrize("data_at_one", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_flow_matching_networks(scale: float, data_at_one: bool) -> None:
    def network(inner: Tensor, time: Tensor) -> Tensor:
        t = as_column(time / scale, inner)
        t = 1 - t if data_at_one else t
        clean = PRIOR(inner / (1 - t), (t / (1 - t)).flatten())
        velocity = (inner - (1 - t) * clean) / t - clean
        return -velocity if data_at_one else velocity

    for sigma in SIGMAS:
        found = FlowDenoiser(network, scale, data_at_one)(X, level(sigma))
        torch.testing.assert_close(found, PRIOR(X, level(sigma)), atol=1e-9, rtol=0)


@pytest.mark.parametrize("dimension", [1, 128, 2048.5])
def test_pfgm_networks_are_told_the_radius(dimension: float) -> None:
    def network(inner: Tensor, radius: Tensor) -> Tensor:
        return PRIOR(inner, radius / math.sqrt(dimension))

    for sigma in SIGMAS:
        found = PFGMDenoiser(network, dimension)(X, level(sigma))
        torch.testing.assert_close(found, PRIOR(X, level(sigma)), atol=1e-9, rtol=0)


def test_consistency_networks_end_where_the_probability_flow_ends() -> None:
    """The exact consistency function of a Gaussian, m + sqrt((S + m^2) / (S + s^2)) (x - m) at each frequency."""
    least = 0.002

    def end(x: Tensor, s: Tensor) -> Tensor:
        gain = ((PRIOR.spectrum + least**2) / (PRIOR.spectrum + s**2)).sqrt()
        return PRIOR.mean + torch.fft.ifft2(gain * torch.fft.fft2(x - PRIOR.mean)).real

    def network(inner: Tensor, time: Tensor) -> Tensor:
        s = as_column((time / 250).exp(), inner)
        norm, away = (s**2 + 0.25).sqrt(), s - least
        x = inner * norm
        return (end(x, s) - x * 0.25 / (away**2 + 0.25)) / (0.5 * away / norm)

    denoiser = ConsistencyDenoiser(network)
    for sigma in SIGMAS:
        s = level(sigma)
        torch.testing.assert_close(denoiser(X, s), end(X, as_column(s, X)), atol=1e-8, rtol=0)
    at_boundary = ConsistencyDenoiser(lambda x, t: torch.ones_like(x))(X, level(least))
    torch.testing.assert_close(at_boundary, X)


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
    for schedule in (ddpm, ContinuousVP(), LevelTime(largest=80.0)):
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
        VPDenoiser(network, DiscreteSchedule.from_betas(BETAS)), VEDenoiser(network, LevelTime()),
        FlowDenoiser(network), PFGMDenoiser(network, 4), ConsistencyDenoiser(network),
    ):
        denoiser(X, level(0.5), planes)
        inner, time = seen[-1]
        assert time.shape == (3,)
        assert inner.shape == (3, 3, SIZE, SIZE)
        assert bool((inner[:, 1:] == planes).all())
    assert len(seen) == 5


def test_a_prior_in_other_units() -> None:
    """x = 40 + 25 z with z from PRIOR: its own Gaussian denoiser, and the rescaled one."""
    own = GaussianDenoiser(40 + 25 * PRIOR.mean, 25**2 * PRIOR.spectrum)
    x = 40 + 30 * X
    found = Rescaled(PRIOR, 25.0, 40.0)(x, level(12.0))
    torch.testing.assert_close(found, own(x, level(12.0)))
    with pytest.raises(ValueError, match="positive scale"):
        Rescaled(PRIOR, -1.0)


@pytest.mark.parametrize("sigma", [0.4, torch.tensor([0.2, 0.9, 2.0], dtype=torch.float64)], ids=str)
def test_complex_images_get_half_of_the_noise_variance_in_each_part(sigma: float | Tensor) -> None:
    """White complex Gaussian of variance 2 v: the complex Wiener filter has gain 2 v / (2 v + s^2)."""
    white = GaussianDenoiser(torch.zeros(SIZE, SIZE, dtype=torch.float64), torch.full((SIZE, SIZE), 0.7).double())
    x = torch.complex(X, random(*X.shape, seed=4))
    s = level(sigma)
    gain = 1.4 / (1.4 + as_column(s, X) ** 2)
    torch.testing.assert_close(ComplexDenoiser(white)(x, s), gain * x, atol=1e-7, rtol=0)
    torch.testing.assert_close(ComplexDenoiser(white)(X, s), white(X, s))


def score(prior: GaussianDenoiser, x: Tensor, sigma: float) -> Tensor:
    """Gradient of the log-density of noisy images, by differentiation."""
    leaf = x.clone().requires_grad_()
    power = torch.fft.fft2(leaf - prior.mean, norm="ortho").abs() ** 2
    log_density = -0.5 * (power / (prior.spectrum + sigma**2)).sum()
    return torch.autograd.grad(log_density, leaf)[0]


def test_guidance_and_averages_act_on_scores() -> None:
    other, sigma = gaussian(6, 1.1), 0.6
    s = level(sigma)

    def conditional(x: Tensor, s: Tensor, condition: Tensor | None = None) -> Tensor:
        return PRIOR(x, s) if condition is not None and bool(condition.any()) else other(x, s)

    yes, none = torch.ones(1, SIZE, SIZE), torch.zeros(1, SIZE, SIZE)
    for weight in (-1.0, 0.0, 1.5):
        found = (GuidedDenoiser(conditional, weight, none)(X, s, yes) - X) / sigma**2
        expected = (1 + weight) * score(PRIOR, X, sigma) - weight * score(other, X, sigma)
        torch.testing.assert_close(found, expected)
    found = (AveragedDenoiser((PRIOR, other), (0.3, 0.7))(X, s) - X) / sigma**2
    torch.testing.assert_close(found, 0.3 * score(PRIOR, X, sigma) + 0.7 * score(other, X, sigma))
    torch.testing.assert_close(AveragedDenoiser((PRIOR, other))(X, s), (PRIOR(X, s) + other(X, s)) / 2)
    with pytest.raises(ValueError, match="sum to 1"):
        AveragedDenoiser((PRIOR, other), (0.5, 0.6))
