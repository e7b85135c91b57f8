"""Bins of a ring of detectors brought to equal widths, counts kept.

Bin k of a ring of N detectors and radius R covers u from R sin((k - c - 1/2) pi / N) to R sin((k - c + 1/2) pi / N):
the outer ones are narrower. Its counts are shared among bins of equal width by the parts that overlap. With the same
done to the sensitivity, counts still have the mean sensitivity * line integral; those of neighbouring bins are no
longer wholly independent. Source: STIR, ProjDataInfoCylindricalNoArcCorr and ArcCorrection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

COVERED = 0.5
"""Part of an equal bin that detectors must see for it to be kept."""


@dataclass(frozen=True, eq=False)
class ArcCorrection:
    """``shares``: (equal bins, ring bins), the part of each ring bin's counts that an equal bin gets. ``centre_bin``:
    index of the equal bin on the axis of rotation; ``bin_mm``: their width."""

    shares: np.ndarray
    centre_bin: float
    bin_mm: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values over ring bins (last axis) as values over equal bins, their sum kept but for the outermost parts."""
        return np.asarray(values, np.float64) @ self.shares.T


def arc_correction(bins: int, detectors_per_ring: int, radius_mm: float, bin_mm: float) -> ArcCorrection:
    """From ``bins`` ring bins, the one at index bins // 2 on the axis, to bins of ``bin_mm``.

    Raises ValueError for bins that reach around the ring.
    """
    step = math.pi / detectors_per_ring
    angles = (np.arange(bins + 1) - bins // 2 - 0.5) * step
    if np.abs(angles).max() >= math.pi / 2:
        raise ValueError(
            f"expected bins within the ring of {detectors_per_ring} detectors, found {bins}: correct the number of "
            "detectors per ring"
        )
    edges = radius_mm * np.sin(angles)
    half = int(np.abs(edges).max() / bin_mm) + 1
    first = (np.arange(-half, half + 1) - 0.5) * bin_mm
    overlap = np.minimum(edges[1:], first[:, None] + bin_mm) - np.maximum(edges[:-1], first[:, None])
    overlap = np.maximum(overlap, 0)
    kept = np.flatnonzero(overlap.sum(axis=1) >= COVERED * bin_mm)
    shares = overlap[kept] / np.diff(edges)
    return ArcCorrection(shares, float(half - kept[0]), bin_mm)
