"""Iterative latent variable refinement (ILVR): the low frequencies of a reference image, the rest from the prior.

    x' = draw of the state at sigma' given x at sigma and D(x; sigma)      (ancestral step)
    x' = x' + phi(r + sigma' z - x')                                       (low-pass of the equally noisy reference)

phi is the low-pass that keeps frequencies up to 1 / (2 factor) cycles a pixel along rows and columns, a linear
projection; r, the reference, is the start. The result's low-pass is exactly the reference's, with its errors; the data
act only through the reference. Draws vary in what the low-pass leaves open: their spread says nothing of the rest.
Source: arXiv:2108.02938, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import poly_grid
from ..sampling.movers import ancestral
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, denoise, finite


@dataclass(frozen=True)
class ILVRSettings(AnnealedSettings):
    """Levels, noise levels (network units), and the factor by which the reference could be shrunk without loss."""

    factor: float = 6.0


def low_pass(x: Tensor, factor: float) -> Tensor:
    """Images (..., rows, columns) without frequencies above 1 / (2 factor) cycles a pixel; real stay real.

    Raises ValueError for a factor below 1.
    """
    if not factor >= 1:
        raise ValueError(f"the low-pass of ILVR needs a factor of 1 or more, found {factor:g}")
    rows, columns = (torch.fft.fftfreq(n, device=x.device).abs() <= 0.5 / factor for n in x.shape[-2:])
    kept = torch.fft.ifft2(torch.fft.fft2(x) * (rows[:, None] & columns))
    return kept if x.is_complex() else kept.real


def ilvr(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: ILVRSettings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``start``: the reference (batch, rows, columns) in network units; ``likelihood`` is not used. Raises ValueError for
    a factor below 1, FloatingPointError where an estimate is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = denoise(denoiser, x, sigma, condition)
        clean = finite(estimate + low_pass(start - estimate, settings.factor), sigma)
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        x = ancestral(x, estimate, sigma, following, noise.normal(x))
        x = x + low_pass(start + following * noise.normal(x) - x, settings.factor)
