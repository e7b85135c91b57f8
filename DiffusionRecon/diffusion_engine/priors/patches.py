"""A patch prior as a denoiser of images of any size: random partitions into patches that know their place (PaDIS)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..denoiser import Denoiser, as_column
from ..sampling.noise import Noise
from .library import PIXELS_PER_CALL


@dataclass(frozen=True, eq=False)
class PatchDenoiser:
    """D(x; s) of a whole image from D'(patch; s, positions): the image is cut into ``size`` x ``size`` patches.

    The grid is shifted at random in every call, so that over the steps of a run no seam stays at a place; with
    ``shifts`` > 1 the mean over so many partitions is returned. Patches that reach beyond the image see
    ``outside`` (clean value, network units: -1 is air in CT) with fresh noise of level s there, as in
    training. ``noise`` gives shifts and that noise, so that the same seed gives the same calls.
    ``condition``: position channels (planes, rows, columns) of the image, continued beyond its border at constant
    slope, which is exact for positions. Raises ValueError for a patch size below 2. Source: arXiv:2406.02462.
    """

    denoiser: Denoiser
    size: int
    noise: Noise
    outside: float = -1.0
    shifts: int = 1

    def __post_init__(self) -> None:
        if self.size < 2 or self.shifts < 1:
            raise ValueError(f"expected patches of 2 pixels or more and 1 shift or more: {self.size}, {self.shifts}")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        total = self._once(x, sigma, condition)
        for _ in range(self.shifts - 1):
            total = total + self._once(x, sigma, condition)
        return total / self.shifts

    def _once(self, x: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        rows, columns = x.shape[-2:]
        top, left = self.noise.common().integers(self.size, size=2).tolist()
        pads = (left, -(columns + left) % self.size, top, -(rows + top) % self.size)
        inside = F.pad(torch.ones_like(x), pads)
        around = self.outside + as_column(sigma, x) * self.noise.normal(inside)
        patches, grid = cut(F.pad(x, pads) + (1 - inside) * around, self.size)
        planes = None
        if condition is not None:
            planes = cut(extended(condition.reshape(-1, *condition.shape[-3:]).to(x.device), pads), self.size)[0]
            planes = planes.repeat(len(patches) // len(planes), 1, 1, 1)
        levels = sigma if sigma.numel() == 1 else sigma.repeat_interleave(grid[0] * grid[1])
        found = []
        count = max(1, PIXELS_PER_CALL // self.size**2)
        for first in range(0, len(patches), count):
            part = slice(first, first + count)
            level = levels if sigma.numel() == 1 else levels[part]
            found.append(self.denoiser(patches[part], level, None if planes is None else planes[part]))
        return join(torch.cat(found), grid)[..., top : top + rows, left : left + columns]


def cut(images: Tensor, size: int) -> tuple[Tensor, tuple[int, int]]:
    """Images (batch, channels, r size, c size) as patches (batch r c, channels, size, size), and the grid (r, c)."""
    tiles = images.unfold(-2, size, size).unfold(-2, size, size)
    grid = (tiles.shape[2], tiles.shape[3])
    return tiles.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1], size, size), grid


def join(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """The inverse of :func:`cut`."""
    channels, size = patches.shape[1], patches.shape[-1]
    tiles = patches.reshape(-1, *grid, channels, size, size).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(tiles.shape[0], channels, grid[0] * size, grid[1] * size)


def extended(planes: Tensor, pads: tuple[int, int, int, int]) -> Tensor:
    """Planes (..., rows, columns) continued by (left, right, top, bottom) pixels at the slope of their borders."""
    for axis, before, after in ((-1, *pads[:2]), (-2, *pads[2:])):
        length = planes.shape[axis]
        first, last = planes.narrow(axis, 0, 1), planes.narrow(axis, length - 1, 1)
        near = min(1, length - 1)
        slope, slope_last = planes.narrow(axis, near, 1) - first, last - planes.narrow(axis, length - 1 - near, 1)
        shape = (-1, 1) if axis == -2 else (1, -1)
        steps = torch.arange(-before, 0, device=planes.device).reshape(shape)
        steps_after = torch.arange(1, after + 1, device=planes.device).reshape(shape)
        planes = torch.cat([first + slope * steps, planes, last + slope_last * steps_after], dim=axis)
    return planes
