"""Come-closer-diffuse-faster (CCDF): any classical image, noised to sigma_0, then DDIM with projections onto the data.

    x  = x_classical + sigma_0 z
    x' = D(x; sigma) + sigma' (sqrt(1 - eta^2) (x - D) / sigma + eta z)                      (DDIM)
    x' = x' - lambda A^+ (A x' - y_sigma'),   y_sigma' = y + sigma' A z                      (projection)

Each step contracts the error of the start, so few levels suffice when sigma_0 matches it. Draws are concentrated.
Source: arXiv:2112.05146, eq. 11 and algorithm 1; DDIM, arXiv:2010.02502.
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
from .projection import PseudoInverse, project


@dataclass(frozen=True)
class CCDFSettings(AnnealedSettings):
    """Levels, noise levels (network units), fresh noise eta, weight lambda of the data and iterations of A^+."""

    eta: float = 1.0
    relaxation: float = 1.0
    iterations: int = 5


def ccdf(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: CCDFSettings, noise: Noise,
    condition: Tensor | None = None, pseudo_inverse: PseudoInverse | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units; ``pseudo_inverse`` in place of conjugate
    gradients. Raises FloatingPointError where an estimate is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        estimate = finite(denoise(denoiser, x, sigma, condition), sigma)
        moved = ddim(x, estimate, estimate, sigma, following, settings.eta, noise.normal(x))
        x = project(
            likelihood, moved, following, settings.relaxation, settings.iterations, noise, pseudo_inverse
        )
        yield SolverStep(index + 1, settings.steps, sigma, finite(estimate if following > 0 else x, sigma))
