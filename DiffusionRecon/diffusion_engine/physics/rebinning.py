"""Single-slice rebinning: oblique sinograms of a cylindrical scanner added to the direct planes half-way.

A line between rings r1 and r2 is taken for one in the direct plane r1 + r2 (planes are half a ring apart). The error:
at the distance rho from the axis a line of axial extent d, of a scanner of radius R, passes up to rho d / (2 R) above
or below that plane, which blurs slices off the axis; and the path in each slice is longer by the secant of the angle,
sqrt(1 + (d / 2 R)^2). Sums, not means, are formed, so that counts stay Poisson; a factor of each line is summed with
them. Source: Daube-Witherspoon and Muehllehner, J. Nucl. Med. 28 (1987) 1717.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Segment:
    """Sinograms of one obliqueness, axially in order.

    ``counts``: (planes, angles, bins); ``first_plane``: r1 + r2 of the first, ``step``: r1 + r2 from one to the next,
    1 where ring differences are combined (span) and 2 for a single one; ``ring_difference``: mean of r2 - r1.
    """

    counts: np.ndarray
    first_plane: int
    step: int
    ring_difference: float

    @property
    def planes(self) -> range:
        """The direct planes r1 + r2 that its sinograms belong to."""
        return range(self.first_plane, self.first_plane + self.step * len(self.counts), self.step)


def single_slice_rebinned(
    segments: Sequence[Segment], rings: int, factors: Sequence[np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the sinograms of each direct plane, and sums of the factors of their lines.

    Both (2 rings - 1, angles, bins). ``factors``: relative sensitivity times attenuation of each segment's bins,
    broadcastable to its counts; 1 unless given, so that the second result is the number of lines. With it as the
    efficiency the rebinned counts obey y = Poisson(factor * P x): also where planes hold different numbers of lines.
    Randoms and scatter are rebinned as counts are. Raises ValueError for no segments, other angles or bins, or planes
    beyond the scanner.
    """
    if not segments:
        raise ValueError("expected at least one segment of sinograms, found none: give the direct planes")
    shape = segments[0].counts.shape[1:]
    counts = np.zeros((2 * rings - 1, *shape), np.float64)
    weights = np.zeros_like(counts)
    given = [np.ones(1)] * len(segments) if factors is None else list(factors)
    if len(given) != len(segments):
        raise ValueError(f"expected factors of {len(segments)} segments, found {len(given)}: give one array for each")
    for segment, factor in zip(segments, given, strict=True):
        if segment.counts.ndim != 3 or segment.counts.shape[1:] != shape:
            raise ValueError(f"expected sinograms (planes, {shape[0]}, {shape[1]}) in every segment, found "
                             f"{segment.counts.shape}: all must have the same angles and bins")
        planes = segment.planes
        if len(planes) and not (planes[0] >= 0 and planes[-1] <= 2 * rings - 2):
            raise ValueError(f"expected direct planes 0 to {2 * rings - 2} of {rings} rings, found {planes[0]} to "
                             f"{planes[-1]}: check the number of rings and the segment's first plane")
        at = slice(planes.start, planes.stop, planes.step)
        counts[at] += segment.counts
        weights[at] += np.broadcast_to(factor, segment.counts.shape)
    return counts.astype(np.float32), weights.astype(np.float32)


def axial_error_mm(distance_mm: float, ring_difference: float, ring_spacing_mm: float, radius_mm: float) -> float:
    """rho d / (2 R): how far from its direct plane a rebinned line passes, at most, at ``distance_mm`` off the axis."""
    return abs(distance_mm * ring_difference * ring_spacing_mm) / (2 * radius_mm)


def path_error(ring_difference: float, ring_spacing_mm: float, radius_mm: float) -> float:
    """sqrt(1 + (d / 2 R)^2) - 1: by what share a rebinned line's path in a slice is longer than a direct one's."""
    return math.hypot(1.0, ring_difference * ring_spacing_mm / (2 * radius_mm)) - 1
