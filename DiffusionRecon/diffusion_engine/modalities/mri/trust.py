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
NOISE_SHARE = 0.5
"""Signal lies in the middle of k-space, and what was read beyond it is noise in good scans too. Found: shares of 0.06
to 0.42 on real acquisitions of brains and phantoms; 1 is noise alone, which an image of many coils fits to half.
"""
LEAST, MOST = 2.0, 10.0
LEAST_NOISE, MOST_NOISE = 0.3, 3.0
"""Accelerations, and noise in percent of the brightest values, beyond these are taken for the nearer one: the fit of
typical scores has seen no others."""


def body(reference: np.ndarray) -> np.ndarray:
    """The patient in magnitudes (slices, rows, columns): bright parts, their holes (bone, air) filled."""
    from scipy import ndimage

    bright = reference > BODY_SHARE * np.percentile(reference, 99.9)
    return np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(image)) for image in bright])


def covariates_of(acceleration: float, noise_percent: float) -> tuple[float, float]:
    """-ln(acceleration / sqrt(2 * 10)), larger where more was measured, and ln(noise / 1 %)."""
    seen = min(max(acceleration, LEAST), MOST)
    noise = min(max(noise_percent, LEAST_NOISE), MOST_NOISE)
    return -math.log(seen / math.sqrt(LEAST * MOST)), math.log(noise)


def covariates(system: Any) -> tuple[float, float]:
    """:func:`covariates_of` some data."""
    return covariates_of(system.acquisition.acceleration, system.acquisition.noise_percent)


def typical_scans(generator: np.random.Generator) -> list[dict[str, Any]]:
    """Four acquisitions of 2- to 10-fold acceleration and noise of 0.3 to 3 %, uniform in their logarithms."""
    return [
        {
            "acceleration": round(math.exp(generator.uniform(math.log(LEAST), math.log(MOST))), 2),
            "noise_percent": math.exp(generator.uniform(math.log(LEAST_NOISE), math.log(MOST_NOISE))),
        }
        for _ in range(4)
    ]


TRUST = Trust(
    RANGE, FLOOR, MRIFingerprint, RULE, body, covariates, relative=network_unit, noise_share=NOISE_SHARE,
)
