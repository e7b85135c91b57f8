"""One-step denoising by Tweedie's formula against conjugate priors, whose posterior is known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers.tweedie import TweedieSettings, tweedie, tweedie_estimate
from torch import Tensor

SIZE = 8


class Identity:
    in_shape = out_shape = (SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y


def solve(denoiser: Any, y: Tensor, **options: Any) -> Tensor:
    likelihood = GaussianLikelihood(Identity(), y, torch.tensor(1.0))
    steps = list(tweedie(denoiser, likelihood, y, TweedieSettings(**options), seeded(0)))
    assert [(s.index, s.total) for s in steps] == [(1, 1)]
    return steps[0].estimate


def test_tweedie_of_gaussian_noise_is_the_posterior_mean() -> None:
    """Both ways: from a denoiser of clean images at the noise level, and from one of noisy images at a small level."""
    frequency = torch.fft.fftfreq(SIZE, dtype=torch.float64)
    spectrum = 1 / (1 + 50 * (frequency[:, None] ** 2 + frequency**2))
    mean = torch.full((SIZE, SIZE), 0.2, dtype=torch.float64)
    y = mean + torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = mean + torch.fft.ifft2(spectrum / (spectrum + 0.09) * torch.fft.fft2(y - mean)).real
    clean, noisy = GaussianDenoiser(mean, spectrum), GaussianDenoiser(mean, spectrum + 0.09)
    torch.testing.assert_close(solve(clean, y, sigma_start=0.6, entry=0.5), exact)
    found = solve(noisy, y, sigma_start=0.002, entry=0.5, noise_std=0.3)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4)


def denoiser_of(gradient: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """y + p^2 l'(y): a denoiser of noisy images with a known score, in the limit of a small level p."""
    return lambda y, sigma, condition=None: y + sigma**2 * gradient(y)


def one_step(gradient: Callable[[Tensor], Tensor], y: Tensor, **options: Any) -> Tensor:
    return solve(denoiser_of(gradient), y, sigma_start=0.02, **options)


@pytest.mark.parametrize("gain", [1.0, 0.2])
def test_tweedie_of_poisson_noise_on_gamma_images(gain: float) -> None:
    """x / a ~ Gamma(3, rate 0.1) and k ~ Poisson(x / a): k is negative binomial, the posterior Gamma(k + 3, 1.1)."""
    shape, rate = 3.0, 0.1
    counts = torch.arange(3, 67, dtype=torch.float64).reshape(1, SIZE, SIZE)

    def gradient(y: Tensor) -> Tensor:
        k = y / gain
        return (torch.digamma(k + shape) - torch.digamma(k + 1) - torch.log(torch.tensor(1 + rate))) / gain

    found = one_step(gradient, gain * counts, family="poisson", gain=gain)
    geometric = gain * torch.digamma(counts + shape).exp() / (1 + rate)
    assert float((found / geometric - 1).abs().max()) < 1 / (24 * 3.0**2)
    mean = gain * (counts + shape) / (1 + rate)
    assert bool(((found / mean - 1).abs() < 0.6 / (counts + shape)).all())


def test_tweedie_of_gamma_noise_on_inverse_gamma_images() -> None:
    """1 / x ~ Gamma(4, rate 2), y | x ~ Gamma(6, rate 5 / x): the posterior of 1 / x is Gamma(10, 2 + 5 y)."""
    y = 0.1 + 3 * torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def gradient(v: Tensor) -> Tensor:
        return 5 / v - 5 * 10 / (2 + 5 * v)

    torch.testing.assert_close(one_step(gradient, y, family="gamma", shape=6.0, rate=5.0), (2 + 5 * y) / 10)
    settings = TweedieSettings("gamma", shape=6.0)
    torch.testing.assert_close(tweedie_estimate(y, gradient(y), settings), 6 / 5 * (2 + 5 * y) / 10)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (1.0, {"family": "binomial"}, "family of noise out of"),
        (-1.0, {"family": "poisson"}, "not negative"),
        (1.0, {"family": "poisson", "gain": 0.0}, "gain of Poisson noise"),
        (1.0, {"family": "gamma", "shape": 1.0}, "shape above 1"),
        (1.0, {"family": "gamma", "shape": 1.5}, "does not belong to gamma noise"),
    ],
)
def test_tweedie_refusals(values: float, options: dict[str, Any], message: str) -> None:
    y = torch.full((1, 2, 2), values)
    with pytest.raises(ValueError, match=message):
        tweedie_estimate(y, torch.ones_like(y), TweedieSettings(**options))
