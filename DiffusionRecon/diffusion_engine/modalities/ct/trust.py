"""By which rules CT images are judged. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...volume import AIR_HU
from ..contract import System, Trust
from .dose import dose
from .fingerprint import RULE, CTFingerprint

if TYPE_CHECKING:
    from torch import Tensor

RANGE_HU = 2000.0
"""Of the values that a reader looks at: from air to dense bone."""
LEAST_HU = -1100.0
"""Nothing attenuates less than air; the noise of a fitted image may go a little below."""
FLOOR_HU = 2.0
"""Least spread that is believed: where few draws agree by chance, their spread says nothing."""
BODY_HU = -500.0
SURROGATE_ITERATIONS = 60
"""Of the image whose likeness to the training data is asked for."""
FEWEST_VIEWS, MOST_VIEWS = 8, 120
LEAST_NOISE, MOST_NOISE = 0.03, 3.0
"""Numbers of views, and noise in percent of the largest line integral, beyond these are taken for the nearer one: the
fit of typical scores has seen no others."""


def body(reference: np.ndarray) -> np.ndarray:
    """The patient in images (slices, rows, columns) in HU, lungs included: above -500 HU, holes filled.

    Air around the patient is left out: it is easy, and would flatter every coverage.
    """
    from scipy import ndimage

    return np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(image > BODY_HU)) for image in reference])


def covariates_of(views: int, noise_percent: float) -> tuple[float, float]:
    """ln(views / sqrt(8 * 60)) and ln(noise / 0.2 %), with which typical scores move; of the largest line integral."""
    seen = min(max(views, FEWEST_VIEWS), MOST_VIEWS)
    noise = min(max(noise_percent, LEAST_NOISE), MOST_NOISE)
    return math.log(seen / math.sqrt(8 * 60)), math.log(noise / 0.2)


def covariates(system: System) -> tuple[float, float]:
    """:func:`covariates_of` some data."""
    largest = max(float(system.data.max()), 1e-12)
    return covariates_of(int(system.data.shape[-2]), 100 * system.noise_std / largest)


CLASSES = (("air and lung", -math.inf, -400.0), ("soft tissue", -400.0, 150.0), ("bone and contrast", 150.0, math.inf))
"""Of the values of an image in HU."""

def surrogate(system: Any) -> Iterator[Tensor]:
    """Total variation from the filtered image on: after 60 iterations it hardly depends on the noise of the scan."""
    iterates: Iterator[Tensor] = system.refined(SURROGATE_ITERATIONS)
    return iterates


def typical_scans(generator: np.random.Generator) -> list[dict[str, Any]]:
    """Six scans of 8 to 120 views: Gaussian noise of 0.1 to 1 %, and Poisson of 1e4 to 1e7 photons, in turn."""
    scans: list[dict[str, Any]] = []
    for n in range(6):
        views = generator.uniform(math.log(FEWEST_VIEWS), math.log(MOST_VIEWS))
        scan = {"views": round(math.exp(views)), "geometry": "fan_flat" if n == 5 else "parallel"}
        noise = {"i0": 10 ** generator.uniform(4, 7)} if n % 2 == 0 else {
            "noise_percent": math.exp(generator.uniform(math.log(0.1), 0.0))
        }
        scans.append({**scan, **noise})
    return scans


TRUST = Trust(
    RANGE_HU, FLOOR_HU, CTFingerprint, RULE, body, covariates, AIR_HU, LEAST_HU, dose, classes=CLASSES,
    surrogate=surrogate,
)
