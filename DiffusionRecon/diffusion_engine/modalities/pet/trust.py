"""By which rules PET images are judged, in network units: activity differs between patients. No torch here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...physics.activity_scale import activity_scale
from ..contract import Trust
from .fingerprint import RULE, PETFingerprint

RANGE = 1.0
"""Of the values that a reader looks at: from nothing to about SUV 8."""
FLOOR = 0.002
"""Least spread that is believed: where few draws agree by chance, their spread says nothing."""
BODY_SHARE = 0.25
"""The patient is warmer than this share of the mean of a slice's pixels; air is not."""
SMALLEST_PART = 0.02
"""What is less of the largest part of a slice is noise, not body."""
NOISE_SHARE = 1.0
"""With few counts nearly all of the data's norm is noise, and an image can explain no more."""
LEAST, MOST = 0.02, 2.0
"""Million counts beyond these are taken for the nearer one: the fit of typical scores has seen no others."""


def body(reference: np.ndarray) -> np.ndarray:
    """The patient in activities (slices, rows, columns): warm parts, closed over a pixel, their holes filled."""
    from scipy import ndimage

    found = np.zeros(reference.shape, bool)
    for n, image in enumerate(reference):
        warm = image > BODY_SHARE * max(float(np.maximum(image, 0).mean()), np.finfo(np.float32).tiny)
        whole = ndimage.binary_fill_holes(ndimage.binary_closing(ndimage.binary_opening(warm), iterations=2))
        parts, count = ndimage.label(whole)
        if count:
            sizes = np.bincount(parts.ravel())[1:]
            found[n] = np.isin(parts, 1 + np.flatnonzero(sizes >= SMALLEST_PART * sizes.max()))
    return found


def covariates_of(counts: float) -> float:
    """ln(counts / 0.2), counts in millions a slice: typical scores move with it."""
    return math.log(min(max(counts, LEAST), MOST) / math.sqrt(LEAST * MOST))


def covariates(system: Any) -> float:
    """:func:`covariates_of` some data."""
    return covariates_of(system.acquisition.counts)


def typical_scans(generator: np.random.Generator) -> list[dict[str, Any]]:
    """Four acquisitions of 0.02 to 2 million counts a slice, uniform in their logarithm."""
    return [
        {"counts": float(f"{math.exp(generator.uniform(math.log(LEAST), math.log(MOST))):.3g}")} for _ in range(4)
    ]


TRUST = Trust(
    RANGE, FLOOR, PETFingerprint, RULE, body, covariates, 0.0, relative=activity_scale, noise_share=NOISE_SHARE,
)
