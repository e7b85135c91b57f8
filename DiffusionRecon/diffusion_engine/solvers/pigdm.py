"""Pseudo-inverse-guided diffusion (PiGDM), with noise of any covariance.

    x0 = D(x; sigma),  r^2 = sigma^2 d^2 / (sigma^2 + d^2)            clean | x ~ N(x0, r^2 I), roughly
    v  = (r^2 A A' + V)^-1 (y - A x0)
    x0' = x0 + sigma^2 J' A' v,  J = dx0/dx                           Tweedie's estimate with the score of p(y | x)
    x'  = x0' + sigma' (sqrt(1 - eta^2) (x - x0') / sigma + eta z)

The correction r^2 A' v is found in the image domain by the identity
r^2 A' (r^2 A A' + V)^-1 = (I / r^2 + A' V^-1 A)^-1 A' V^-1, which is the step of the proximal solve from x0: the same
conjugate gradients, well conditioned where V is small, and no matrix is ever formed.

Source: Song, Vahdat, Mardani, Kautz, ICLR 2023 (openreview 9_gsMA8MRKQ).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, clean_variance, finite, linearise


@dataclass(frozen=True)
class PiGDMSettings(AnnealedSettings):
    """Steps, noise levels (network units) and the weights of one run; ``sigma_data`` is d."""

    eta: float = 1.0
    sigma_data: float = 0.5
    cg_iterations: int = 12
    cg_tolerance: float = 1e-3


def pigdm(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: PiGDMSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. A step costs a denoiser call, its reverse
    differentiation and a solve. Raises FloatingPointError where an estimate is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate, pull_back = linearise(denoiser, x, sigma, condition)
        variance = clean_variance(sigma, settings.sigma_data)
        step = correction(likelihood, estimate, variance, settings.cg_iterations, settings.cg_tolerance)
        clean = finite(estimate + sigma**2 / variance * pull_back(step), sigma)
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        x = ddim(x, clean, clean, sigma, following, settings.eta, noise.normal(x))


def correction(
    likelihood: GaussianLikelihood, estimate: Tensor, variance: float, iterations: int, tolerance: float
) -> Tensor:
    """r^2 A' (r^2 A A' + V)^-1 (y - A x0) of images x0 (batch, rows, columns), r^2 = ``variance``."""
    return likelihood.proximal(estimate, variance, iterations, tolerance) - estimate
