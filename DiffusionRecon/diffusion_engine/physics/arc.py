"""What a set of view angles has seen: the arc as the union over half a turn (parallel) or a turn (fan), its gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .ct_geometry import CTGeometry

UNSEEN = 3.0
"""A gap of more than so many median spacings between neighbouring views was not scanned."""


@dataclass(frozen=True)
class SeenArc:
    """``covered_rad``: union of what the views stand for, at most ``period_rad``; ``largest_gap_rad``: between views."""

    covered_rad: float
    largest_gap_rad: float
    period_rad: float


def seen_arc(geometry: CTGeometry) -> SeenArc:
    """The arc of a scan's views, their angles taken modulo half a turn (parallel) or a turn (fan)."""
    period = math.pi if geometry.type == "parallel" else 2 * math.pi
    ordered = np.sort(np.mod(np.asarray(geometry.angles_rad, dtype=np.float64), period))
    gaps = np.diff(np.append(ordered, ordered[0] + period))
    distinct = gaps[gaps > 1e-6]
    spacing = float(np.median(distinct)) if len(distinct) else period
    unseen = gaps[gaps > UNSEEN * spacing]
    return SeenArc(period - float((unseen - spacing).sum()), float(gaps.max()), period)
