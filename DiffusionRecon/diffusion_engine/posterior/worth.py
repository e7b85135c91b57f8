"""How much a region deserves a reader's time: its spread against the contrast of the tissue around it, and its size."""

from __future__ import annotations

import math

import numpy as np

from .structures import box_voxels

WINDOW_MM = 9.0
"""Edge of the box over which the contrast around a voxel is taken: about the smallest structure that is reported."""

EVEN_SHARE = 0.25
"""Tissue whose contrast stays under this part of the spread is called even: nothing there competes with the spread."""


def local_contrast(image: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Contrast of the tissue around every voxel, float64 in the image's unit: 2 x the standard deviation in a box.

    The box has WINDOW_MM on edge, at the least three voxels along the finest axis and those up to half as coarse again:
    one voxel alone has no contrast. An edge of step h that halves it has contrast h, even
    tissue that of its noise. ``image`` (slices, rows, columns); ``spacing_mm`` in the same order of axes.
    """
    # Imported here: the panel reads this module's names at its opening.
    from scipy.ndimage import uniform_filter

    size = [
        max(3, count) if step <= 1.5 * min(spacing_mm) else count
        for count, step in zip(box_voxels(WINDOW_MM, spacing_mm), spacing_mm, strict=True)
    ]
    # About its mean: the squares of a few thousand lose what small contrasts need.
    values = np.asarray(image, np.float64) - float(np.mean(image, dtype=np.float64))
    mean = uniform_filter(values, size)
    return 2 * np.sqrt(np.maximum(uniform_filter(values**2, size) - mean**2, 0.0))


def diameter_mm(volume_mm3: float) -> float:
    """Diameter of the sphere of this volume."""
    return float((6 * volume_mm3 / math.pi) ** (1 / 3))


def score_mm(spread: float, contrast: float, volume_mm3: float, readable: float = 0.0) -> float:
    """What ranks a region: d w / (w + max(c, r)), in mm; 0 for a region without spread.

    d: :func:`diameter_mm`; w = ``spread``, half the width of the interval of the region's mean, and c = ``contrast``
    around it, both in the image's unit. The fraction is the part of what is seen there that the spread could make or
    hide: one half where they are equal. r = ``readable``: contrasts below it count as that much, so that a spread
    which nobody would see weighs little in even tissue too. As the visibility of a disc, it grows with contrast and
    diameter (A. Rose, 1948, doi:10.1364/JOSA.38.000196).
    """
    if spread <= 0:
        return 0.0
    return diameter_mm(volume_mm3) * spread / (spread + max(contrast, readable))
