"""The weight of a penalty that is best for an image, found with the reference: an oracle, for comparisons only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

LOWEST, HIGHEST = 0.0005, 0.05
"""Relative weights between which the best is sought."""
_COARSE = 5
_GOLDEN = (math.sqrt(5.0) - 1) / 2


class BestWeight(NamedTuple):
    """The weight, its error, its image, and all weights tried with their errors, in order of trial."""

    weight: float
    error: float
    image: Tensor
    tried: tuple[tuple[float, float], ...]


def magnitude_nrmse(image: Tensor, reference: Tensor) -> float:
    """| |x| - |r| | / |r| over all pixels, of complex or real images of one shape."""
    true = reference.abs()
    return float(torch.linalg.vector_norm(image.abs() - true) / torch.linalg.vector_norm(true))


def best_weight(
    reconstruct: Callable[[float], Tensor], reference: Tensor, low: float = LOWEST, high: float = HIGHEST,
    refinements: int = 4,
) -> BestWeight:
    """argmin over w of | |x(w)| - |r| | / |r|: five weights evenly spread in log w, then golden section about the best.

    ``reconstruct``: the image of a weight, in the shape of ``reference``. The result is the best of all that were
    tried. Raises ValueError unless 0 < ``low`` < ``high``.
    """
    if not 0 < low < high:
        raise ValueError(f"expected weights 0 < low < high, found {low} and {high}")
    tried: list[tuple[float, float]] = []
    best: list[Tensor] = []

    def error(place: float) -> float:
        image = reconstruct(math.exp(place))
        found = magnitude_nrmse(image, reference)
        if not tried or found < min(known for _, known in tried):
            best[:] = [image]
        tried.append((math.exp(place), found))
        return found

    step = math.log(high / low) / (_COARSE - 1)
    places = [math.log(low) + n * step for n in range(_COARSE)]
    errors = [error(place) for place in places]
    least = errors.index(min(errors))
    left, right = places[max(least - 1, 0)], places[min(least + 1, _COARSE - 1)]
    inner = [right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)]
    values: list[float | None] = [None, None]
    for _ in range(refinements):
        known = [error(place) if value is None else value for place, value in zip(inner, values, strict=True)]
        if known[0] < known[1]:
            right = inner[1]
            inner, values = [right - _GOLDEN * (right - left), inner[0]], [None, known[0]]
        else:
            left = inner[0]
            inner, values = [inner[1], left + _GOLDEN * (right - left)], [known[1], None]
    weight, smallest = min(tried, key=lambda pair: pair[1])
    return BestWeight(weight, smallest, best[0], tuple(tried))
