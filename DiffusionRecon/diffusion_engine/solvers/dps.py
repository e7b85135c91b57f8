"""Diffusion posterior sampling (DPS), for any likelihood with a misfit and a gradient.

    x0 = D(x; sigma),  M(x0) = -log p(y | x0)
    g  = (sigma / sigma_0) zeta (sqrt(m) / L) J' grad M(x0) / sqrt(2 M(x0)),  J = dx0/dx through the denoiser
    x' = x0 + sigma' (sqrt(1 - eta^2) (x - x0) / sigma + eta z) - g

For Gaussian noise sqrt(2 M) is the norm |W(y - A x0)|, so that grad M / sqrt(2 M) is the gradient of that norm, as
published. The published weight must be found anew for every scan; here it is in units of sqrt(m) / L, with m readings
and L the largest eigenvalue of the Hessian of M at the start: zeta = 1 is a gradient step of length 1 / L where the
residual is as large as the noise, whatever the unit and the number of readings. Projections need longer ones, because
their Hessian is stiff: they overshoot in the smoothest parts of the image first, and settle because the step falls with
the noise level. No step is longer than the noise level (root mean square over the pixels), which keeps counts from
running away. With ordered subsets a step sees every n-th view only, one subset after the other. Works for Gaussian
noise, Poisson emission and the nonlinear Poisson transmission.

Measured on projections: fresh noise (eta > 0) lowers the accuracy with few views, and low-dose images keep more noise
than those of DDS. Prefer DDS or PiGDM wherever the measurement is linear.

Sources: arXiv:2209.14687; nonlinear transmission with ordered subsets, arXiv:2312.01464.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.contract import Likelihood, stiffness, weighted_readings
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, finite, linearise


@dataclass(frozen=True)
class DPSSettings(AnnealedSettings):
    """Steps, noise levels (network units), step length ``zeta`` and the number of ordered subsets of views."""

    steps: int = 100
    eta: float = 0.0
    zeta: float = 20.0
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
    readings = [weighted_readings(part, start) for part in parts]
    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate, pull_back = linearise(denoiser, x, sigma, condition)
        turn = index % count
        part = parts[turn]
        size = (2 * part.misfit(estimate)).reshape(-1, 1, 1).clamp_min(torch.finfo(estimate.dtype).tiny)
        length = settings.zeta * sigma / levels[0] * (readings[turn] / size).sqrt() / units[turn]
        push = pull_back(length * part.gradient(estimate))
        # rms(push) <= sigma
        push = push * (sigma / push.abs().square().mean((-2, -1), keepdim=True).sqrt().clamp_min(sigma))
        yield SolverStep(index + 1, settings.steps, sigma, finite(estimate - push, sigma))
        x = ddim(x, estimate, estimate - push, sigma, following, settings.eta, noise.normal(x))
