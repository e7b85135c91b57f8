"""DiffusionMBIR: predictor and corrector, each pair followed by one ADMM sweep with z-TV.

    x = corrector(predictor(x; sigma -> sigma'))                                  (variance exploding)
    x = one sweep, from x, of ADMM for
        argmin_z |z - x|^2 / (2 g(sigma')) + |W (A z - y)|^2 / 2 + lambda |D_z z|_1

with few conjugate gradient steps (one in the paper, with 2000 levels; at 50 levels four gained 2.5 dB on sparse
views) and warm duals. The state meets the data before it is denoised, noise and all, which many levels repair. Slices
are the batch, in order along z; the first and last are not tied. The proximal term, g(sigma) = c s^2 d^2 / (s^2 + d^2),
keeps the step sound where the noise of the data is known; the paper has none.

Source: arXiv:2211.10655.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..coupling.ztv import couple_z
from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import poly_grid
from ..sampling.langevin import LONGEST_STEP, corrector
from ..sampling.movers import reverse_diffusion
from ..sampling.noise import Noise
from .contract import SolverStep, clean_variance, denoise, finite


@dataclass(frozen=True)
class DiffusionMBIRSettings:
    """Levels (two denoiser calls each), z-TV ``weight`` in 1 / network unit, the corrector's ``snr``."""

    steps: int = 100
    sigma_start: float = 0.6
    sigma_end: float = 0.01
    snr: float = 0.16
    sigma_data: float = 0.5
    prior_variance: float = 2.0
    weight: float = 1.0
    cg_iterations: int = 4


def diffusion_mbir(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: DiffusionMBIRSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw of a stack (slices, rows, columns); the last step's estimate is the result.

    ``likelihood`` and ``start`` in network units. Raises FloatingPointError where an estimate is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    coupled = couple_z(likelihood, settings.weight, sweeps=1)
    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = denoise(denoiser, x, sigma, condition)
        if following > 0:
            x = reverse_diffusion(x, estimate, sigma, following, noise.normal(x))
            again = denoise(denoiser, x, following, condition)
            x = corrector(x, again, following, noise.normal(x), settings.snr, LONGEST_STEP)
        else:
            x = estimate
        level = following or sigma
        variance = clean_variance(level, settings.sigma_data, settings.prior_variance)
        x = coupled.proximal(x, variance, settings.cg_iterations, 0.0)
        yield SolverStep(index + 1, settings.steps, sigma, finite(x if following == 0 else estimate, sigma))
