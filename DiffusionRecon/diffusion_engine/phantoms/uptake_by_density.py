"""FDG that follows the CT number: images of known truth for an evaluation, by a rule that no prior was trained with.

Uptake is one curve of the CT number, a little more on one side of the body than on the other, with a few hot balls; the
activities that priors learn from are drawn by region and know no such curve, see :mod:`.activity`.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..volume import Volume
from .activity import at_resolution, body_of

HU = (-1000.0, -850.0, -650.0, -300.0, -110.0, -70.0, -20.0, 25.0, 50.0, 75.0, 120.0, 200.0, 350.0, 800.0, 1500.0)
SUV = (0.0, 0.3, 0.5, 0.45, 0.2, 0.25, 0.5, 0.8, 1.1, 1.9, 2.5, 3.0, 1.6, 0.9, 0.4)
"""The curve: lung, fat, muscle, parenchyma, what contrast medium or blood fills, marrow, compact bone."""
AIR_HU = -900.0
"""A CT reaches below: images that do not are none."""
FINE_MM, PIXEL_MM, SMOOTH_MM, RESOLUTION_MM = 2.0, 4.0, 5.0, 5.5
TILT = 0.15
BALLS, RADII_MM, HOT = 6, (5.0, 13.0), (3.0, 10.0)


def uptake_by_density(ct: Volume, seed: int = 0) -> Volume | None:
    """Activity in SUV (float32) on pixels of about 4 mm at a scanner's resolution; None for what is no CT of a body.

    ``ct``: values in HU, whatever unit it names, slices along its third axis.
    """
    if not float(ct.array.min()) <= AIR_HU:
        return None
    wide = min(ct.spacing_mm[:2])
    ct = ct.bin_in_plane((max(1, round(FINE_MM / wide)),) * 2)
    columns_mm, rows_mm, slices_mm = ct.spacing_mm
    spacing = (slices_mm, rows_mm, columns_mm)
    hu = ct.array.astype(np.float64)
    try:
        whole = body_of(hu, spacing).whole
    except ValueError:
        return None
    smooth = ndimage.gaussian_filter(np.clip(hu, HU[0], HU[-1]), [0, *(SMOOTH_MM / 2.3548 / s for s in spacing[1:])])
    activity = np.interp(smooth, HU, SUV) * (1 + TILT * np.linspace(-1, 1, hu.shape[2]))
    _balls(activity, whole, spacing, np.random.default_rng((seed, 57)))
    activity = np.where(whole, activity, 0.0)
    parts = max(1, round(PIXEL_MM / min(columns_mm, rows_mm)))
    shown = at_resolution(activity, spacing, RESOLUTION_MM, parts)
    if not shown.max() > 0:
        return None
    matrix = ct.bin_in_plane((parts, parts)).ijk_to_ras
    return Volume(shown, matrix, "SUV")


def _balls(
    activity: np.ndarray, whole: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> None:
    """Hot balls about places in the body, in place."""
    places = np.argwhere(whole)
    for _ in range(BALLS if len(places) else 0):
        middle, radius, value = places[rng.integers(len(places))], rng.uniform(*RADII_MM), rng.uniform(*HOT)
        half = np.ceil(radius / np.asarray(spacing_mm)).astype(int)
        box = tuple(slice(max(m - h, 0), m + h + 1) for m, h in zip(middle, half, strict=True))
        away = [
            ((np.arange(part.start, part.start + activity[box].shape[n]) - middle[n]) * spacing_mm[n]) ** 2
            for n, part in enumerate(box)
        ]
        inside = away[0][:, None, None] + away[1][None, :, None] + away[2][None, None] <= radius**2
        activity[box][inside] = value
