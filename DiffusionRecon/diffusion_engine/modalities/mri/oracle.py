"""The strongest classical images: the best weight for each slice, judged by the reference itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...classical.best_weight import HIGHEST, best_weight
from ...classical.complex_tv import complex_tv_steps
from ...classical.wavelet import wavelet_steps
from .system import MRISystem

LOWEST = 0.0001
"""In parts of the largest value of the zero-filled image; found on heads, 4- and 8-fold: 0.0005 to 0.011."""


def wavelet_oracle(system: MRISystem, reference: np.ndarray) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """l1-wavelet, 60 iterations: see :func:`_best`."""
    return _best(system, reference, wavelet_steps, 60)


def tv_oracle(system: MRISystem, reference: np.ndarray) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """TV, 100 iterations: see :func:`_best`."""
    return _best(system, reference, complex_tv_steps, 100)


def _best(
    system: MRISystem, reference: np.ndarray, solve: Callable[..., Iterator[Tensor]], iterations: int
) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """For each slice the image of the weight with the least root mean square error of the magnitude.

    ``reference``: (slices, rows, columns), magnitudes in the input's unit. Returns complex images in it and, a slice
    each, the weight and whether it lies inside the tried range.
    """
    truth = torch.from_numpy(reference).to(system.measured.variance)
    images, weights = [], []
    for n in range(len(truth)):
        own = system.measured.select(slice(n, n + 1))

        def made(weight: float, own: Any = own) -> Tensor:
            return deque(solve(own, weight=weight, iterations=iterations), 1).pop()

        best = best_weight(made, truth[n : n + 1], LOWEST)
        images.append(best.image)
        weights.append(best.weight)
    columns: dict[str, list[Any]] = {
        "weight": [round(weight, 6) for weight in weights],
        "weight_is_inside": [1.2 * LOWEST < weight < HIGHEST / 1.2 for weight in weights],
    }
    return torch.cat(images).cpu().numpy(), columns
