"""The strongest TV image: the best of several weights for each slice, judged by the reference itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...classical.tv import tv_steps
from ...likelihoods.gaussian import GaussianLikelihood
from .system import CTSystem
from .trust import RANGE_HU

ITERATIONS = 1500
WEIGHTS = (1.0, 2.0, 4.0, 6.0, 9.0, 14.0, 28.0)
"""Weights of TV in noise-normalised units, image in units of water: the best for each image is taken."""


def tv_oracle(system: CTSystem, reference: np.ndarray) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """For each slice the best of WEIGHTS.

    ``reference``: (slices, rows, columns) in HU. Returns images in HU and, a slice each, the weight, whether it lies
    inside the tried range, and the last change of PSNR over 100 steps.
    """
    likelihood = system.measured.scaled(system.water_per_mm, 0.0)
    count, tried = reference.shape[0], len(WEIGHTS)
    many = GaussianLikelihood(
        likelihood.operator, likelihood.data.repeat(tried, 1, 1),
        likelihood.variance.repeat(tried, 1, 1) if likelihood.variance.ndim == 3 else likelihood.variance,
    )
    weight = torch.tensor(WEIGHTS).repeat_interleave(count)
    earlier = image = torch.zeros(0)
    for step, image in enumerate(tv_steps(many, weight=weight, iterations=ITERATIONS), 1):
        if step == ITERATIONS - 100:
            earlier = image
    truth = torch.from_numpy(reference).to(image).repeat(tried, 1, 1)

    def quality(x: Tensor) -> Tensor:
        error = ((x - 1) * 1000 - truth).square().mean((-2, -1))
        return (10 * torch.log10(RANGE_HU**2 / error)).reshape(tried, count)

    score = quality(image)
    best = score.argmax(0)
    change = (score - quality(earlier)).abs()
    chosen = image.reshape(tried, count, *image.shape[-2:])[best, torch.arange(count)]
    columns: dict[str, list[Any]] = {
        "weight": [WEIGHTS[int(b)] for b in best],
        "weight_is_inside": [0 < int(b) < tried - 1 for b in best],
        "last_change_db": [round(float(change[int(b), n]), 4) for n, b in enumerate(best)],
    }
    return ((chosen - 1) * 1000).cpu().numpy(), columns
