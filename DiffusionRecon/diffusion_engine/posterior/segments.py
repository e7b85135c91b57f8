"""What a segment measures, and how far the draws lie apart there: mean value and volume."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..volume import Volume
from .intervals import spread_of

FIXED_RULE = "all voxels of the mask, the same in every draw"


@dataclass(frozen=True)
class IntensityRule:
    """Voxels inside the segment's mask whose value lies from ``low`` to ``high`` (image unit) count as volume."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"expected low < high in an intensity rule, found {self.low} and {self.high}: swap them")

    def describe(self, unit: str) -> str:
        """One phrase for the user."""
        if math.isinf(self.low) and math.isinf(self.high):
            return FIXED_RULE
        if math.isinf(self.high):
            return f"voxels of the mask from {self.low:g} {unit} up"
        if math.isinf(self.low):
            return f"voxels of the mask up to {self.high:g} {unit}"
        return f"voxels of the mask from {self.low:g} to {self.high:g} {unit}"


@dataclass(frozen=True)
class SegmentInterval:
    """``mean`` value over the mask (image unit) and ``volume_mm3`` by the rule, both of the mean image.

    The intervals go from the smallest to the largest of the draws, or hold a further draw with probability ``level``
    where there is one. They are None with fewer than two draws. The volume's interval is also None without an intensity
    rule, because a fixed mask has one volume. No calibration stretches them: a calibration is of single voxels.
    ``rule``: how the volume was measured, one phrase for the user.
    """

    name: str
    mean: float
    mean_interval: tuple[float, float] | None
    volume_mm3: float
    volume_interval_mm3: tuple[float, float] | None
    rule: str
    level: float | None = None


def segment_intervals(
    mean: Volume,
    draws: Sequence[np.ndarray],
    segments: Mapping[str, np.ndarray],
    rules: Mapping[str, IntensityRule] | None = None,
    *,
    level: float | None = None,
) -> tuple[SegmentInterval, ...]:
    """One row a segment: mean value over its mask and its volume, with their spread over the draws.

    ``draws``: arrays of the mean's shape, may be empty; ``segments``: masks of that shape by name, empty ones are left
    out; ``rules``: by segment name, see :class:`IntensityRule`; ``level``: of prediction intervals, as far as
    :func:`.intervals.claimed_level` allows them, None: smallest to largest. A volume's interval never goes below zero
    or above the mask's volume. The volume in the mean image may lie outside: a mean is smoother than its draws.
    Raises ValueError for shapes that differ and rules of unknown segments, FloatingPointError for NaN or infinity.
    """
    unknown = set(rules or {}) - set(segments)
    if unknown:
        raise ValueError(f"expected rules for the segments {sorted(segments)}, found {sorted(unknown)}: correct a name")
    for name, array in {**{f"draw {n}": draw for n, draw in enumerate(draws, 1)}, **segments}.items():
        if np.shape(array) != mean.array.shape:
            raise ValueError(
                f"expected '{name}' in the mean's shape {mean.array.shape}, found {np.shape(array)}: "
                "give volumes of one result"
            )
    voxel_mm3 = float(abs(np.linalg.det(mean.ijk_to_ras[:3, :3])))
    rows = []
    for name, mask in segments.items():
        inside = np.asarray(mask, dtype=bool)
        if not inside.any():
            continue
        rule = (rules or {}).get(name, IntensityRule())
        values = mean.array[inside].astype(np.float64)
        if not np.isfinite(values).all():
            raise FloatingPointError(f"the mean holds NaN or infinite values in the segment '{name}'")
        per_draw = [draw[inside].astype(np.float64) for draw in draws]
        enough, by_value = len(per_draw) > 1, rule.describe(mean.unit) != FIXED_RULE
        volumes = np.array([_count(draw, rule) * voxel_mm3 for draw in per_draw])
        whole = len(values) * voxel_mm3
        rows.append(
            SegmentInterval(
                name=name,
                mean=float(values.mean()),
                mean_interval=_interval(np.array([draw.mean() for draw in per_draw]), level) if enough else None,
                volume_mm3=_count(values, rule) * voxel_mm3,
                volume_interval_mm3=_interval(volumes, level, 0.0, whole) if enough and by_value else None,
                rule=rule.describe(mean.unit),
                level=level,
            )
        )
    return tuple(rows)


def _count(values: np.ndarray, rule: IntensityRule) -> int:
    return int(np.count_nonzero((values >= rule.low) & (values <= rule.high)))


def _interval(
    values: np.ndarray, level: float | None, least: float = -math.inf, most: float = math.inf
) -> tuple[float, float]:
    low, high = spread_of(values, level)
    return max(low, least), min(high, most)
