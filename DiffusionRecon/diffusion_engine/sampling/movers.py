"""One move of the state from a noise level to the next, in coordinates x = clean + sigma * noise."""

from __future__ import annotations

import torch
from torch import Tensor

from ..priors.denoiser import Denoiser


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
