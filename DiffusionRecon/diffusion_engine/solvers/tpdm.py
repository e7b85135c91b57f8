"""TPDM: a prior of axial slices and a perpendicular one take turns, predictor and corrector each.

With probability 1 / K the auxiliary denoiser of volumes moves the state from sigma to sigma'; else the primary does,
guided by the data through its own derivative:

    x' = predictor(x) - t J' grad f(x0),  f(x0) = |W (A x0 - y)|^2 / 2,  x0 = D(x; sigma),  J = dD / dx

t = ``guidance`` <grad f, d> / |W A d|^2 lowers f most along d = J' grad f, for each image, where the paper has a fixed
weight that has to be found for each task and batch size. Both end with a Langevin corrector at sigma'. The last
image is the primary's estimate moved to the data by the proximal step, g = c s^2 d^2 / (s^2 + d^2).

The denoiser must be a :class:`coupling.perpendicular.TwoPlanes`; others are refused. Source: arXiv:2303.08440.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from ..coupling.perpendicular import TwoPlanes
from ..denoiser import Denoiser
from ..likelihoods.conjugate_gradient import image_dot
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import poly_grid
from ..sampling.langevin import LONGEST_STEP, corrector
from ..sampling.movers import reverse_diffusion
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, clean_variance, denoise, finite, linearise


@dataclass(frozen=True)
class TPDMSettings(AnnealedSettings):
    """Levels, chance 1 / ``every`` of the auxiliary prior, ``guidance`` (1: the full line search), corrector's snr."""

    steps: int = 200
    every: float = 2.7
    guidance: float = 1.0
    snr: float = 0.16
    sigma_data: float = 0.5
    prior_variance: float = 2.0
    cg_iterations: int = 8
    cg_tolerance: float = 1e-3


def guided(
    likelihood: GaussianLikelihood, estimate: Tensor, product: Callable[[Tensor], Tensor], guidance: float
) -> Tensor:
    """t d of the equations above; ``product``: v -> J' v at the ``estimate`` (slices, rows, columns).

    t is a slice's own, or one of the whole stack where readings are of several slices.
    """
    gradient = likelihood.gradient(estimate)
    direction = product(gradient)
    projected = likelihood.operator.forward(direction)
    curvature = (projected.abs().square() / likelihood.variance).sum(tuple(range(1, projected.ndim)))[:, None, None]
    slope = image_dot(gradient, direction)
    if len(projected) != len(direction):
        curvature, slope = curvature.sum(), slope.sum()
    step = guidance * slope / curvature.clamp_min(1e-30)
    return step.clamp_min(0) * direction


def tpdm(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: TPDMSettings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw of a stack (slices, rows, columns); the last step's estimate is the result.

    ``likelihood`` and ``start`` in network units. Raises ValueError without an auxiliary prior or where ``every`` is
    below 1, FloatingPointError where an estimate is not finite.
    """
    if not isinstance(denoiser, TwoPlanes):
        raise ValueError(
            "the method tpdm needs a prior of slices and one of a perpendicular plane, found a single prior: choose "
            "another method, or give both"
        )
    if not settings.every >= 1:
        raise ValueError(f"expected the auxiliary prior every 1 or more steps, found {settings.every:g}")
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        last = following == 0
        auxiliary = noise.common().random() < 1 / settings.every and not last
        if auxiliary:
            estimate = denoise(denoiser.auxiliary, x, sigma, condition)
            x = reverse_diffusion(x, estimate, sigma, following, noise.normal(x))
        elif last:
            variance = clean_variance(sigma, settings.sigma_data, settings.prior_variance)
            estimate = denoise(denoiser.primary, x, sigma, condition)
            estimate = likelihood.proximal(estimate, variance, settings.cg_iterations, settings.cg_tolerance)
        else:
            estimate, product = linearise(denoiser.primary, x, sigma, condition)
            pull = guided(likelihood, estimate, product, settings.guidance)
            x = reverse_diffusion(x, estimate, sigma, following, noise.normal(x)) - pull
        if not last:
            chosen = denoiser.auxiliary if auxiliary else denoiser.primary
            again = denoise(chosen, x, following, condition)
            x = corrector(x, again, following, noise.normal(x), settings.snr, LONGEST_STEP)
        yield SolverStep(index + 1, settings.steps, sigma, finite(estimate, sigma))
