"""Decomposed diffusion sampling (DDS), noisy proximal form.

    x0 = D(x; sigma)
    x0' = argmin_z |z - x0|^2 / (2 g(sigma)) + |W(A z - y)|^2 / 2        (conjugate gradients)
    x   = x0' + sigma' (sqrt(1 - eta^2) (x - x0) / sigma + eta z)        (DDIM)

started at sigma_0 from a classical image plus noise of that level (come-closer diffusion). The data weight W comes
from the measured noise, the prior's from g(sigma) = c s^2 d^2 / (s^2 + d^2). Draws are concentrated: each step pulls
towards a point estimate, so their spread is narrower than the posterior's.

Sources: DDS, arXiv:2303.05754; start, arXiv:2112.05146.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..likelihood import GaussianLikelihood
from ..priors.denoiser import Denoiser
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim

SPREAD = "concentrated"


@dataclass(frozen=True)
class DDSSettings:
    """Steps, noise levels (network units) and the weights of one run."""

    steps: int = 30
    sigma_start: float = 0.6
    sigma_end: float = 0.01
    eta: float = 1.0
    sigma_data: float = 0.5
    prior_variance: float = 2.0
    cg_iterations: int = 8
    cg_tolerance: float = 1e-3


@dataclass(frozen=True, eq=False)
class SolverStep:
    """What a solver yields: index from 1, total, noise level, estimate of the clean image (batch, rows, columns)."""

    index: int
    total: int
    sigma: float
    estimate: Tensor


def dds(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: DDSSettings,
    generator: torch.Generator, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units; ``generator``: lives on the CPU, so that a
    seed means the same noise on every device. Raises FloatingPointError where an estimate is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()

    def normal() -> Tensor:
        return torch.randn(start.shape, generator=generator, dtype=start.dtype).to(start.device)

    x = start + levels[0] * normal()
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = denoiser(x[:, None], torch.tensor(sigma), condition)[:, 0]
        variance = settings.prior_variance * sigma**2 * settings.sigma_data**2 / (sigma**2 + settings.sigma_data**2)
        clean = likelihood.proximal(estimate, variance, settings.cg_iterations, settings.cg_tolerance)
        if not bool(torch.isfinite(clean).all()):
            raise FloatingPointError(
                f"the estimate is not finite at noise level {sigma:.3g}: check data and noise level"
            )
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        x = ddim(x, estimate, clean, sigma, following, settings.eta, normal())
