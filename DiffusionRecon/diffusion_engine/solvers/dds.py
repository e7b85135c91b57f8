"""Decomposed diffusion sampling (DDS), noisy proximal form.

    x0 = D(x; sigma)
    x0' = argmin_z |z - x0|^2 / (2 g(sigma)) + |W(A z - y)|^2 / 2        (conjugate gradients)
    x   = x0' + sigma' (sqrt(1 - eta^2) (x - x0) / sigma + eta z)        (DDIM)

started at sigma_0 from a classical image plus noise of that level (come-closer diffusion). The data weight W comes
from the measured noise, the prior's from g(sigma) = w c s^2 d^2 / (s^2 + d^2); w, of mean 1 over an image, is larger
where the network is less sure (:mod:`.local_variance`). Every second call sees the image left-right reversed, so that
what a network gets wrong one way is not repeated. Draws are concentrated: each step pulls towards a point estimate, so
their spread is narrower than the posterior's.

Sources: DDS, arXiv:2303.05754; start, arXiv:2112.05146; reversed calls, arXiv:2312.01831.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..likelihoods.gaussian import GaussianLikelihood
from ..priors.denoiser import Denoiser
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import Noise
from .contract import SolverStep, denoise, finite
from .local_variance import LocalVariance, prior_variance


@dataclass(frozen=True)
class DDSSettings:
    """Steps, noise levels (network units) and the weights of one run.

    ``mirrored``: every second call is reversed; ``local_variance``: the prior's variance differs from pixel to pixel;
    ``antithetic``: of several draws every second one has the opposite noise of the one before it, which whoever draws
    sees to (:func:`..sampling.noise.numbered_draws`).
    """

    steps: int = 30
    sigma_start: float = 0.6
    sigma_end: float = 0.01
    eta: float = 1.0
    sigma_data: float = 0.5
    prior_variance: float = 1.0
    cg_iterations: int = 8
    cg_tolerance: float = 1e-3
    mirrored: bool = True
    local_variance: bool = True
    antithetic: bool = False

    def mirrors(self, index: int) -> bool:
        """Whether the call of step ``index`` (from 0) sees the image reversed."""
        return self.mirrored and index % 2 == 1

    def variance(self, sigma: float, change: Tensor) -> float | Tensor:
        """g(sigma), a number, or (batch, rows, columns) where the estimates' ``change`` (same shape) sets it."""
        return prior_variance(sigma, self.sigma_data, self.prior_variance, change if self.local_variance else None)


def dds(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: DDSSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. Raises FloatingPointError where an estimate
    is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    x = start + levels[0] * noise.normal(start)
    local = LocalVariance()
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = denoise(denoiser, x, sigma, condition, settings.mirrors(index))
        variance = settings.variance(sigma, local.update(estimate, sigma))
        clean = finite(likelihood.proximal(estimate, variance, settings.cg_iterations, settings.cg_tolerance), sigma)
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        x = ddim(x, estimate, clean, sigma, following, settings.eta, noise.normal(x))
