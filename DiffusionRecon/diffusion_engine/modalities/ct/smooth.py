"""The residual of a sinogram over broad blocks: where scatter shows, which is smooth by view and along the detector."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .system import CTSystem

BINS, VIEWS = 8, 10
"""Blocks along the detector and, in the order of the angles, over the views: of 60 to 100 mm and a tenth of the arc."""


def smooth_sums(system: CTSystem, x: Tensor) -> Tensor:
    """Sum of (y - A x) / sigma over the readings of a block, over the root of their number: (slices, blocks).

    Standard normal where noise alone is left. ``x``: images in network units. Readings of infinite variance do not
    count; a block without others is 0.
    """
    likelihood, image = system.physical(x)
    weight = likelihood.variance.rsqrt().expand_as(likelihood.data)  # 0 where a reading is none
    residual = weight * (likelihood.data - likelihood.operator.forward(image))
    views, bins = residual.shape[-2:]
    rank = np.argsort(np.argsort(np.mod(system.geometry.angles_rad, 2 * math.pi), kind="stable"))
    rows = torch.from_numpy(rank * min(VIEWS, views) // views)
    columns = torch.arange(bins) * min(BINS, bins) // bins
    blocks = (rows[:, None] * BINS + columns).flatten().to(residual.device)
    total = residual.new_zeros(len(residual), VIEWS * BINS).index_add_(1, blocks, residual.flatten(1))
    counted = torch.zeros_like(total).index_add_(1, blocks, (weight > 0).to(residual).flatten(1))
    found = total / counted.clamp_min(1).sqrt()
    return found[:, : min(VIEWS, views) * BINS]
