"""Manifold constrained gradient (MCG): a gradient step through the denoiser, then a projection onto noisy data.

    x' = draw of the state at sigma' given x at sigma and x0 = D(x; sigma)                   (ancestral step)
    x' = x' - zeta t J' A' V^-1 (A x0 - y),   t = max(|V^(-1/2) (A x0 - y)|^2 - m, 0) / |J' A' V^-1 (A x0 - y)|^2
    x' = x' - lambda A^+ (A x' - y_sigma'),   y_sigma' = y + sigma' A z,   lambda falling linearly over the run

J is the denoiser's Jacobian. The step t is Polyak's, which needs no tuning to the scale of operator and noise; m, the
number of readings, is the misfit that the noise alone explains, so that no step is taken to fit noise. Draws are
concentrated. Sources: arXiv:2206.00941, eq. 14, 15; step, B. T. Polyak, doi:10.1016/0041-5553(69)90061-5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.conjugate_gradient import image_dot
from ..likelihoods.contract import weighted_readings
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import poly_grid
from ..sampling.movers import ancestral
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, finite, linearise
from .projection import PseudoInverse, project


@dataclass(frozen=True)
class MCGSettings(AnnealedSettings):
    """Levels, noise levels (network units), weight zeta of the gradient, first and last weight lambda of the data."""

    weight: float = 1.0
    relaxation_first: float = 1.0
    relaxation_last: float = 0.6
    iterations: int = 4


def mcg(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: MCGSettings, noise: Noise,
    condition: Tensor | None = None, pseudo_inverse: PseudoInverse | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result; a call and its gradient a level.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units; ``pseudo_inverse`` in place of conjugate
    gradients. Raises FloatingPointError where an estimate is not finite.
    """
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    readings = weighted_readings(likelihood, start)
    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        share = index / max(1, settings.steps - 1)
        relaxation = settings.relaxation_first + share * (settings.relaxation_last - settings.relaxation_first)
        estimate, product = linearise(denoiser, x, sigma, condition)
        finite(estimate, sigma)
        gradient = product(likelihood.gradient(estimate))
        excess = (likelihood.residual_ratio(estimate) - 1).clamp_min(0)[:, None, None] * readings
        square = image_dot(gradient, gradient)
        step = settings.weight * excess / square.where(square > 0, 1.0)
        moved = ancestral(x, estimate, sigma, following, noise.normal(x)) - step * gradient
        x = project(likelihood, moved, following, relaxation, settings.iterations, noise, pseudo_inverse)
        yield SolverStep(index + 1, settings.steps, sigma, finite(estimate if following > 0 else x, sigma))
