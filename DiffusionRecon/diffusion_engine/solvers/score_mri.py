"""Score-MRI of one channel: predictor-corrector sampling with the measured frequencies put back after every move.

    x = x + (sigma^2 - sigma'^2) s(x) + (sigma' / sigma) sqrt(sigma^2 - sigma'^2) z      (predictor)
    x = x + A'(y - A x)                                                                  (replacement, A A' = I)
    x = x + a s(x) + sqrt(2 a) z,   a = 2 (snr |z| / |s|)^2                              (corrector, Langevin)

with the score s = (D(x; sigma) - x) / sigma^2 of complex images, and the replacement after the corrector, too. Unlike
Song's projection it puts the measured entries back without noise, at every level. They are also those of the result:
the method trusts the data wholly. Draws are concentrated.
Sources: arXiv:2110.05243, algorithm 2; start, arXiv:2112.05146.
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
from .contract import SolverStep, denoise, finite
from .projection import project


@dataclass(frozen=True)
class ScoreMRISettings:
    """Levels, noise levels (network units, of complex noise of that variance), corrector and predictor.

    The published predictor, reverse_diffusion, lacks the factor sigma' / sigma of the noise and needs many levels.
    """

    steps: int = 50
    sigma_start: float = 1.0
    sigma_end: float = 0.01
    snr: float = 0.16
    predictor: str = "ancestral"


def score_mri(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: ScoreMRISettings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each complex image of the batch; the last step's estimate is the result; two calls a level.

    ``likelihood``: of an operator with orthonormal rows, such as MaskedFourier; ``start``: (batch, rows, columns),
    complex, such as the zero-filled image. Raises ValueError for real images, FloatingPointError where an estimate is
    not finite.
    """
    if not start.is_complex():
        raise ValueError(
            f"Score-MRI replaces frequencies and needs complex images, found {start.dtype}: give a complex start"
        )
    levels = geometric_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    predictor = predictor_named(settings.predictor)

    def replace(x: Tensor) -> Tensor:
        return project(likelihood, x, 0.0, 1.0, 1, noise)

    x = replace(start + levels[0] * noise.normal(start))
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        x = replace(corrector(x, denoise(denoiser, x, sigma, condition), sigma, noise.normal(x), settings.snr))
        estimate = denoise(denoiser, x, sigma, condition)
        yield SolverStep(index + 1, settings.steps, sigma, finite(replace(estimate), sigma))
        x = replace(predictor(x, estimate, sigma, following, noise.normal(x)))
