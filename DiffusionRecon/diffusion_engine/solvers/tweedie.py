"""One-step denoising by Tweedie's formula for noise of an exponential family (Noise2Score).

    Gaussian, variance v:                     x = y + v l'(y)
    Poisson, y = a k, k ~ Poisson(x / a):     x = (y + a / 2) exp(a l'(y))
    gamma, y | x ~ Gamma(k, rate b / x):      x = b y / ((k - 1) - y l'(y))

l' = (D(y; p) - y) / p^2 is the score of the noisy images themselves, from a denoiser of them probed at a small level p;
for Gaussian noise also from a denoiser of clean images probed at p = sqrt(v), which gives x = D. The Gaussian formula
is the posterior mean, the gamma one the inverse of the posterior mean of 1 / x, the Poisson one the exponential of
the posterior mean of ln x, with ln(k + 1/2) for the digamma function of k + 1. A point estimate.
Sources: arXiv:2106.07009 (Noise2Score), table 1; B. Efron, doi:10.1198/jasa.2011.tm11181.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.langevin import score
from ..sampling.noise import Noise
from .contract import SolverStep, denoise, finite

FAMILIES = ("gaussian", "poisson", "gamma")


@dataclass(frozen=True)
class TweedieSettings:
    """Family of the noise and its parameters, in network units.

    ``sigma_start`` times ``entry``: the level p at which the denoiser is probed; ``noise_std``: sqrt(v) of Gaussian
    noise, None when it is p; ``gain``: a of Poisson noise; ``shape``: k of gamma noise, with b = k (mean x) unless
    ``rate`` is given.
    """

    family: str = "gaussian"
    sigma_start: float = 0.6
    entry: float = 0.5
    noise_std: float | None = None
    gain: float = 1.0
    shape: float = 10.0
    rate: float | None = None


def tweedie_estimate(y: Tensor, gradient: Tensor, settings: TweedieSettings) -> Tensor:
    """The denoised images of noisy ones ``y`` with the score l'(y) = ``gradient``, by the formulas above.

    Raises ValueError for an unknown family, complex or negative images where the noise has none, parameters that are
    not positive, and a score with which gamma noise has no mean.
    """
    if settings.family not in FAMILIES:
        raise ValueError(f"expected a family of noise out of {FAMILIES}, found {settings.family!r}")
    if settings.family == "gaussian":
        std = settings.entry * settings.sigma_start if settings.noise_std is None else settings.noise_std
        return y + std**2 * gradient
    if y.is_complex() or bool((y < 0).any()):
        raise ValueError(f"{settings.family} noise leaves images real and not negative: give them in such units")
    if settings.family == "poisson":
        if not settings.gain > 0:
            raise ValueError(f"the gain of Poisson noise must be positive, found {settings.gain:g}")
        return (y + settings.gain / 2) * (settings.gain * gradient).exp()
    rate = settings.shape if settings.rate is None else settings.rate
    if not settings.shape > 1 or not rate > 0:
        raise ValueError(f"gamma noise needs a shape above 1 and a positive rate, found {settings.shape:g}, {rate:g}")
    inverse = (settings.shape - 1) - y * gradient
    if not bool((inverse > 0).all()):
        raise ValueError("the score does not belong to gamma noise of this shape: check shape, level and denoiser")
    return rate * y / inverse


def tweedie(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Tensor, settings: TweedieSettings, noise: Noise,
    condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """The denoised ``start`` (batch, rows, columns), in one step with one denoiser call.

    ``likelihood`` and ``noise`` are not used. Raises ValueError as :func:`tweedie_estimate`, FloatingPointError where
    the estimate is not finite.
    """
    level = settings.entry * settings.sigma_start
    gradient = score(start, denoise(denoiser, start, level, condition), level)
    yield SolverStep(1, 1, level, finite(tweedie_estimate(start, gradient, settings), level))
