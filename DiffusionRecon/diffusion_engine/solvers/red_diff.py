"""Variational inference with a diffusion prior as regulariser (RED-diff): a point estimate by gradient descent.

    loss(mu) = M(mu) / L + w_t <sg(e(x) - z), mu>,   x = mu + sigma z,   e = (x - D(x; sigma)) / sigma

with weights w_t = weight * sigma (the inverse signal-to-noise ratio), noise levels falling from sigma_start to
sigma_end and Adam on mu. As e - z = (mu - D) / sigma, the regulariser's gradient is weight * (mu - D(x; sigma)): it
pulls mu towards its denoised version. M = -log p(y | mu) of any noise model is divided by the largest eigenvalue L
of its Hessian at the start, so that the weight does not depend on the unit of the data or the noise level.

Source: arXiv:2305.04391.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.contract import Likelihood, stiffness
from ..sampling.grids import poly_grid
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, denoise, finite


@dataclass(frozen=True)
class REDDiffSettings(AnnealedSettings):
    """Steps, noise levels (network units), weight of the prior, and Adam's step length (network units) and memories."""

    steps: int = 100
    weight: float = 0.03
    step_length: float = 0.05
    momentum: float = 0.9
    square_momentum: float = 0.99


def red_diff(
    denoiser: Denoiser, likelihood: Likelihood, start: Tensor, settings: REDDiffSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """A point estimate for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. A step costs a denoiser call and a gradient
    of the data term. Raises FloatingPointError where an estimate is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    unit = stiffness(likelihood, start)
    mu = start
    mean, square = torch.zeros_like(start), torch.zeros_like(start.abs())
    first, second = settings.momentum, settings.square_momentum
    for index in range(settings.steps):
        sigma = levels[index]
        clean = denoise(denoiser, mu + sigma * noise.normal(mu), sigma, condition)
        slope = likelihood.gradient(mu) / unit + settings.weight * (mu - clean)
        # Adam (arXiv:1412.6980), with its correction of the first steps.
        mean = first * mean + (1 - first) * slope
        square = second * square + (1 - second) * slope.abs().square()
        scale = (square / (1 - second ** (index + 1))).sqrt() + 1e-8
        mu = finite(mu - settings.step_length * mean / (1 - first ** (index + 1)) / scale, sigma)
        yield SolverStep(index + 1, settings.steps, sigma, mu)
