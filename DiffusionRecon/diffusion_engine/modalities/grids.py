"""Grids of images that every modality meets: the prior's, and a region of one grid on another."""

from __future__ import annotations

import math

import numpy as np

from ..orientation import SQUARE
from ..physics.grid import ImageGrid
from ..priors.card import PriorCard
from ..priors.slices import working_pixels
from ..volume import Volume

FEWEST = 16
"""Rows and columns that an image must have."""


def binning(pixel_mm: float, smallest_mm: float) -> int:
    """By which whole factor to average pixels so that they are at least ``smallest_mm`` wide (2 % tolerance)."""
    return max(1, math.ceil(smallest_mm * 0.98 / pixel_mm))


def binnings(spacing_mm: tuple[float, ...], smallest_mm: float) -> tuple[int, int]:
    """The factors of :func:`binning` along rows and columns (j, i); the same for pixels that are square to 1 %.

    ``spacing_mm``: of columns and rows (i, j), as of a volume.
    """
    wide, tall = spacing_mm[:2]
    if abs(wide / tall - 1) <= SQUARE:
        wide = tall = min(wide, tall)
    return binning(tall, smallest_mm), binning(wide, smallest_mm)


def prior_grid(grid: ImageGrid, card: PriorCard, notes: list[str]) -> ImageGrid:
    """The matrix of the same field of view whose pixels the prior was trained on; a note where it is another one."""
    wanted = working_pixels(grid.pixel_mm, card)
    if wanted == tuple(grid.pixel_mm):
        return grid
    rows, columns = (max(FEWEST, round(n * p / w)) for n, p, w in zip(grid.shape, grid.pixel_mm, wanted, strict=True))
    pixel = (grid.rows * grid.pixel_mm[0] / rows, grid.columns * grid.pixel_mm[1] / columns)
    low, high = card.pixel_mm
    notes.append(
        f"The prior {card.name} knows pixels of {low:.2f} to {high:.2f} mm; for {grid.pixel_mm[1]:.3g} mm it worked on "
        f"pixels of {pixel[1]:.3g} mm, and the result was resampled."
    )
    return ImageGrid(rows, columns, pixel, grid.centre_mm)


def on_other_pixels(
    region: tuple[int, int, int, int], volume: Volume, other: Volume
) -> tuple[int, int, int, int]:
    """A region of a volume's pixels in another volume's of the same axes: every touched pixel is kept."""
    back = np.linalg.inv(other.ijk_to_ras) @ volume.ijk_to_ras
    bounds: list[int] = []
    for axis, size in ((0, other.array.shape[2]), (1, other.array.shape[1])):
        edges = region[2 * axis : 2 * axis + 2]
        start, stop = (back[axis, axis] * (edge - 0.5) + back[axis, 3] + 0.5 for edge in edges)
        low = min(max(int(np.floor(start + 1e-6)), 0), size - 1)
        bounds += [low, min(max(int(np.ceil(stop - 1e-6)), low + 1), size)]
    return bounds[0], bounds[1], bounds[2], bounds[3]
