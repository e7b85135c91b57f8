"""PaDIS: annealed Langevin sampling under a patch prior, guided by the data through the denoiser.

    x0 = D(x; sigma)                                        (random partition into patches, see priors/patches.py)
    x  = x + (alpha / 2) (x0 - x) / sigma^2 + sqrt(alpha) z,        alpha = ``step`` sigma^2
    x  = x - zeta J' g / (L + 1 / v)

several times at each level; g = A' W^2 (A x0 - y), J = dx0/dx, L = |W A g|^2 / |g|^2, v = s^2 d^2 / (s^2 + d^2). The
published guidance is zeta times the gradient of the norm |A x0 - y|, whose length depends on the unit of the data and
does not fall as the noise of the data is reached; here its length is the steepest-descent step on misfit plus
distance from the prior's estimate, so that zeta is a number near 1 for every scanner.

Any denoiser of images that was trained on patches with positions will do: it is wrapped into a patch prior.
Source: arXiv:2406.02462.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..likelihood import GaussianLikelihood
from ..priors.denoiser import Denoiser
from ..priors.patches import PatchDenoiser
from ..sampling.grids import poly_grid
from ..sampling.noise import Noise
from .contract import SolverStep, denoise, finite, linearise


@dataclass(frozen=True)
class PaDISSettings:
    """Levels, Langevin steps a level, their size in units of sigma^2, guidance, patches (pixels, value outside)."""

    steps: int = 30
    inner: int = 4
    sigma_start: float = 0.6
    sigma_end: float = 0.01
    step: float = 0.5
    zeta: float = 1.0
    sigma_data: float = 0.5
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
        variance = sigma**2 * settings.sigma_data**2 / (sigma**2 + settings.sigma_data**2)
        for _ in range(settings.inner):
            estimate, product = linearise(patches, x, sigma, condition)
            gradient = likelihood.gradient(finite(estimate, sigma))
            guidance = product(gradient) * (settings.zeta / (curvature(likelihood, gradient) + 1 / variance))
            drift = settings.step / 2 * (estimate - x)
            x = x + drift + settings.step**0.5 * sigma * noise.normal(x) - guidance
        if index == settings.steps - 1:
            estimate = finite(denoise(replace(patches, shifts=4), x, sigma, condition), sigma)
        yield SolverStep(index + 1, settings.steps, sigma, estimate)


def curvature(likelihood: GaussianLikelihood, direction: Tensor) -> Tensor:
    """|W A g|^2 / |g|^2 for each image g of the batch, (batch, 1, 1): the misfit's second derivative along g."""
    image = likelihood.operator.forward(direction)
    top = (image.abs() ** 2 / likelihood.variance).flatten(1).sum(1)
    bottom = direction.abs().square().flatten(1).sum(1)
    return (top / bottom.clamp_min(torch.finfo(bottom.dtype).tiny)).reshape(-1, 1, 1)
