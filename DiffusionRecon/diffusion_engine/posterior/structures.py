"""The spread at the scale of a structure: what of the voxels' spread is left when their noise averages out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STRUCTURE_MM = 4.0
"""Edge of the box over which a structure is averaged: what is smaller is taken for noise of single voxels."""


def structure_half_width(
    half_width: np.ndarray, draws: Sequence[np.ndarray], spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    """Half width that the average over a box around each voxel has, float64, in the unit of ``half_width``.

    w sqrt(Var_n(mean_box x_n) / mean_box(Var_n x_n)), where w is the root of the mean square of ``half_width`` over the
    box and x_n are the draws: what differs from draw to draw voxel by voxel averages out, a structure that only some of
    them have does not. The fraction is 1 at the most. Fewer than two draws tell nothing of it, and a box of one voxel
    has nothing to average: then the half width as it is. All arrays (slices, rows, columns), ``spacing_mm`` in the same
    order; the box has the odd number of voxels nearest to STRUCTURE_MM along each axis.
    """
    size = box_voxels(STRUCTURE_MM, spacing_mm)
    widths = np.asarray(half_width, np.float64)
    if len(draws) < 2 or size == [1, 1, 1]:
        return widths
    # Imported here: the panel reads the names of this folder at its opening.
    from scipy.ndimage import uniform_filter

    # About the first draw, whose values of a thousand would cost small spreads their digits.
    first = np.asarray(draws[0], np.float64)
    total, squares = np.zeros(first.shape), np.zeros(first.shape)
    box_total, box_squares = np.zeros(first.shape), np.zeros(first.shape)
    for draw in draws[1:]:
        difference = draw - first
        average = uniform_filter(difference, size)
        total += difference
        squares += difference**2
        box_total += average
        box_squares += average**2
    count = len(draws)
    voxels = uniform_filter(np.maximum(squares - total**2 / count, 0.0), size)
    boxes = np.maximum(box_squares - box_total**2 / count, 0.0)
    share = np.divide(boxes, voxels, out=np.ones_like(boxes), where=voxels > 0)
    return np.sqrt(np.maximum(uniform_filter(widths**2, size), 0.0) * np.minimum(share, 1.0))


def box_voxels(edge_mm: float, spacing_mm: tuple[float, float, float]) -> list[int]:
    """The odd number of voxels, one or more, along each axis whose length is nearest to an edge."""
    return [2 * max(0, round((edge_mm / each - 1) / 2)) + 1 for each in spacing_mm]
