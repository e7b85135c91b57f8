"""Langevin moves at one noise level: x' = x + a s(x) + sqrt(2 a) z, s = (D(x; sigma) - x) / sigma^2 the score.

Two rules for the step length a: annealed Langevin's, in proportion to sigma^2, and the corrector's of
predictor-corrector sampling, a = 2 (snr |z| / |s|)^2 for each image. Complex images with complex noise of variance 1
obey the same formulas. Sources: arXiv:1907.05600, algorithm 1; arXiv:2011.13456, algorithm 4.
"""

from __future__ import annotations

import math

from torch import Tensor

SNR = 0.16
"""Signal to noise ratio of the corrector in the reference configurations of variance-exploding diffusion."""
LONGEST_STEP = 0.25
"""In units of sigma^2: what the Langevin steps of solvers with learned priors are bounded by."""


def score(x: Tensor, estimate: Tensor, sigma: float) -> Tensor:
    """(D - x) / sigma^2, the gradient of the log density of images with noise of level sigma."""
    return (estimate - x) / sigma**2


def langevin(x: Tensor, gradient: Tensor, step: Tensor | float, noise: Tensor) -> Tensor:
    """x + a g + sqrt(2 a) z with the ``gradient`` g of the log density and the ``step`` a, a number or one an image."""
    return x + step * gradient + (2 * step) ** 0.5 * noise


def corrector(
    x: Tensor, estimate: Tensor, sigma: float, noise: Tensor, snr: float = SNR, longest: float = math.inf
) -> Tensor:
    """One Langevin step of length 2 (snr |z| / |s|)^2, norms over the last two axes of each image.

    ``x``, ``estimate`` (the denoiser's) and ``noise``: (batch, rows, columns). An image whose score is zero stays. The
    rule expects a score of about |z| / sigma, as for images that are unlikely only by their noise. Where the prior is
    smooth on the scale of sigma, the step would go far beyond the noise level unless it is bounded by ``longest``
    sigma^2.
    """
    gradient = score(x, estimate, sigma)
    size = gradient.abs().square().sum((-2, -1), keepdim=True)
    length = noise.abs().square().sum((-2, -1), keepdim=True)
    step = (2 * snr**2 * length / size.where(size > 0, 1.0)).clamp_max(longest * sigma**2)
    return langevin(x, gradient, step.where(size > 0, 0.0), noise)
