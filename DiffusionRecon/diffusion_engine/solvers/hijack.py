"""Posterior denoising by hijacking the sampler: a noisy image enters at its own noise level, and is blended back.

    x = image at sigma_0;   x' = x + (sigma' - sigma) (x - D(x; sigma)) / sigma              (probability flow)
    result = w x_end + (1 - w) image

No noise is added: the image's own noise, or its streaks, take the place of the sampler's. One level is a single
denoiser call. A weight w below 1 gives back texture that the flow removed, and error with it. A point estimate:
the same image gives the same result.
Sources: arXiv:2312.09754 (PPFM), arXiv:2402.08159 (PFCM).
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
from .contract import SolverStep, denoise, finite


@dataclass(frozen=True)
class HijackSettings:
    """Levels of the flow, its ends (network units), and the weight w of its result.

    ``entry``: the level at which the image enters, as a part of ``sigma_start``, the level that a run chooses for a
    start to which noise is added (twice the expected error of the image).
    """

    levels: int = 4
    sigma_start: float = 0.6
    sigma_end: float = 0.01
    entry: float = 0.75
    weight: float = 1.0


def hijack(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: HijackSettings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """The denoised ``start`` (batch, rows, columns, network units); the last step's estimate is the result.

    ``likelihood`` and ``noise`` are not used. Raises ValueError for a weight outside 0 to 1, FloatingPointError
    where an estimate is not finite.
    """
    if not 0 <= settings.weight <= 1:
        raise ValueError(f"the weight of the denoised image must lie between 0 and 1, found {settings.weight:g}")
    first = settings.entry * settings.sigma_start
    levels = [first, 0.0] if settings.levels == 1 else poly_grid(first, settings.sigma_end, settings.levels).tolist()
    x = start
    for index in range(settings.levels):
        sigma, following = levels[index], levels[index + 1]
        estimate = finite(denoise(denoiser, x, sigma, condition), sigma)
        blended = settings.weight * estimate + (1 - settings.weight) * start
        yield SolverStep(index + 1, settings.levels, sigma, blended)
        x = ddim(x, estimate, estimate, sigma, following, 0.0, x)
