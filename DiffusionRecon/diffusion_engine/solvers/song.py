"""Score-based reconstruction by projection (Song, Shen, Xing, Ermon).

At each level of a geometric grid, twice: data step, then a move by the score,

    x = x - lambda A^+ (A x - y_sigma),   y_sigma = y + sigma A z                        (data)
    x = x + a s(x) + sqrt(2 a) z,   a = 2 (snr |z| / |s|)^2                              (corrector, Langevin)
    x = x + (sigma^2 - sigma'^2) s(x) + (sigma' / sigma) sqrt(sigma^2 - sigma'^2) z      (predictor)

with the score s = (D(x; sigma) - x) / sigma^2; last a Tweedie step x0 = D(x; sigma) and one data step without noise.
The published method starts from noise; here it starts at sigma_0 from a classical image, which saves most of the
levels. So few need the ancestral predictor: the published one, reverse_diffusion, lacks the factor sigma' / sigma. The
weight lambda stands for the trust in the data, whose noise the method does not know: draws are concentrated.
Sources: arXiv:2111.08005; start, arXiv:2112.05146.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.grids import geometric_grid
from ..sampling.langevin import corrector
from ..sampling.movers import predictor_named
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, denoise, finite
from .projection import PseudoInverse, project


@dataclass(frozen=True)
class SongSettings(AnnealedSettings):
    """Levels, noise levels (network units), the data weight lambda, iterations of A^+, corrector, predictor."""

    sigma_end: float = 0.03
    relaxation: float = 1.0
    iterations: int = 3
    snr: float = 0.16
    predictor: str = "ancestral"


def song(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: SongSettings, noise: Noise,
    condition: Tensor | None = None, pseudo_inverse: PseudoInverse | None = None,
) -> Iterator[SolverStep]:
    """One draw for each image of the batch; the last step's estimate is the result; two denoiser calls a level.

    ``likelihood`` and ``start`` (batch, rows, columns) in network units; ``pseudo_inverse`` in place of conjugate
    gradients. Raises FloatingPointError where an estimate is not finite.
    """
    levels = geometric_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    predictor = predictor_named(settings.predictor)

    def agree(x: Tensor, sigma: float) -> Tensor:
        return project(likelihood, x, sigma, settings.relaxation, settings.iterations, noise, pseudo_inverse)

    x = start + levels[0] * noise.normal(start)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        x = agree(x, sigma)
        x = agree(corrector(x, denoise(denoiser, x, sigma, condition), sigma, noise.normal(x), settings.snr), sigma)
        estimate = finite(denoise(denoiser, x, sigma, condition), sigma)
        clean = estimate if following > 0 else agree(estimate, 0.0)
        yield SolverStep(index + 1, settings.steps, sigma, clean)
        x = predictor(x, estimate, sigma, following, noise.normal(x))
