"""Regularised reverse diffusion (R2D2+): joint denoising and super-resolution, the low frequencies of an image kept.

    x = start, at its own noise level sigma_0                                              (no noise is added)
    x0 = D(x; sigma)
    x0 = x0 + w phi(start - x0)                                                            (low frequencies)
    x0 = argmin_z |z - x0|^2 / (2 g(sigma)) + |W(A z - y)|^2 / 2                            (measured ones)
    x' = x0 + (sigma'^2 / sigma^2) (x - x0) + sigma' sqrt(1 - sigma'^2 / sigma^2) z        (ancestral step)

phi is the low-pass of :mod:`.ilvr`. A noisy image, or one of few frequencies, enters the sampler at ``entry`` times
``sigma_start``, the level that a run chooses for a start to which noise is added; so its noise takes the place of the
sampler's. The network removes noise and draws high frequencies, the constraint keeps it from moving what the image
shows at low resolution, and the data step, which is this project's form of the guidance, follows the noise of the data
rather than to replace them. Its strength is g(sigma) = c s^2 d^2 / (s^2 + d^2). Draws are concentrated.
Source: arXiv:2203.12621.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import poly_grid
from ..sampling.movers import ancestral
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, clean_variance, denoise, finite
from .ilvr import low_pass


@dataclass(frozen=True)
class R2D2Settings(AnnealedSettings):
    """Levels, noise levels (network units), the entry, and the weights of the constraint and of the data.

    ``factor``: by which the image of the kept frequencies could be shrunk without loss; ``weight`` w: 0 (none) to 1
    (kept as they are).
    """

    entry: float = 0.75
    factor: float = 12.0
    weight: float = 0.5
    sigma_data: float = 0.5
    prior_variance: float = 1.0
    cg_iterations: int = 8
    cg_tolerance: float = 1e-3


def r2d2(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: R2D2Settings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns), network units, real or complex. Raises ValueError for a weight
    outside 0 to 1 or a factor below 1, FloatingPointError where an estimate is not finite.
    """
    if not 0 <= settings.weight <= 1:
        raise ValueError(f"the weight of the low frequencies must lie between 0 and 1, found {settings.weight:g}")
    levels = poly_grid(settings.entry * settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    x = start
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = denoise(denoiser, x, sigma, condition)
        kept = estimate + settings.weight * low_pass(start - estimate, settings.factor)
        variance = clean_variance(sigma, settings.sigma_data, settings.prior_variance)
        clean = finite(likelihood.proximal(kept, variance, settings.cg_iterations, settings.cg_tolerance), sigma)
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        x = ancestral(x, clean, sigma, following, noise.normal(x))
