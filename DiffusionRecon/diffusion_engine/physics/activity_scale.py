"""From activity to network units: a robust statistic of an image, the same for training and for reconstruction.

    1 network unit = 5 q,   q = 80th percentile of the voxels above a quarter of the mean of all

Uptake is relative: the same image in Bq/mL, kBq/mL or SUV is the same to a prior. The maximum would follow the
bladder, or noise; a quarter of the mean of all voxels separates body from air, and a hot organ may fill a fifth of the
body before it moves the percentile. In a torso q is SUV 1 to 2, between muscle and liver, and a unit about SUV 8.
"""

from __future__ import annotations

import numpy as np

FOREGROUND = 0.25
PERCENTILE = 80.0
UNIT = 5.0
"""Network unit over the percentile: leaves the usual range of values below 1, as priors in SUV / 10 have it."""


def activity_scale(image: np.ndarray) -> float:
    """The activity that becomes 1, in the image's own unit, of a stack that is at least 0 but for undershoot.

    For reconstruction of an early, smoothed OSEM image (2 iterations of 10 subsets, 5 mm), for training of each volume.
    Raises ValueError for an image that is not finite or without activity.
    """
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("expected a finite activity image, found NaN or infinite voxels: repair those")
    mean = float(np.maximum(values, 0).mean()) if values.size else 0.0
    if not mean > 0:
        raise ValueError("expected an image with activity, found none above 0: check the counts and the background")
    return UNIT * float(np.percentile(values[values > FOREGROUND * mean], PERCENTILE))
