"""A prior of three neighbouring slices as a denoiser of a stack of any number of slices, which are its batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .denoiser import Denoiser

SPACING_UNIT_MM = 10.0


@dataclass(frozen=True, eq=False)
class StackDenoiser:
    """D(x; s) of slices (slices, 1, rows, columns) from D'(triplets (n, 3, rows, columns); s, planes).

    Triplets are {i, i + g, i + 2 g}, g = ``spacing`` in slices, cut from the stack at ``offset`` (0 to 2); a coupling
    changes both from step to step (DiffusionBlend++). The network is told the distance of the three by a constant
    plane, g ``slice_mm`` / 10 mm, after the planes of ``condition``. At the ends a triplet moves inwards to be
    whole; a slice in several triplets gets the mean of their estimates. Stacks of fewer than 3 g slices take
    the widest spacing that fits; one or two slices are repeated, the only case in which a network sees the same
    noise twice. Raises ValueError for a spacing or slice distance that is not positive. Source: arXiv:2406.10211.
    """

    denoiser: Denoiser
    slice_mm: float
    spacing: int = 1
    offset: int = 0

    def __post_init__(self) -> None:
        if self.spacing < 1 or not self.slice_mm > 0:
            raise ValueError(f"expected a positive spacing and slice distance, found {self.spacing}, {self.slice_mm}")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if x.shape[1] != 1:
            raise ValueError(f"expected slices (slices, 1, rows, columns), found {x.shape[1]} channels")
        if sigma.numel() != 1:
            raise ValueError("a stack of slices shares one noise level: give a single sigma")
        spacing = max(1, min(self.spacing, len(x) // 3))
        index = torch.tensor(triplets(len(x), spacing, self.offset), device=x.device)
        plane = torch.full((1, *x.shape[-2:]), spacing * self.slice_mm / SPACING_UNIT_MM).to(x)
        planes = plane if condition is None else torch.cat([condition.to(x).reshape(-1, *x.shape[-2:]), plane])
        found = self.denoiser(x[:, 0][index], sigma, planes)
        flat = index.flatten()
        total = torch.zeros_like(x).index_add(0, flat, found.reshape(-1, 1, *x.shape[-2:]))
        return total / torch.bincount(flat, minlength=len(x)).reshape(-1, 1, 1, 1)


def triplets(slices: int, spacing: int = 1, offset: int = 0) -> list[tuple[int, int, int]]:
    """Triplets {i, i + spacing, i + 2 spacing} that contain every slice, first whole one at ``offset`` mod 3.

    Needs 3 ``spacing`` slices or more, or spacing 1: fewer than three slices are repeated.
    """
    if slices < 3:
        return [(0, slices - 1, 0)]
    found = []
    for remainder in range(spacing):
        members = range(remainder, slices, spacing)
        starts = {min(max(start, 0), len(members) - 3) for start in range(offset % 3 - 3, len(members), 3)
                  if start + 2 >= 0}
        found += [(members[s], members[s + 1], members[s + 2]) for s in sorted(starts)]
    return found
