"""A prior of volumes: how a stack of slices is shown to it.

    D(X; s, places, c) ~ E[clean | X = clean + s n],   X: (slices, rows, columns), c = exp(-slice distance / 10 mm)

The network convolves along the slices too (see :mod:`.networks`), so that the reach along z grows with its depth: a
layer a block, 14 slices either way. In stacks finer than it was trained on, every second (third, ...) slice makes a
volume of its own, see :func:`slices_apart`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser
from .neighbours import closeness, planes_of_stack, slices_apart


def volume_planes(place: Tensor, distance_mm: float, depth: int) -> Tensor:
    """Position planes (2, rows, columns) and closeness of ``depth`` slices: (3, depth, rows, columns)."""
    close = torch.full_like(place[:1], closeness(distance_mm))
    return torch.cat([place, close])[:, None].expand(-1, depth, -1, -1)


@dataclass(frozen=True, eq=False)
class VolumeDenoiser:
    """D(x; s) of a stack of any number of slices, which are its batch: (slices, 1, rows, columns), ``slice_mm`` apart.

    Raises ValueError for a distance that is not positive, for other shapes, without position planes, and for more than
    one noise level.
    """

    denoiser: Denoiser
    slice_mm: float

    def __post_init__(self) -> None:
        if not self.slice_mm > 0:
            raise ValueError(f"expected a positive distance of slices, found {self.slice_mm} mm")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        place = planes_of_stack(x, sigma, condition)
        apart = slices_apart(self.slice_mm)
        result = torch.empty_like(x)
        for first in range(min(apart, len(x))):
            part = x[first::apart]
            planes = volume_planes(place, apart * self.slice_mm, len(part))
            result[first::apart, 0] = self.denoiser(part[None, None, :, 0], sigma, planes[None])[0, 0]
        return result
