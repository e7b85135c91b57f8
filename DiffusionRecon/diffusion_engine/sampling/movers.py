"""Moves of the state from one noise level to the next, in coordinates x = clean + sigma * noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..denoiser import Denoiser
from .noise import Noise


def ddim(
    x: Tensor, estimate: Tensor, clean: Tensor, sigma: float, sigma_next: float, eta: float, noise: Tensor
) -> Tensor:
    """x' = clean + sigma' (sqrt(1 - eta^2) e + eta z), e = (x - estimate) / sigma.

    ``estimate``: the denoiser's, which defines the noise e in the state; ``clean``: the image to move
    towards, the same or one corrected by data; ``noise`` z: standard normal. Source: arXiv:2010.02502.
    """
    direction = (x - estimate) / sigma
    return clean + sigma_next * ((1 - eta**2) ** 0.5 * direction + eta * noise)


def heun(denoiser: Denoiser, x: Tensor, sigma: float, sigma_next: float, condition: Tensor | None = None) -> Tensor:
    """One step of the probability flow dx/dsigma = (x - D(x; sigma)) / sigma by Heun's rule (Euler into zero).

    Source: arXiv:2206.00364, algorithm 1. Two denoiser calls, one when ``sigma_next`` is 0.
    """
    slope = (x - denoiser(x, torch.tensor(sigma), condition)) / sigma
    moved = x + (sigma_next - sigma) * slope
    if sigma_next == 0:
        return moved
    slope_next = (moved - denoiser(moved, torch.tensor(sigma_next), condition)) / sigma_next
    return x + (sigma_next - sigma) * 0.5 * (slope + slope_next)


def multistep(
    x: Tensor, clean: Tensor, earlier: Tensor | None, levels: Sequence[float], index: int, noise: Tensor | None = None
) -> Tensor:
    """From levels[index] to the next by DPM-Solver++(2M): second order with one clean estimate a step.

    With h = ln(s / s'), r = (last h) / h and d = (clean - earlier) / r: the flow, without ``noise``, is
    x' = (s'/s) x + (1 - s'/s) (clean + d / 2); the diffusion, with standard normal ``noise`` z, is
    x' = (s'/s)^2 x + (1 - (s'/s)^2) (clean + d / 2) + s' sqrt(1 - (s'/s)^2) z. First order while ``earlier`` is None
    and into zero. Source: arXiv:2211.01095, algorithm 2 and appendix B.
    """
    sigma, following = levels[index], levels[index + 1]
    ahead = clean
    if earlier is not None and following > 0:
        ratio = math.log(levels[index - 1] / sigma) / math.log(sigma / following)
        ahead = clean + (clean - earlier) / (2 * ratio)
    kept = following / sigma if noise is None else (following / sigma) ** 2
    moved = ahead + kept * (x - ahead)
    return moved if noise is None else moved + following * (1 - kept) ** 0.5 * noise


def multistep_estimates(
    clean_at: Callable[[Tensor, float], Tensor], x: Tensor, levels: Sequence[float], noise: Noise | None = None
) -> Iterator[Tensor]:
    """The clean image at each of the ``levels`` but the last, from the state ``x`` at the first, by :func:`multistep`.

    ``clean_at``: (x, sigma) -> clean image. ``levels`` end in 0, so that the last image is the end of the run: of the
    flow, or with ``noise`` of the diffusion.
    """
    earlier: Tensor | None = None
    for index, sigma in enumerate(levels[:-1]):
        clean = clean_at(x, sigma)
        yield clean
        x = multistep(x, clean, earlier, levels, index, None if noise is None else noise.normal(x))
        earlier = clean


def ancestral(x: Tensor, estimate: Tensor, sigma: float, sigma_next: float, noise: Tensor) -> Tensor:
    """x' = D + (sigma'^2 / sigma^2) (x - D) + sigma' sqrt(1 - sigma'^2 / sigma^2) z, D the ``estimate``.

    A draw of the state at sigma' given the state at sigma and the clean image D; it is :func:`ddim` with
    eta^2 = 1 - sigma'^2 / sigma^2. Source: arXiv:2006.11239, eq. 6, 7.
    """
    return ddim(x, estimate, estimate, sigma, sigma_next, (1 - (sigma_next / sigma) ** 2) ** 0.5, noise)


def reverse_diffusion(x: Tensor, estimate: Tensor, sigma: float, sigma_next: float, noise: Tensor) -> Tensor:
    """x' = x + (sigma^2 - sigma'^2) s + sqrt(sigma^2 - sigma'^2) z, s = (D - x) / sigma^2 the score.

    The predictor of variance-exploding diffusion, Euler's rule for its reverse equation: with few levels it leaves more
    noise than sigma', which :func:`ancestral` does not. Source: arXiv:2011.13456, appendix E and algorithm 2.
    """
    gap = sigma**2 - sigma_next**2
    return x + gap / sigma**2 * (estimate - x) + gap**0.5 * noise


Predictor = Callable[[Tensor, Tensor, float, float, Tensor], Tensor]
"""(x, estimate, sigma, sigma_next, noise) -> the state at sigma_next."""

PREDICTORS: dict[str, Predictor] = {"ancestral": ancestral, "reverse_diffusion": reverse_diffusion}


def predictor_named(name: str) -> Predictor:
    """The predictor of predictor-corrector sampling; raises ValueError with the names there are."""
    if name not in PREDICTORS:
        raise ValueError(f"no predictor named '{name}': choose from {sorted(PREDICTORS)}")
    return PREDICTORS[name]
