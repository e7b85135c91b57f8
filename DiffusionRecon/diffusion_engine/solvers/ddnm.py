"""Denoising diffusion null-space model with noise (DDNM+), for any linear operator and noise weights.

    x0  = D(x; sigma)
    x0' = x0 - L A^+ (A x0 - y)                      replace the measured part, as far as its noise allows
    x'  = x0' + sigma' sqrt(1 - eta^2) (x - x0) / sigma + n,  Cov n = t^2 I - Cov(L A^+ y | clean),  t = eta sigma'

so that the noise that y brings in and the fresh noise n add up to what the next level expects. The published L weights
a singular value s by min(1, t s / sigma_y), which needs the decomposition of A. Here L is the filter
t^2 h / (1 + t^2 h) of h = s^2 / sigma_y^2, which obeys the same bound and follows it at both ends, because then

    L A^+ = (A' V^-1 A + I / t^2)^-1 A' V^-1 = R A' V^-1             a damped pseudo-inverse, by conjugate gradients
    n = t n3 + R (n2 / t - n3 / t + A' V^-1/2 n1)                    has just the missing covariance, one more solve

with n1, n2, n3 standard normal. The last step (sigma' = 0) returns the denoiser's estimate.

Source: arXiv:2212.00490.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.conjugate_gradient import conjugate_gradient
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import poly_grid
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, denoise, finite


@dataclass(frozen=True)
class DDNMSettings(AnnealedSettings):
    """Steps, noise levels (network units), share of fresh noise ``eta`` (above 0) and the accuracy of the solves."""

    eta: float = 0.85
    cg_iterations: int = 12
    cg_tolerance: float = 1e-3


def ddnm(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: DDNMSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. Raises ValueError for an eta outside
    (0, 1], FloatingPointError where an estimate is not finite.
    """
    if not 0 < settings.eta <= 1:
        raise ValueError(f"expected eta above 0 and up to 1, found {settings.eta}: it is the share of fresh noise")
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = denoise(denoiser, x, sigma, condition)
        if following == 0:
            yield SolverStep(index + 1, settings.steps, sigma, finite(estimate, sigma))
            return
        level = settings.eta * following
        clean = likelihood.proximal(estimate, level**2, settings.cg_iterations, settings.cg_tolerance)
        yield SolverStep(index + 1, settings.steps, sigma, finite(clean, sigma))
        old = following * (1 - settings.eta**2) ** 0.5 * (x - estimate) / sigma
        fresh = missing_noise(likelihood, x, level, noise, settings.cg_iterations, settings.cg_tolerance)
        x = clean + old + fresh


def missing_noise(
    likelihood: GaussianLikelihood, like: Tensor, level: float, noise: Noise, iterations: int, tolerance: float
) -> Tensor:
    """Noise of covariance t^2 I - R H R, R = (H + I / t^2)^-1, H = A' V^-1 A, t = ``level``: images like ``like``."""
    operator, variance = likelihood.operator, likelihood.variance
    whole, other = noise.normal(like), noise.normal(like)
    readings = noise.normal(likelihood.data.expand((like.shape[0], *likelihood.data.shape[1:])))
    right = (other - whole) / level + operator.adjoint(readings / variance.sqrt())

    def system(z: Tensor) -> Tensor:
        return z + level**2 * operator.adjoint(operator.forward(z) / variance)

    return level * whole + conjugate_gradient(system, level**2 * right, iterations, tolerance)
