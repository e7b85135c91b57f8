"""Hot spots that an image shows and the truth does not have, and how a patch of even uptake comes out."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

SMOOTH_MM = 4.0
"""Standard deviation by which both images are smoothed first: a spot is wider than a pixel's noise."""
SHARE, LEAST = 1.0, 0.05
"""A spot exceeds the truth around by this share of it, and by this many network units."""
DIAMETER_MM = 8.0
"""Of the disc whose area a spot has at least."""


def invented(image: np.ndarray, truth: np.ndarray, pixel_mm: tuple[float, float], unit: float) -> int:
    """Number of spots of a slice (rows, columns) where it is twice as hot as the hottest truth within 8 mm.

    ``pixel_mm``: of rows and columns; ``unit``: of a network unit, in that of the images.
    """
    smooth = [SMOOTH_MM / width for width in pixel_mm]
    shown, real = (ndimage.gaussian_filter(part.astype(np.float64), smooth) for part in (image, truth))
    near = ndimage.maximum_filter(real, [2 * math.ceil(DIAMETER_MM / width) + 1 for width in pixel_mm])
    labels, count = ndimage.label(shown - near > np.maximum(SHARE * near, LEAST * unit))
    least = math.pi / 4 * DIAMETER_MM**2 / (pixel_mm[0] * pixel_mm[1])
    return int((np.bincount(labels.ravel())[1:] >= least).sum()) if count else 0


def patch_error(image: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Mean of a patch ``where`` over that of the truth, less 1: its mean over noise is bias, its deviation noise."""
    return float(image[where].mean() / truth[where].mean() - 1)
