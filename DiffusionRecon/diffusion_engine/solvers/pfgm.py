"""PFGM++ posterior sampling: the noise of an augmented dimension D, with the data step of DDS.

    x   = start + sigma_0 n,            n ~ heavy-tailed noise of PFGM++, radius r = sigma sqrt(D)
    x0  = D(x; sigma)
    x0' = argmin_z |z - x0|^2 / (2 g(sigma)) + |W(A z - y)|^2 / 2        (conjugate gradients)
    x   = x0' + sigma' (x - x0) / sigma   or, with probability eta at each step,   x0' + sigma' n

Fresh noise replaces the old one entirely or not at all: unlike Gaussians, a sum of two such noises would no longer
follow the kernel. g = c s^2 d^2 / (s^2 + d^2) as in DDS. D = inf is Gaussian noise; a network that was trained with
Gaussian noise serves for large D, one trained for a finite D only for that. Draws are concentrated estimates.

Sources: PFGM++, arXiv:2302.04265; data step, arXiv:2303.05754.
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
from ..sampling.pfgm import pfgm_noise
from .annealed import AnnealedSettings
from .contract import SolverStep, clean_variance, denoise, finite


@dataclass(frozen=True)
class PFGMSettings(AnnealedSettings):
    """Steps, noise levels (network units) and the weights of one run; ``dimension`` D: a whole number, or inf."""

    dimension: float = 2048
    eta: float = 0.5
    sigma_data: float = 0.5
    prior_variance: float = 2.0
    cg_iterations: int = 8
    cg_tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta is the probability of fresh noise at a step, from 0 to 1; found {self.eta}")


def pfgm(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: PFGMSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units. Raises FloatingPointError where an estimate
    is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    x = start + levels[0] * pfgm_noise(start, settings.dimension, noise)
    # Which steps refresh is the same for all slices of a run.
    refresh = noise.common().random(settings.steps) < settings.eta
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = denoise(denoiser, x, sigma, condition)
        variance = clean_variance(sigma, settings.sigma_data, settings.prior_variance)
        clean = finite(likelihood.proximal(estimate, variance, settings.cg_iterations, settings.cg_tolerance), sigma)
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        fresh = bool(refresh[index])
        added = pfgm_noise(x, settings.dimension, noise) if fresh else x
        x = ddim(x, estimate, clean, sigma, following, 1.0 if fresh else 0.0, added)
