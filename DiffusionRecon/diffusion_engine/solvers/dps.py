"""Diffusion posterior sampling (DPS), for any likelihood with a misfit and a gradient.

    x0 = D(x; sigma),  M(x0) = -log p(y | x0)
    x' = x0 + sigma' (sqrt(1 - eta^2) (x - x0) / sigma + eta z) - zeta sqrt(n) J' A-gradient,
    A-gradient = grad M(x0) / sqrt(2 M(x0) L)

J = dx0/dx through the denoiser. For Gaussian noise sqrt(2 M) is the norm |W(y - A x0)|, so that grad M / sqrt(2 M) is
the gradient of that norm, as published. L is the largest eigenvalue of the Hessian of M at the start: with it zeta no
longer depends on the unit of the data, the noise level or the number of readings; zeta bounds the root mean square of a
step in network units (n pixels). With ordered subsets a step sees every n-th view only, one subset after the other.
Works for Gaussian noise, Poisson emission and the nonlinear Poisson transmission.

Sources: arXiv:2209.14687; nonlinear transmission with ordered subsets, arXiv:2312.01464.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..likelihoods.contract import Likelihood, stiffness
from ..priors.denoiser import Denoiser
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import Noise
from .contract import SolverStep, finite, linearise


@dataclass(frozen=True)
class DPSSettings:
    """Steps, noise levels and step length ``zeta`` (network units), and the number of ordered subsets of views."""

    steps: int = 100
    sigma_start: float = 0.6
    sigma_end: float = 0.01
    eta: float = 1.0
    zeta: float = 0.02
    subsets: int = 1


def dps(
    denoiser: Denoiser, likelihood: Likelihood, start: Tensor, settings: DPSSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. A step costs a denoiser call and its reverse
    differentiation. Raises ValueError for fewer than 1 subset or more than views, FloatingPointError where an estimate
    is not finite.
    """
    count = settings.subsets
    if count < 1:
        raise ValueError(f"expected 1 subset of views or more, found {count}: 1 uses all views in every step")
    parts = [likelihood] if count == 1 else [likelihood.subset(slice(k, None, count)) for k in range(count)]
    units = [stiffness(part, start) for part in parts]
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    length = settings.zeta * (start.shape[-2] * start.shape[-1]) ** 0.5
    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate, pull_back = linearise(denoiser, x, sigma, condition)
        part, unit = parts[index % count], units[index % count]
        size = (2 * part.misfit(estimate)).reshape(-1, 1, 1).clamp_min(torch.finfo(estimate.dtype).tiny)
        push = length * pull_back(part.gradient(estimate) / (size * unit).sqrt())
        yield SolverStep(index + 1, settings.steps, sigma, finite(estimate - push, sigma))
        x = ddim(x, estimate, estimate - push, sigma, following, settings.eta, noise.normal(x))
