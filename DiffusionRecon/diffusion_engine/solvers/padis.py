"""PaDIS: annealed Langevin sampling under a patch prior, guided by the data through the denoiser.

    x0 = D(x; sigma)                                        (random partition into patches, see priors/patches.py)
    x  = x + (alpha / 2) (x0 - x) / sigma^2 + sqrt(alpha) z,        alpha = ``step`` sigma^2
    x  = x + zeta J' (x0' - x0),    x0' = argmin_z |z - x0|^2 / (2 v) + |W(A z - y)|^2 / 2     (conjugate gradients)

several times at each level; J = dx0/dx, v = sigma^2 d^2 / (sigma^2 + d^2). The published guidance is -zeta J' times
the gradient of |A x0 - y|: its length depends on the unit of the data and does not fall as their noise is reached, and
published runs take a thousand steps. The one used here is v J' times the gradient of the log-likelihood of x0 with an
error of variance v in x0, so that zeta is a number near 1 for every geometry and noise level.

Any denoiser of images that was trained on patches with positions will do: it is wrapped into a patch prior.
Source: arXiv:2406.02462.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..priors.patches import PatchDenoiser
from ..sampling.grids import poly_grid
from ..sampling.noise import Noise
from .contract import SolverStep, clean_variance, denoise, finite, linearise


@dataclass(frozen=True)
class PaDISSettings:
    """Levels, Langevin steps a level, their size in units of sigma^2, guidance, patches (pixels, value outside)."""

    steps: int = 30
    inner: int = 2
    sigma_start: float = 0.6
    sigma_end: float = 0.01
    step: float = 0.5
    zeta: float = 1.0
    sigma_data: float = 0.5
    cg_iterations: int = 8
    cg_tolerance: float = 1e-3
    patch: int = 64
    outside: float = -1.0


def padis(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: PaDISSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result, averaged over four partitions.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. Raises FloatingPointError where an estimate
    is not finite.
    """
    if isinstance(denoiser, PatchDenoiser):
        patches = replace(denoiser, noise=noise)
    else:
        patches = PatchDenoiser(denoiser, settings.patch, noise, settings.outside)
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()[:-1]
    x = start + levels[0] * noise.normal(start)
    for index, sigma in enumerate(levels):
        variance = clean_variance(sigma, settings.sigma_data)
        for _ in range(settings.inner):
            estimate, product = linearise(patches, x, sigma, condition)
            fitted = likelihood.proximal(estimate, variance, settings.cg_iterations, settings.cg_tolerance)
            guidance = settings.zeta * product(finite(fitted, sigma) - estimate)
            drift = settings.step / 2 * (estimate - x)
            x = x + drift + settings.step**0.5 * sigma * noise.normal(x) + guidance
        if index == settings.steps - 1:
            estimate = finite(denoise(replace(patches, shifts=4), x, sigma, condition), sigma)
        yield SolverStep(index + 1, settings.steps, sigma, estimate)

