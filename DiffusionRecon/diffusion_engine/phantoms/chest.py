"""A synthetic chest in HU: a procedural thorax with nodules of known place and size, on any grid."""

from __future__ import annotations

import numpy as np

from ..volume import Volume
from .anatomy import patient
from .canvas import Plane
from .lung import chest_nodules, lung_trees
from .paint import paint_slice


def synthetic_chest(
    shape: tuple[int, int, int] = (12, 256, 256),
    spacing_mm: tuple[float, float, float] = (5.0, 1.5, 1.5),
    seed: int = 0,
) -> tuple[Volume, dict[str, np.ndarray]]:
    """A thorax in HU on a grid of ``shape`` (slices, rows, columns) and ``spacing_mm`` (slice, row, column).

    The anatomy is defined in mm around the grid's centre, a little below the carina, and is the same on every grid:
    body wall, ribs, spine, lungs with branching vessels and bronchi, heart and great vessels, upper abdomen, table.
    The chest spans about -150 to 150 mm along the slices and 345 x 235 mm across them. Slices are thin sections.

    Returns the volume (float32, standard axial: i to patient left, j posterior, k superior) and masks of its shape:
    "body", "heart", "bone", "muscle", "liver", "vessels" (of the lungs) as 0 and 1 (uint8), "lungs" with 1 for the
    right and 2 for the left, "nodules" with 1, 2, ... for each of :func:`chest_nodules`. A voxel belongs to a mask
    when more than half of it does. Raises ValueError for a shape or spacing that is not positive.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"expected a positive shape (slices, rows, columns), found {shape}: correct it")
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(f"expected positive spacings (slice, row, column) in mm, found {spacing_mm}: correct them")
    z, y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True))
    p, trees, nodules = patient(seed), lung_trees(seed), chest_nodules(seed)
    array = np.empty(shape, np.float32)
    masks: dict[str, np.ndarray] = {}
    for k, height in enumerate(z):
        plane = Plane(x.astype(np.float32), y.astype(np.float32), float(height), (spacing_mm[1], spacing_mm[2]))
        array[k], parts = paint_slice(plane, p, trees, nodules, seed)
        for name, part in parts.items():
            masks.setdefault(name, np.zeros(shape, np.uint8))[k] = part
    matrix = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])
    matrix[:3, 3] = (-x[0], -y[0], z[0])
    return Volume(array, matrix, "HU"), masks
