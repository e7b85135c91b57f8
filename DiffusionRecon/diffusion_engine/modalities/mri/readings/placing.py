"""Where slices lie in the patient, from positions and directions in LPS as raw data files state them."""

from __future__ import annotations

import numpy as np

from ....io.conventions import LPS_TO_RAS

EVEN = 0.01
"""Largest relative difference of slice distances that counts as even."""
ASIDE_MM = 0.1
"""So far from one line may the middles of slices lie."""


def directions_ok(directions: np.ndarray) -> bool:
    """Whether the columns of a (3, 3) matrix are perpendicular unit vectors to 0.001."""
    return bool(np.isfinite(directions).all()) and float(np.abs(directions.T @ directions - np.eye(3)).max()) < 1e-3


def slice_order(positions: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, float | None]:
    """The order of slices along the normal, and their distance in mm, None where it is not even or not stated.

    ``positions``: of the slices' middles (slices, 3) in mm.
    """
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    sorted_along = along[order]
    steps = np.diff(sorted_along)
    aside = positions - np.outer(along, normal)
    if len(steps) == 0 or steps.min() <= 0 or np.ptp(steps) > EVEN * steps.mean():
        return order if len(steps) and steps.min() > 0 else np.arange(len(positions)), None
    if np.linalg.norm(aside - aside[0], axis=1).max() > ASIDE_MM:
        return order, None
    return order, float(steps.mean())


def ijk_to_ras(
    directions: np.ndarray, position: np.ndarray, spacing_mm: tuple[float, float, float], middle: tuple[int, int, int]
) -> np.ndarray:
    """The matrix (4, 4) of voxels (column, row, slice) to RAS, mm.

    ``directions``: of columns, rows and slices, as columns (3, 3), in LPS; ``position``: in LPS, mm, of the voxel with
    the index ``middle`` (column, row, slice), at which the transforms have their origin.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = directions * np.asarray(spacing_mm)
    matrix[:3, 3] = position - matrix[:3, :3] @ np.asarray(middle, np.float64)
    found: np.ndarray = LPS_TO_RAS @ matrix
    return found


def permuted(matrix: np.ndarray, order: tuple[int, int, int]) -> np.ndarray:
    """The matrix of an array (slices, rows, columns) after its axes were put in another order."""
    turned = matrix.copy()
    turned[:, :3] = matrix[:, [2 - order[2], 2 - order[1], 2 - order[0]]]
    return turned
