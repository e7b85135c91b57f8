"""Tweedie moment projected diffusion (TMPD), full covariance: the reverse diffusion of the posterior's own denoiser.

    dx = 2 s ds (x - D_y(x; s)) / s^2 + sqrt(2 s) dw,  D_y of :mod:`diffusion_engine.solvers.moment_matching`

from sigma_max to 0 on a geometric grid, by a second-order multistep rule with fresh noise. Unlike a flow, it forgets
what an earlier step did wrong; a first-order rule would lose a third of the variance in 30 steps.

Sources: arXiv:2310.06721; multistep rule, SDE-DPM-Solver++(2M), arXiv:2211.01095, appendix B.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import geometric_grid
from ..sampling.movers import multistep_estimates
from ..sampling.noise import Noise
from .contract import SolverStep
from .moment_matching import PosteriorDenoiser, PosteriorSettings

WIDEST = 0.1
"""Standard deviation that a posterior hardly exceeds where data were measured, network units."""


@dataclass(frozen=True)
class TMPDSettings(PosteriorSettings):
    """Steps and noise levels (network units), beside the accuracy of the linear systems."""

    steps: int = 50
    sigma_max: float = 80.0
    sigma_min: float = 0.0005

    def allowed(self, sigma: float) -> float:
        """The tolerance, sigma / WIDEST times as large above WIDEST: a diffusion forgets an error with sigma^2."""
        return self.tolerance * max(1.0, sigma / WIDEST)


def tmpd(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: TMPDSettings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``start`` (batch, rows, columns), network units: centre of the very first noise. Raises FloatingPointError where an
    estimate is not finite.
    """
    levels = geometric_grid(settings.sigma_max, settings.sigma_min, settings.steps).tolist()
    clean_at = PosteriorDenoiser(denoiser, likelihood, settings, noise, condition)
    x = start + levels[0] * noise.normal(start)
    for index, clean in enumerate(multistep_estimates(clean_at, x, levels, noise)):
        yield clean_at.step(index + 1, settings.steps, levels[index], clean)
