"""Annealed Langevin sampling of the posterior (CSGM): score and data gradient in every step, no projection.

    x = x + a (s(x) - w g(x)) + sqrt(2 a) z,   a = ``step`` sigma^2,   w = 1 / (1 + L sigma^2)

``repeats`` times at each level of a geometric grid, with the score s = (D(x; sigma) - x) / sigma^2, the gradient g of
-log p(y | x), and L the largest eigenvalue of its Hessian. For one noise variance v, w g is the gradient for data of
variance v + gamma^2, as published, with gamma^2 = |A|^2 sigma^2: the error that noise of level sigma makes in the data
that see it best. That choice keeps every step stable, whatever the scan, but leaves data that see little too weak until
sigma is small. Hence a direction needs as many steps as the Hessian is stiff: few for masked Fourier data, too many for
projections, where the result falls below that of inverting them at once.

Source: arXiv:2108.01368.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.contract import Likelihood, stiffness
from ..sampling.grids import geometric_grid
from ..sampling.langevin import langevin, score
from ..sampling.noise import Noise
from .contract import SolverStep, denoise, finite


@dataclass(frozen=True)
class CSGMSettings:
    """Levels, noise levels (network units), Langevin steps a level and their size in units of sigma^2, below 1."""

    steps: int = 60
    sigma_start: float = 0.6
    sigma_end: float = 0.01
    repeats: int = 3
    step: float = 0.5


def csgm(
    denoiser: Denoiser, likelihood: Likelihood, start: Tensor, settings: CSGMSettings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result, without noise of the last level.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units, real or complex. Raises ValueError for a
    measurement that does not see a constant image, FloatingPointError where an estimate is not finite.
    """
    levels = geometric_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()[:-1]
    stiff = stiffness(likelihood, start)
    x = start + levels[0] * noise.normal(start)
    for index, sigma in enumerate(levels):
        weight, estimate = sigma**2 / (1 + stiff * sigma**2), x
        for _ in range(settings.repeats):
            estimate = denoise(denoiser, x, sigma, condition) - weight * likelihood.gradient(x)
            x = langevin(x, score(x, estimate, sigma), settings.step * sigma**2, noise.normal(x))
        yield SolverStep(index + 1, settings.steps, sigma, finite(estimate, sigma))
