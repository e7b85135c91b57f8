"""Places of a map that stand out from its null, of which a reader is warned. No torch here.

A map z is in standard deviations of its null, see :mod:`.null`. Its peaks above a threshold, at least APART_MM from
each other, are warnings. The threshold is the height that peaks of ordinary held-out images exceed once in SLICES
slices, by an exponential tail of the largest of them (peaks over threshold, doi:10.1214/aos/1176343003):

    t = u + b ln(m / w),    b = mean(p_1 - u .. p_m - u),    w: as many as are allowed in the slices that were seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..volume import Volume

APART_MM = 4.0
SLICES = 32
"""One false alarm in so many slices is allowed."""
TAIL = 20
"""So many of the largest peaks tell how the tail falls."""
LOWEST = 1.5
"""Below it nothing counts as a peak."""

Place = tuple[float, float, float]


@dataclass(frozen=True)
class MapWarning:
    """A peak of a map: ``ras`` in mm, its ``z``, ``size_mm``: diameter of a disc of the area where the map keeps half
    of the peak, in its slice; ``slice``: that slice of the map, from 0."""

    ras: Place
    z: float
    size_mm: float
    slice: int


def warnings_of(z: Volume, threshold: float) -> list[MapWarning]:
    """The warnings of a map, the largest |z| first."""
    columns, rows, slices = np.linalg.norm(z.ijk_to_ras[:3, :3], axis=0).tolist()
    found = []
    for k, j, i in peaks(z.array, (slices, rows, columns), threshold):
        right, anterior, superior = (z.ijk_to_ras[:3] @ [i, j, k, 1.0]).tolist()
        size = _diameter_mm(z.array[k], (j, i), rows * columns)
        found.append(MapWarning((right, anterior, superior), float(z.array[k, j, i]), size, k))
    return found


def peaks(z: np.ndarray, spacing_mm: Sequence[float], threshold: float) -> list[tuple[int, int, int]]:
    """Indices (k, j, i) of the local maxima of |z| from ``threshold`` on, at least APART_MM apart, the largest first.

    ``z`` and ``spacing_mm`` along (slices, rows, columns). Raises FloatingPointError for NaN or infinity.
    """
    from scipy.ndimage import maximum_filter

    size = np.abs(z)
    if not np.isfinite(size).all():
        raise FloatingPointError("a map holds NaN or infinite values: it cannot warn of anything")
    candidates = np.argwhere((size >= threshold) & (size == maximum_filter(size, 3, mode="nearest")))
    candidates = candidates[np.argsort(-size[tuple(candidates.T)], kind="stable")]
    places = candidates * np.asarray(spacing_mm)
    kept: list[int] = []
    for n, place in enumerate(places):
        if not kept or float(np.linalg.norm(places[kept] - place, axis=1).min()) >= APART_MM:
            kept.append(n)
    return [(int(k), int(j), int(i)) for k, j, i in candidates[kept]]


def heights(z: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """|z| of the peaks of slices (slices, rows, columns), each for itself: they need not be neighbours."""
    found = [
        [abs(float(one[place])) for place in peaks(one, spacing_mm, LOWEST)] for one in np.split(z, len(z))
    ]
    return np.array([height for own in found for height in own])


def threshold_of(found: np.ndarray, slices: int, allowed: float = 1.0) -> float:
    """The height that peaks exceed ``allowed`` times in SLICES slices; ``found``: heights in ``slices`` of them.

    Never below what as many of the peaks themselves exceed. Raises ValueError for fewer than two peaks.
    """
    if len(found) < 2 or slices < 1:
        raise ValueError(
            f"expected two peaks or more for the threshold of a map, found {len(found)} in {slices} slices: calibrate "
            "on more slices"
        )
    ordered = np.sort(found)[::-1]
    wanted = allowed * slices / SLICES
    count = min(max(TAIL, math.ceil(2 * wanted)), len(ordered) - 1)
    base = float(ordered[count])
    tail = base + float(np.mean(ordered[:count] - base)) * math.log(max(1.0, count / wanted))
    seen = float(ordered[min(math.floor(wanted), len(ordered) - 1)])
    # A hair above: the peak itself is then no alarm.
    return max(tail, seen * (1 + 1e-6))


def _diameter_mm(z: np.ndarray, peak: tuple[int, int], pixel_mm2: float) -> float:
    from scipy.ndimage import label

    numbers, _ = label(z * np.sign(z[peak]) >= abs(z[peak]) / 2)
    return 2 * math.sqrt(float(np.count_nonzero(numbers == numbers[peak])) * pixel_mm2 / math.pi)
