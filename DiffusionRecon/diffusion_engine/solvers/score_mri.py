"""Score-MRI: predictor-corrector sampling with the measured frequencies put back after every move.

    x = x + (sigma^2 - sigma'^2) s(x) + (sigma' / sigma) sqrt(sigma^2 - sigma'^2) z      (predictor)
    x = x + A^+ (y - A x)                                                                (replacement)
    x = x + a s(x) + sqrt(2 a) z,   a = 2 (snr |z| / |s|)^2                              (corrector, Langevin)

with the score s = (D(x; sigma) - x) / sigma^2 of complex images, and the replacement after the corrector, too. Unlike
Song's projection it puts the measured entries back without noise, at every level. The method trusts the data wholly;
draws are concentrated. Of one channel A^+ = A' is exact, and the measured entries are those of the result. Of several
there are two variants:

``channels`` "combined": x is the image that all channels see, A^+ is cut short: one iteration of conjugate gradients is
a step along A' of the best length (more follow the noise of the data where channels hardly tell aliases apart).
``channels`` "separate": each channel's image, z_c = |S_c| x, is drawn by itself, its own measured entries put back;
then x = sum_c |S_c| z_c / sum_c |S_c|^2, which is the root of their sum of squares where they agree. Every ``every``
levels they are made to agree, z_c = |S_c| x (the hybrid variant); 1000: never. A call costs as much as all channels.

Sources: arXiv:2110.05243, algorithm 2 and those of several receivers; start, arXiv:2112.05146. Taking the phases of the
weights S_c out of the images, so that a network of nearly real images can judge them, is this project's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.conjugate_gradient import ratio
from ..likelihoods.gaussian import GaussianLikelihood
from ..physics.operator import ChannelOperator
from ..sampling.grids import geometric_grid
from ..sampling.langevin import corrector
from ..sampling.movers import predictor_named
from ..sampling.noise import Noise
from .annealed import AnnealedSettings
from .contract import SolverStep, denoise, finite
from .projection import project

CHANNELS = -3
"""The axis of the state along which separate channels lie."""
Measured = Callable[[Tensor, int], Tensor]
"""(state, number of the level) -> the state with the measured entries put back."""


@dataclass(frozen=True)
class ScoreMRISettings(AnnealedSettings):
    """Levels, noise levels (network units, of complex noise of that variance), corrector, predictor, channels.

    ``iterations``: of A^+ where channels are combined. The published predictor, reverse_diffusion, lacks the factor
    sigma' / sigma of the noise and needs many levels.
    """

    steps: int = 50
    sigma_start: float = 1.0
    snr: float = 0.16
    predictor: str = "ancestral"
    channels: str = "combined"
    iterations: int = 1
    every: int = 10


def score_mri(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: ScoreMRISettings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw for each complex image of the batch; the last step's estimate is the result; two calls a level.

    ``likelihood``: of masked Fourier samples, of one or several channels; ``start``: (batch, rows, columns), complex,
    such as the zero-filled image. Raises ValueError for real images, or separate channels of an operator that has none;
    FloatingPointError where an estimate is not finite.
    """
    if not start.is_complex():
        raise ValueError(
            f"Score-MRI replaces frequencies and needs complex images, found {start.dtype}: give a complex start"
        )
    if settings.channels == "separate":
        yield from _separate(denoiser, likelihood, start, settings, noise, condition)
        return

    def measured(x: Tensor, level: int) -> Tensor:
        return project(likelihood, x, 0.0, 1.0, settings.iterations, noise)

    yield from _sampled(denoiser, start, measured, settings, noise, condition)


def _sampled(
    denoiser: Denoiser, start: Tensor, measured: Measured, settings: ScoreMRISettings, noise: Noise,
    condition: Tensor | None,
) -> Iterator[SolverStep]:
    levels = geometric_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    predictor = predictor_named(settings.predictor)
    x = measured(start + levels[0] * noise.normal(start), 0)
    for index in range(settings.steps):
        sigma, following = levels[index], levels[index + 1]
        clean = denoise(denoiser, x, sigma, condition)
        x = measured(corrector(x, clean, sigma, noise.normal(x), settings.snr), index)
        estimate = denoise(denoiser, x, sigma, condition)
        yield SolverStep(index + 1, settings.steps, sigma, finite(measured(estimate, index), sigma))
        x = measured(predictor(x, estimate, sigma, following, noise.normal(x)), index)


def _separate(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: ScoreMRISettings, noise: Noise,
    condition: Tensor | None,
) -> Iterator[SolverStep]:
    """The same with a state (batch, channels, rows, columns): their images without the phases of their weights."""
    operator = likelihood.operator
    if not isinstance(operator, ChannelOperator):
        raise ValueError(
            "separate channels need a measurement of several with their weights, found "
            f"{type(operator).__name__}: choose combined channels"
        )
    size = operator.maps.abs()
    turn = torch.where(size > 0, operator.maps / size.clamp_min(torch.finfo(size.dtype).tiny), 1.0)
    # In the unit of the network the largest root of the sum of squares is 1.
    whole = operator.squared_norm.sqrt()[:, None]
    size, data = size / whole, likelihood.data / whole

    def combined(z: Tensor) -> Tensor:
        return ratio((z * size).sum(CHANNELS), size.square().sum(CHANNELS))

    def measured(z: Tensor, level: int) -> Tensor:
        own = operator.put_back(z * turn, data) * turn.conj()
        return size * combined(own)[:, None] if (level + 1) % settings.every == 0 else own

    def each(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        clean = denoiser(x[:, 0].flatten(0, 1)[:, None], sigma, condition)[:, 0]
        return clean.unflatten(0, (len(x), -1))[:, None]

    for step in _sampled(each, size * start[:, None], measured, settings, noise, condition):
        yield replace(step, estimate=combined(step.estimate))
