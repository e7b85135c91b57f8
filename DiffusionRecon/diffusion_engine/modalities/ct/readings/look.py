"""What every judgement looks at: line integrals of some slices with bad readings filled, noise, and the outer ends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ....physics.arc import covers_whole_turn
from ....physics.ct_geometry import CTGeometry
from ....physics.levels import noise_level
from ..measurement import Measurement

SLICES = 4
"""So many slices, evenly spaced, are enough to judge what is the same in all."""

END_BINS = 3
"""Bins that count as an end of the detector."""


def outer_ends(geometry: CTGeometry) -> tuple[bool, bool]:
    """Whether the first and the last bin look past the object: an off-centre detector's near end is in it."""
    u = geometry.detector_u_mm
    if covers_whole_turn(geometry.angles_rad) and min(-u[0], u[-1]) < 0.8 * max(-u[0], u[-1]):
        return (False, True) if u[-1] > -u[0] else (True, False)
    return True, True


@dataclass(frozen=True, eq=False)
class Look:
    """``readings``: of some slices as they were measured, ``used`` where they are readings; ``p``: line integrals.

    ``i0``: of counts, stated or estimated.
    """

    readings: np.ndarray
    used: np.ndarray
    p: np.ndarray
    geometry: CTGeometry
    i0: float | None = None

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the line integrals' noise; 0 where none is seen."""
        return noise_level(self.p, self.used) if self.p.shape[-1] >= 16 else 0.0

    @cached_property
    def peak(self) -> float:
        """Largest line integral but for a few."""
        return float(np.percentile(self.p, 99.5))

    @cached_property
    def ends(self) -> np.ndarray:
        """Mean line integral of the outer ends of the detector, (slices, views, ends)."""
        return ends_of(self.p, self.geometry)

    @cached_property
    def cut_off(self) -> float:
        """Share of the views whose outer ends still see the object."""
        level = max(5 * self.noise / END_BINS**0.5, 0.03 * self.peak)
        return float((self.ends.max(-1) > level).mean())


def ends_of(values: np.ndarray, geometry: CTGeometry, first: int = 0) -> np.ndarray:
    """Means of END_BINS bins at the outer ends, from the ``first`` on counted inwards, (slices, views, ends)."""
    last = values.shape[-1] - first
    parts = (values[..., first:first + END_BINS], values[..., last - END_BINS:last])
    return np.stack([part.mean(-1) for part, outer in zip(parts, outer_ends(geometry), strict=True) if outer], axis=-1)


def some_slices(measurement: Measurement, used: np.ndarray, i0: float | None) -> Look:
    """The look at up to SLICES slices; ``i0`` turns counts into line integrals."""
    total = measurement.values.shape[0]
    which = np.unique(np.linspace(0, total - 1, min(total, SLICES)).round().astype(int))
    return _look_at(measurement, used, i0, which)


def every_slice(measurement: Measurement, used: np.ndarray, i0: float | None) -> Look:
    """The look at all slices."""
    return _look_at(measurement, used, i0, np.arange(measurement.values.shape[0]))


def _look_at(measurement: Measurement, used: np.ndarray, i0: float | None, which: np.ndarray) -> Look:
    readings = measurement.values[which].astype(np.float64)
    p = readings
    if measurement.kind == "counts" and i0 is not None:
        floor = max(1.0, measurement.electronic_std)
        p = np.log(i0 / np.maximum(readings, floor))
    return Look(readings, np.broadcast_to(used, measurement.values.shape)[which], p, measurement.geometry, i0)
