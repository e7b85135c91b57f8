"""Whether a volume's values look like magnitudes of MR. No torch here."""

from __future__ import annotations

import numpy as np

from ...volume import Volume

SAMPLE = 1_000_000
"""About so many voxels, evenly spread, are looked at."""
NEGATIVE, NEGATIVE_SHARE = -0.02, 1e-3
"""Magnitudes are not negative; so many voxels below this share of the brightest speak of another kind of image."""
FEWEST_VALUES = 24
"""An image has more different values, a map of labels fewer."""
COARSE_MM, UPTAKE = 2.5, 0.42
"""Pixels as wide as PET's, and most of the foreground below this share of the brightest: uptake, not anatomy. Found on
PET: pixels from 3.9 mm and a median of up to 0.39, on MR of such pixels 0.5 and more, on other MR pixels below 1.6 mm.
"""


def question_mr(volume: Volume) -> str | None:
    """A sentence when the values do not look like magnitudes of MR, None when they do.

    A question to the user, no proof. Voxels must be finite.
    """
    if volume.unit not in ("a.u.", ""):
        return f"The values are in {volume.unit}, magnitudes of MR without a unit were expected: is this an MR image?"
    values = volume.array.reshape(-1)[:: max(1, volume.array.size // SAMPLE)].astype(np.float64)
    low, high = float(values.min()), float(np.percentile(np.abs(values), 99.9))
    found = f"values from {low:.4g} to {float(values.max()):.4g}"
    if high == 0:
        return f"The image holds {found}, no signal: choose another image."
    if (values < NEGATIVE * high).mean() > NEGATIVE_SHARE:
        like = "as CT in HU has" if low <= -500 else "as magnitudes have none"
        return f"The image holds {found}, negative ones {like}: is this a magnitude image of MR?"
    if len(np.unique(values)) < FEWEST_VALUES:
        return f"The image holds {len(np.unique(values))} different values, like a map of labels: is this an MR image?"
    bright = values[values > 0.1 * high]
    pixel = min(volume.spacing_mm[:2])
    if pixel >= COARSE_MM and np.median(bright) < UPTAKE * high:
        return (
            f"Pixels of {pixel:.3g} mm and a few spots much brighter than the rest look like PET: is this a magnitude "
            "image of MR?"
        )
    return None
