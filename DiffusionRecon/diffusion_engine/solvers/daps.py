"""Decoupled annealing posterior sampling (DAPS), with exact conditional draws for a linear Gaussian scan.

    xf = flow of the prior from (x, s) to 0                                (a few Heun steps)
    x0 ~ p(y | x0) exp(-|x0 - xf|^2 / (2 s^2))                             (perturb and solve; Hamiltonian otherwise)
    x  = x0 + s' z

The Gaussian around xf stands for p(x0 | x), whose true width it ignores, so the spread is not the posterior's.

Source: arXiv:2407.01521; the exact draw in place of its Langevin steps: Papandreou and Yuille, NIPS 2010.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.contract import SmoothLikelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import poly_grid
from ..sampling.movers import heun
from ..sampling.noise import Noise
from .contract import SolverStep, finite
from .pnp_dm import half_step


@dataclass(frozen=True)
class DAPSSettings:
    """Annealing levels (network units), Heun steps of the inner flow, accuracy of the conditional draw."""

    steps: int = 60
    sigma_max: float = 80.0
    sigma_min: float = 0.01
    flow_steps: int = 3
    cg_iterations: int = 60
    cg_tolerance: float = 1e-4
    moves: int = 4
    leaps: int = 8


def daps(
    denoiser: Denoiser, likelihood: GaussianLikelihood | SmoothLikelihood, start: Tensor, settings: DAPSSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``start`` (batch, rows, columns), network units: centre of the first noise. Raises FloatingPointError where an
    estimate is not finite.
    """
    levels = poly_grid(settings.sigma_max, settings.sigma_min, settings.steps).tolist()
    x = start + levels[0] * noise.normal(start)
    step = torch.full(start.shape[:1], 0.1 * levels[0], dtype=start.real.dtype, device=start.device)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        ahead = _flow(denoiser, x, sigma, settings, condition)
        if isinstance(likelihood, GaussianLikelihood):
            clean = likelihood.conditional_draw(ahead, sigma**2, noise, settings.cg_iterations, settings.cg_tolerance)
        else:
            step = step.clamp_max(sigma)
            clean, step = half_step(likelihood, ahead, sigma, step, settings.moves, settings.leaps, noise)
        yield SolverStep(index + 1, settings.steps, sigma, finite(clean, sigma))
        x = clean + following * noise.normal(clean)


def _flow(denoiser: Denoiser, x: Tensor, sigma: float, settings: DAPSSettings, condition: Tensor | None) -> Tensor:
    """The end of the probability flow dx/ds = (x - D) / s from (x, sigma), by Heun's rule on a poly-7 grid."""
    levels = poly_grid(sigma, min(settings.sigma_min, sigma / 2), settings.flow_steps + 1).tolist()
    with torch.no_grad():
        for here, there in pairwise(levels):
            x = heun(denoiser, x[:, None], here, there, condition)[:, 0]
    return x
