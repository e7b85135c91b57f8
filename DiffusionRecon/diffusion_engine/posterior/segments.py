"""What a segment measures, and between which ends: mean value and volume over the draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..volume import Volume
from .intervals import LEVEL


@dataclass(frozen=True)
class IntensityRule:
    """Voxels inside the segment's mask whose value lies from ``low`` to ``high`` (image unit) belong to it."""

    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class SegmentInterval:
    """``mean`` value (image unit; NaN is never given: None when no voxel obeys the rule) and ``volume_mm3``.

    The intervals are None when there are fewer than two draws; the volume's also when the mask alone gives it.
    ``rule``: how the volume was measured, one phrase for the user.
    """

    name: str
    mean: float
    mean_interval: tuple[float, float] | None
    volume_mm3: float
    volume_interval_mm3: tuple[float, float] | None
    rule: str


def segment_intervals(
    mean: Volume,
    draws: Sequence[np.ndarray],
    segments: Mapping[str, np.ndarray],
    rules: Mapping[str, IntensityRule] | None = None,
    *,
    level: float = LEVEL,
) -> tuple[SegmentInterval, ...]:
    """One row a segment: the mean value over its mask and its volume, of the mean image and over the draws."""
    raise NotImplementedError
