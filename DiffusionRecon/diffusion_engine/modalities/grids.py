"""Grids that a prior works on, of any modality."""

from __future__ import annotations

from ..physics.grid import ImageGrid
from ..priors.card import PriorCard
from ..priors.slices import working_pixels

FEWEST = 16
"""Rows and columns that an image must have."""


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
