"""Plug-and-play image restoration with a diffusion denoiser (DiffPIR).

    x0  = D(x; sigma)
    x0' = argmin_z |W(A z - y)|^2 / 2 + lambda |z - x0|^2 / (2 sigma^2)          rho = lambda sigma_n^2 / sigma^2
    e   = (x - x0') / sigma
    x'  = x0' + sigma' (sqrt(1 - zeta) e + sqrt(zeta) z)

With W = 1 / sigma_n the published weight rho multiplies |z - x0|^2 in units of the noise, which is the same problem: a
proximal step with prior variance sigma^2 / lambda, by conjugate gradients.

Source: arXiv:2305.08995.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, denoise, finite


@dataclass(frozen=True)
class DiffPIRSettings(AnnealedSettings):
    """Steps, noise levels (network units), weight of the prior (lambda) and share of fresh noise ``zeta``."""

    weight: float = 0.5
    zeta: float = 1.0
    cg_iterations: int = 8
    cg_tolerance: float = 1e-3


def diffpir(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: DiffPIRSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. Raises FloatingPointError where an estimate
    is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = denoise(denoiser, x, sigma, condition)
        variance = sigma**2 / settings.weight
        clean = finite(likelihood.proximal(estimate, variance, settings.cg_iterations, settings.cg_tolerance), sigma)
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        x = ddim(x, clean, clean, sigma, following, settings.zeta**0.5, noise.normal(x))
