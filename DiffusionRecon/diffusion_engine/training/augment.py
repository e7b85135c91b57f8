"""Plausible variants of training patches: turned and stretched, sharper and softer, in other orientations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SHARE, TURNED = 0.5, 0.25
"""How many patches are moved, how many sharper or softer, and how many are swapped or mirrored at random."""
TURN_DEGREES, STRETCH, SHIFT = 6.0, 0.07, 0.03
"""Standard deviations of angle, of the logarithm of either side's length, and of the place (shares of a side)."""
SHARPNESS = 0.5
"""Largest share of the finest detail that is added or taken away."""


@dataclass(frozen=True, eq=False)
class Variants:
    """One a patch: inverse maps (n, 2, 3) in sides of -1 to 1, sharpness (n,), and whether to swap rows and columns.

    ``swapped``, ``upturned``, ``mirrored``: (n,) truth values, applied in this order.
    """

    maps: Tensor
    sharpness: Tensor
    swapped: Tensor
    upturned: Tensor
    mirrored: Tensor

    def to(self, device: torch.device) -> Variants:
        """The same on another device."""
        return Variants(*(part.to(device) for part in vars(self).values()))


def draw_variants(count: int, generator: torch.Generator) -> Variants:
    """Random variants of ``count`` patches; no angle or length beyond three standard deviations."""

    def chosen(share: float) -> Tensor:
        return torch.rand(count, generator=generator) < share

    def normal() -> Tensor:
        return torch.randn(count, generator=generator).clamp(-3.0, 3.0)

    warped = chosen(SHARE).float()
    angle = normal() * warped * math.radians(TURN_DEGREES)
    tall, wide = ((normal() * warped * STRETCH).exp() for _ in range(2))
    cosine, sine = angle.cos(), angle.sin()
    down, right = (normal() * warped * 2 * SHIFT for _ in range(2))
    rows = [torch.stack([wide * cosine, -wide * sine, right], 1), torch.stack([tall * sine, tall * cosine, down], 1)]
    sharpness = (2 * torch.rand(count, generator=generator) - 1) * SHARPNESS * chosen(SHARE)
    oriented = chosen(TURNED)
    turns = [oriented & chosen(0.5) for _ in range(3)]
    return Variants(torch.stack(rows, 1), sharpness, *turns)


def varied(patches: Tensor, places: Tensor, variants: Variants) -> tuple[Tensor, Tensor]:
    """Variants of square patches (n, channels, size, size) and their planes (n, planes, size, size).

    A turned and stretched body is another body on the same grid: its planes stay. Sharpness b gives x + b (x - B x)
    with the binomial filter B of 3 x 3 pixels, as another reconstruction kernel would. Swapping and mirroring turn the
    planes as well, so that they tell how the body lies. No value falls below the smallest of its patch.
    """
    result = warped(patches, variants.maps)
    soft = F.avg_pool2d(F.avg_pool2d(F.pad(result, (1, 1, 1, 1), mode="replicate"), 2, 1), 2, 1)
    result = result + _column(variants.sharpness) * (result - soft)
    result = torch.maximum(result, patches.amin((1, 2, 3), keepdim=True))
    for told, turn in (
        (variants.swapped, lambda x: x.transpose(-1, -2)), (variants.upturned, lambda x: x.flip(-2)),
        (variants.mirrored, lambda x: x.flip(-1)),
    ):
        result, places = (torch.where(_column(told), turn(x), x) for x in (result, places))
    return result, places


def warped(images: Tensor, maps: Tensor) -> Tensor:
    """Images (n, channels, rows, columns) seen through inverse maps (n, 2, 3); where one is the identity, untouched."""
    moved = (maps != torch.eye(2, 3, device=images.device)).any(2).any(1)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    found = F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return torch.where(_column(moved), found, images)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]
