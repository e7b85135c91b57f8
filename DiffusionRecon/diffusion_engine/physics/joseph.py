"""Joseph's discretisation of line integrals: interpolation across the axis that the ray crosses fastest.

For a ray that crosses rows faster than columns, with d its length in mm between two rows,

    p = d * sum_j sum_k h(w_j - k) x(j, i_j + k),    i_j + w_j = column position of the ray in row j,

and the same with rows and columns exchanged for the others; pixels outside the grid are zero. h is the triangle of
linear interpolation (k = 0, 1), or the kernel of cubic convolution (k = -1 .. 2), which has no second moment.

Pixels are averages and detector bins are wide: to second order, what a bin as wide as a pixel sees of averages over
pixels is what a line sees of their point values, at every angle. The triangle adds a sixth of a squared pixel to that,
which a reconstruction takes for detail; cubic convolution adds nothing.

Sources: P. M. Joseph, IEEE Trans. Med. Imaging 1 (1982) 192, doi:10.1109/TMI.1982.4307572; R. G. Keys, IEEE Trans.
Acoust. Speech Signal Process. 29 (1981) 1153, doi:10.1109/TASSP.1981.1163711.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .ct_geometry import CTGeometry, ImageGrid, ray_lines

TAPS = {"linear": 2, "cubic": 4}
"""Pixels that a ray meets at each crossing, by the interpolation."""


class IndexRays(NamedTuple):
    """Rays in pixel index coordinates, each field (rays,) float64: crossing of step n at ``base + slope * n``."""

    base: np.ndarray  # position across the driving axis at its pixel 0
    slope: np.ndarray  # |slope| <= 1
    step_mm: np.ndarray  # ray length between two pixels of the driving axis
    over_rows: np.ndarray  # bool: the driving axis is the rows


def index_rays(geometry: CTGeometry, grid: ImageGrid, views: slice = slice(None)) -> IndexRays:
    """The rays of the given views, view-major, in the grid's index coordinates."""
    point, direction = ray_lines(geometry, views)
    size = np.array((grid.pixel_mm[1], grid.pixel_mm[0]))
    middle = np.array(((grid.columns - 1) / 2, (grid.rows - 1) / 2))
    centre = np.array((grid.centre_mm[1], grid.centre_mm[0]))
    point = ((point - centre) / size + middle).reshape(-1, 2)
    direction = (direction / size).reshape(-1, 2)
    over_rows = np.abs(direction[:, 1]) >= np.abs(direction[:, 0])
    drive, across = np.where(over_rows, 1, 0), np.where(over_rows, 0, 1)
    ray = np.arange(len(point))
    slope = direction[ray, across] / direction[ray, drive]
    base = point[ray, across] - point[ray, drive] * slope
    return IndexRays(base, slope, 1 / np.abs(direction[ray, drive]), over_rows)


def tap_weights(w: Tensor, interpolation: str) -> tuple[Tensor, ...]:
    """Kernel h at the pixels around a crossing that lies ``w`` (0 to 1) beyond a pixel, from the lowest one on."""
    v = 1 - w
    if interpolation == "linear":
        return v, w
    return -w * v**2 / 2, v * (1 + w - 1.5 * w**2), w * (1 + v - 1.5 * v**2), -v * w**2 / 2


def joseph_entries(rays: IndexRays, grid: ImageGrid, dtype: torch.dtype = torch.float32,
                   device: torch.device | str = "cpu", interpolation: str = "linear") -> tuple[Tensor, Tensor]:
    """Pixel indices (int32) and weights (mm) of every ray, both (rays, TAPS * max(rows, columns)).

    Entries outside the grid have index 0 and weight 0, so that every ray has the same number of entries.
    """
    def column(values: np.ndarray, kind: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device=device, dtype=kind)[:, None]

    # float64 positions keep both implementations equal and interpolation weights exact on large grids
    n = torch.arange(max(grid.rows, grid.columns), device=device, dtype=torch.float64)
    position = column(rays.slope, torch.float64) * n
    position += column(rays.base, torch.float64)
    position.clamp_(-2, max(grid.rows, grid.columns))
    # truncation of positive numbers, since torch.floor starts threads even for small arrays
    low = (position + 2).to(torch.int32) - 2
    w = position.sub_(low).to(dtype)
    over_rows = rays.over_rows
    across_size = column(np.where(over_rows, grid.columns, grid.rows), torch.int32)
    index = low * column(np.where(over_rows, 1, grid.columns), torch.int32)
    index += n.to(torch.int32) * column(np.where(over_rows, grid.columns, 1), torch.int32)
    step = column(rays.step_mm, dtype)
    next_pixel = column(np.where(over_rows, 1, grid.columns), torch.int32)
    on_grid: Tensor | bool = True
    if grid.rows != grid.columns:
        on_grid = n < column(np.where(over_rows, grid.rows, grid.columns), torch.float64)
    weights, indices = [], []
    for tap, weight in enumerate(tap_weights(w, interpolation), 1 - TAPS[interpolation] // 2):
        inside = (low >= -tap) & (low < across_size - tap) & on_grid
        weights.append(weight * step * inside)
        indices.append((index + tap * next_pixel) * inside)
    return torch.stack(indices, dim=-1).flatten(1), torch.stack(weights, dim=-1).flatten(1)


def count_entries(geometry: CTGeometry, grid: ImageGrid, interpolation: str = "linear") -> np.ndarray:
    """Estimated number of non-zero weights of each ray, (views * detectors,): TAPS a crossing inside the grid."""
    rays = index_rays(geometry, grid)
    drive = np.where(rays.over_rows, grid.rows, grid.columns)
    across = np.where(rays.over_rows, grid.columns, grid.rows)
    slope = np.where(np.abs(rays.slope) < 1e-12, 1e-12, rays.slope)
    ends = np.sort(np.stack(((-1 - rays.base) / slope, (across - rays.base) / slope)), axis=0)
    crossings = np.minimum(ends[1], drive - 0.5) - np.maximum(ends[0], -0.5)
    return TAPS[interpolation] * np.clip(crossings, 0, None)
