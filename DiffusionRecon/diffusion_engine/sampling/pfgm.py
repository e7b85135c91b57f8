"""The noise of PFGM++: heavier tails than Gaussian noise, the heavier the smaller the augmented dimension."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .noise import Noise


def pfgm_noise(like: Tensor, dimension: float, noise: Noise) -> Tensor:
    """Noise n of unit level, so that clean + sigma n follows the kernel p_r(x) ~ (|x - clean|^2 + r^2)^(-(N + D) / 2).

    r = sigma sqrt(D). Its direction is uniform and its length sqrt(D b / (1 - b)), b ~ Beta(N / 2, D / 2), N pixels an
    image; drawn as u sqrt(D) / |w| from standard normal u of N and w of D = ``dimension`` numbers, the multivariate t
    distribution. D = inf is Gaussian noise. ``like``: (batch, ..., rows, columns), one length an image of the batch.
    Raises ValueError unless D is a whole number from 1, or inf. Source: arXiv:2302.04265, section 3.
    """
    if not dimension >= 1 or (math.isfinite(dimension) and dimension != int(dimension)):
        raise ValueError(f"the augmented dimension must be a whole number of 1 or more, or inf; found {dimension}")
    direction = noise.normal(like)
    if math.isinf(dimension):
        return direction
    extra = noise.normal(torch.empty((like.shape[0], int(dimension)), dtype=direction.real.dtype))
    length = extra.norm(dim=1).to(like.device).reshape(-1, *([1] * (like.ndim - 1)))
    return direction * (math.sqrt(dimension) / length)
