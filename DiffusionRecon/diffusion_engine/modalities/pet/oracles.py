"""The strongest classical images: the best settings for each slice, judged by the reference itself."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...classical.osem import osem_steps
from ...physics.pet import smoothed
from .system import EARLY_SUBSETS, PETSystem

ITERATIONS = 6
FILTERS_MM = (0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.5, 10.0, 12.0, 15.0)
WEIGHTS = tuple(round(2.5 * 1.5**n, 2) for n in range(9))
"""In 1 / network unit. Found on torsos: 4 to 16 for 25,000 counts a slice, 16 to 32 for a million."""
RDP_ITERATIONS = 20


def osem_oracle(system: PETSystem, reference: np.ndarray) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """OSEM of 10 subsets: for each slice the iteration (1 to 6) and the filter out of FILTERS_MM of the least error.

    ``reference``: (slices, rows, columns) in the delivered unit. Returns images in it and, a slice each, what was
    chosen and whether the filter lies inside the tried range.
    """
    truth = torch.from_numpy(reference).to(system.measured.data)
    subsets = min(EARLY_SUBSETS, system.acquisition.angles)
    made, chosen = [], []
    for step, image in enumerate(osem_steps(system.measured, subsets=subsets, iterations=ITERATIONS), 1):
        for width in FILTERS_MM:
            made.append(smoothed(image, system.grid.pixel_mm, width))
            chosen.append((step, width))
    images, best = _least_error(made, truth)
    columns: dict[str, list[Any]] = {
        "iteration": [chosen[n][0] for n in best], "filter_mm": [chosen[n][1] for n in best],
        "filter_is_inside": [chosen[n][1] < FILTERS_MM[-1] for n in best],
    }
    return images.cpu().numpy(), columns


def rdp_oracle(system: PETSystem, reference: np.ndarray) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """The relative difference penalty, 20 iterations: for each slice the weight out of WEIGHTS of the least error."""
    truth = torch.from_numpy(reference).to(system.measured.data)
    count = len(truth)
    many = system.select(torch.arange(count, device=truth.device).repeat(len(WEIGHTS)))
    weights = torch.tensor(WEIGHTS, device=truth.device).repeat_interleave(count)
    image = deque(many.penalised(weights, RDP_ITERATIONS), 1).pop() * system.unit
    images, best = _least_error(list(image.split(count)), truth)
    columns: dict[str, list[Any]] = {
        "weight": [WEIGHTS[n] for n in best], "weight_is_inside": [0 < n < len(WEIGHTS) - 1 for n in best],
    }
    return images.cpu().numpy(), columns


def _least_error(made: list[Tensor], truth: Tensor) -> tuple[Tensor, list[int]]:
    """For each slice the image out of ``made`` nearest to the truth, and its number."""
    errors = torch.stack([(image - truth).square().mean((-2, -1)) for image in made])
    best = errors.argmin(0)
    return torch.stack(made)[best, torch.arange(len(truth), device=truth.device)], best.tolist()
