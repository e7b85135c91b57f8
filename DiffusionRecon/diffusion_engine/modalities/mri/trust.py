"""By which rules MR images are judged, in network units: the values of their files have no unit. No torch here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..contract import Trust
from .fingerprint import RULE, MRIFingerprint
from .scale import network_unit

RANGE = 1.0
"""Of the values that a reader looks at: from nothing to the 99.5th percentile of the foreground."""
FLOOR = 0.002
"""Least spread that is believed: where few draws agree by chance, their spread says nothing."""
BODY_SHARE = 0.1
"""The patient is brighter than this share of a stack's 99.9th percentile; air, noise and artefacts are not."""
LEAST, MOST = 2.0, 12.0
"""Accelerations beyond these are taken for the nearer one: the fit of typical scores has seen no others."""


def body(reference: np.ndarray) -> np.ndarray:
    """The patient in magnitudes (slices, rows, columns): bright parts, their holes (bone, air) filled."""
    from scipy import ndimage

    bright = reference > BODY_SHARE * np.percentile(reference, 99.9)
    return np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(image)) for image in bright])


def covariate_of(acceleration: float) -> float:
    """-ln of the acceleration around the middle of the fit's range: larger where more was measured."""
    return float(-np.log(np.clip(acceleration, LEAST, MOST) / math.sqrt(LEAST * MOST)))


def covariates(system: Any) -> float:
    """:func:`covariate_of` some data."""
    return covariate_of(system.acquisition.acceleration)


TRUST = Trust(RANGE, FLOOR, MRIFingerprint, RULE, body, covariates, relative=network_unit)
