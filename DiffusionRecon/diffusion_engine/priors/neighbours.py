"""A prior of slices that also looks at the slice below and the one above: its inputs, and how it is called.

    D(x; s, places, b, a, c_b, c_a) ~ E[clean | x = clean + s n, b, a],   b, a: the neighbours with noise of their own

Its inputs are the slice, the position planes, both noisy neighbours, divided by sqrt(s^2 + d^2) like the slice, and
their closeness c = exp(-distance / 10 mm). A neighbour that is missing has values and closeness of zero, so that the
same network also works on a single slice. One call a slice, as for a prior of single slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ..denoiser import Denoiser

REACH_MM = 10.0
NEAREST_MM = 4.0
"""Approximate distance of the nearest neighbours in training; in finer stacks it looks several slices away."""


class ScaledDenoiser(Denoiser, Protocol):
    """A denoiser that tells the standard deviation of clean images in network units."""

    @property
    def sigma_data(self) -> float: ...


def closeness(distance_mm: float) -> float:
    """exp(-distance / 10 mm); raises ValueError for a distance that is not positive."""
    if not distance_mm > 0:
        raise ValueError(f"expected a positive distance of slices, found {distance_mm} mm")
    return math.exp(-distance_mm / REACH_MM)


def slices_apart(slice_mm: float) -> int:
    """How many slices away a prior looks for its nearest neighbours, for slices of this distance."""
    return max(1, round(NEAREST_MM / slice_mm))


def neighbour_planes(neighbours: Tensor, close: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """The planes (n, 4, rows, columns): both neighbours in the network's scale, and their closeness.

    ``neighbours``: noisy, (n, 2, rows, columns); ``close``: (n, 2, rows, columns), zero where there is none.
    """
    norm = (sigma.to(neighbours).reshape(-1, 1, 1, 1) ** 2 + sigma_data**2).sqrt()
    return torch.cat([neighbours / norm * (close > 0), close.to(neighbours)], dim=1)


def denoised(denoiser: Denoiser, noisy: Tensor, sigma: Tensor, place: Tensor, own: int = 1) -> Tensor:
    """Clean slices (n, own, rows, columns) from themselves alone or with their neighbours.

    ``noisy``: (n, own, ...) with planes ``place`` (n, 2, ...), or slice, below, above (n, 3, ...) with (n, 4, ...):
    positions and closeness. The planes of a condition follow them. ``own``: channels of a slice.
    """
    if noisy.shape[1] == own:
        return denoiser(noisy, sigma, place)
    seen = neighbour_planes(noisy[:, 1:], place[:, 2:4], sigma, cast(ScaledDenoiser, denoiser).sigma_data)
    return denoiser(noisy[:, :1], sigma, torch.cat([place[:, :2].to(seen), seen, place[:, 4:].to(seen)], dim=1))


def planes_of_stack(x: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
    """The position planes of a stack (slices, 1, rows, columns) at one noise level; raises ValueError for others."""
    if x.ndim != 4 or x.shape[1] != 1:
        raise ValueError(f"expected slices (slices, 1, rows, columns), found {tuple(x.shape)}")
    if sigma.numel() != 1 or condition is None:
        raise ValueError("a stack of slices shares one noise level and needs position planes: give both")
    return condition.to(x)


@dataclass(frozen=True, eq=False)
class StackDenoiser:
    """D(x; s) of a stack of any number of slices, which are its batch: each is seen with its neighbours.

    x: (slices, 1, rows, columns) in order, ``slice_mm`` apart. A slice's neighbours are ``spacing`` times
    :func:`slices_apart` away; at the ends they are missing. Planes of a condition follow the positions.
    ``denoiser``: of planes as above, with its ``sigma_data``. Raises ValueError for a spacing or slice distance that is
    not positive, for other shapes, without position planes, and for more than one noise level.
    """

    denoiser: ScaledDenoiser
    slice_mm: float
    spacing: int = 1

    def __post_init__(self) -> None:
        if self.spacing < 1 or not self.slice_mm > 0:
            raise ValueError(f"expected a positive spacing and slice distance, found {self.spacing}, {self.slice_mm}")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        place = planes_of_stack(x, sigma, condition)
        gap = self.spacing * slices_apart(self.slice_mm)
        below, above = F.pad(x, (0, 0) * 3 + (gap, 0))[: len(x)], F.pad(x, (0, 0) * 3 + (0, gap))[-len(x) :]
        number = torch.arange(len(x), device=x.device)
        there = torch.stack([number >= gap, number < len(x) - gap], dim=1)
        close = (there * closeness(gap * self.slice_mm))[:, :, None, None].expand(-1, -1, *x.shape[-2:]).to(x)
        place = place.expand(len(x), *place.shape[-3:])
        told = torch.cat([place[:, :2], close, place[:, 2:]], dim=1)
        return denoised(self.denoiser, torch.cat([x, below, above], dim=1), sigma, told)


@dataclass(frozen=True, eq=False)
class DownwardStack:
    """D(x; s) of a stack stored from superior to inferior, by a denoiser of one that rises, as all training stacks do.

    x: (slices, 1, rows, columns); position planes are one for all slices or one each.
    """

    denoiser: Denoiser

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is not None and condition.ndim == x.ndim and len(condition) == len(x):
            condition = condition.flip(0)
        return self.denoiser(x.flip(0), sigma, condition).flip(0)
