"""The strongest classical images: the best of several weights for each slice, judged by the reference itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...classical.complex_tv import complex_tv_steps
from ...classical.wavelet import wavelet_steps
from .system import MRISystem

ITERATIONS = 100
WEIGHTS = (0.0005, 0.001, 0.002, 0.003, 0.0045, 0.007, 0.011, 0.02)
"""In parts of the largest value of the zero-filled image; below or above lies no minimum from 2- to 12-fold."""


def wavelet_oracle(system: MRISystem, reference: np.ndarray) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """l1-wavelet: see :func:`_best`."""
    return _best(system, reference, wavelet_steps)


def tv_oracle(system: MRISystem, reference: np.ndarray) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """TV: see :func:`_best`."""
    return _best(system, reference, complex_tv_steps)


def _best(
    system: MRISystem, reference: np.ndarray, solve: Callable[..., Iterator[Tensor]]
) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """For each slice the best of WEIGHTS by the root mean square error of the magnitude.

    ``reference``: (slices, rows, columns), magnitudes in the input's unit. Returns complex images in it and, a slice
    each, the weight and whether it lies inside the tried range.
    """
    truth = torch.from_numpy(reference).to(system.measured.variance)
    images = torch.stack([
        deque(solve(system.measured, weight=weight, iterations=ITERATIONS), 1).pop() for weight in WEIGHTS
    ])
    error = (images.abs() - truth).square().mean((-2, -1))
    best = error.argmin(0)
    chosen = images[best, torch.arange(len(truth))]
    columns: dict[str, list[Any]] = {
        "weight": [WEIGHTS[int(n)] for n in best],
        "weight_is_inside": [0 < int(n) < len(WEIGHTS) - 1 for n in best],
    }
    return chosen.cpu().numpy(), columns
