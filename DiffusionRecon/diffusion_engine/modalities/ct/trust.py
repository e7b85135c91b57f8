"""By which rules CT images are judged. No torch here."""

from __future__ import annotations

import math

import numpy as np

from ...volume import AIR_HU
from ..contract import System, Trust
from .dose import dose
from .fingerprint import RULE, CTFingerprint

RANGE_HU = 2000.0
"""Of the values that a reader looks at: from air to dense bone."""
LEAST_HU = -1100.0
"""Nothing attenuates less than air; the noise of a fitted image may go a little below."""
FLOOR_HU = 2.0
"""Least spread that is believed: where few draws agree by chance, their spread says nothing."""
BODY_HU = -500.0
FEWEST_VIEWS, MOST_VIEWS = 8, 60
"""Numbers of views beyond these are taken for the nearer one: the fit of typical scores has seen no others."""


def body(reference: np.ndarray) -> np.ndarray:
    """The patient in images (slices, rows, columns) in HU, lungs included: above -500 HU, holes filled.

    Air around the patient is left out: it is easy, and would flatter every coverage.
    """
    from scipy import ndimage

    return np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(image > BODY_HU)) for image in reference])


def density_of(views: int) -> float:
    """ln(views / sqrt(8 * 60)), with which typical scores move: 0 in the middle of the range of the fit."""
    return float(np.log(np.clip(views, FEWEST_VIEWS, MOST_VIEWS) / math.sqrt(FEWEST_VIEWS * MOST_VIEWS)))


def density(system: System) -> float:
    """:func:`density_of` the views of some data."""
    return density_of(int(system.data.shape[-2]))


CLASSES = (("air and lung", -math.inf, -400.0), ("soft tissue", -400.0, 150.0), ("bone and contrast", 150.0, math.inf))
"""Of the values of an image in HU."""

TRUST = Trust(RANGE_HU, FLOOR_HU, CTFingerprint, RULE, body, density, AIR_HU, LEAST_HU, dose, classes=CLASSES)
