"""Moment matching posterior sampling (MMPS): the probability flow of the posterior's own denoiser.

    dx / d ln s = x - D_y(x; s),  D_y of :mod:`diffusion_engine.solvers.moment_matching`

from sigma_max to 0 on a geometric grid, by a second-order multistep rule that needs one D_y a step.

Sources: moment matching, arXiv:2405.13712; multistep rule, DPM-Solver++(2M), arXiv:2211.01095.
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


@dataclass(frozen=True)
class MMPSSettings(PosteriorSettings):
    """Those of :class:`PosteriorSettings`: a flow forgets no error, so that every step has the same accuracy."""


def mmps(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: MMPSSettings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result.

    ``start`` (batch, rows, columns), network units: centre of the very first noise. Raises FloatingPointError where an
    estimate is not finite.
    """
    levels = geometric_grid(settings.sigma_max, settings.sigma_min, settings.steps).tolist()

    clean_at = PosteriorDenoiser(denoiser, likelihood, settings, noise, condition)
    # Around the posterior mean rather than the start: low frequencies of an image are not small beside sigma_max.
    x = clean_at(start + levels[0] * noise.normal(start), levels[0]) + levels[0] * noise.normal(start)
    for index, clean in enumerate(multistep_estimates(clean_at, x, levels)):
        yield clean_at.step(index + 1, settings.steps, levels[index], clean)
