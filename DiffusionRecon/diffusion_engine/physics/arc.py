"""What a set of view angles has seen: the arc as the union over half a turn (parallel) or a turn (fan), its gaps.

One rule says what was not scanned, for weights, reports and remarks alike: a gap between neighbouring views of more
than three times every one of the two gaps on either side of it, and of more than three median gaps. Views whose
density changes along the arc, pairs of views and a few views far apart leave no such gap; a limited arc, or one in
blocks, does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .ct_geometry import CTGeometry

UNSEEN = 3.0
"""A gap of more than so many spacings beside it between neighbouring views was not scanned."""

_SAME_RAD = 1e-6


@dataclass(frozen=True)
class SeenArc:
    """``covered_rad``: union of what the views stand for, at most ``period_rad``; ``largest_gap_rad``: between two."""

    covered_rad: float
    largest_gap_rad: float
    period_rad: float


class Gaps(NamedTuple):
    """Views in the order of their angles, and the gap after each; all but ``order`` in radians, shape (views,).

    ``unseen``: the gap was not scanned; ``before`` and ``after``: how far the views on its two sides reach into it,
    half of it unless it was not scanned.
    """

    order: np.ndarray
    angles: np.ndarray
    gaps: np.ndarray
    unseen: np.ndarray
    before: np.ndarray
    after: np.ndarray


def view_gaps(angles_rad: tuple[float, ...], period_rad: float) -> Gaps:
    """The gaps between neighbouring views, their angles taken modulo the period, and which were not scanned.

    A view beside a gap that was not scanned reaches into it by half of the larger of the two gaps on its other side.
    """
    angles = np.mod(np.asarray(angles_rad, dtype=np.float64), period_rad)
    order = np.argsort(angles, kind="stable")
    ordered = angles[order]
    gaps = np.diff(np.append(ordered, ordered[0] + period_rad))
    apart = np.flatnonzero(gaps > _SAME_RAD)  # views at one angle have no gap between them
    between = gaps[apart]
    unseen = np.zeros(len(gaps), bool)
    before, after = gaps / 2, gaps / 2
    if len(between) > 1:
        steps = (1, 2) if len(between) > 2 else (1,)
        left = np.max([np.roll(between, step) for step in steps], axis=0)
        right = np.max([np.roll(between, -step) for step in steps], axis=0)
        median = np.sort(between)[(len(between) - 1) // 2]
        missing = between > UNSEEN * np.maximum(np.maximum(left, right), median)
        unseen[apart] = missing
        before[apart] = np.where(missing, left / 2, between / 2)
        after[apart] = np.where(missing, right / 2, between / 2)
    return Gaps(order, ordered, gaps, unseen, before, after)


def seen_arc(geometry: CTGeometry) -> SeenArc:
    """The arc of a scan's views, their angles taken modulo half a turn (parallel) or a turn (fan).

    A single angle has seen no arc.
    """
    period = math.pi if geometry.type == "parallel" else 2 * math.pi
    found = view_gaps(geometry.angles_rad, period)
    if float(found.gaps.max()) > period - _SAME_RAD:
        return SeenArc(0.0, period, period)
    lost = (found.gaps - found.before - found.after)[found.unseen]
    return SeenArc(period - float(lost.sum()), float(found.gaps.max()), period)


def covers_whole_turn(angles_rad: tuple[float, ...]) -> bool:
    """Whether no gap of a whole turn is 30 degrees or wider: what one end of the detector misses the other sees."""
    ordered = np.sort(np.mod(angles_rad, 2 * math.pi))
    return bool(np.diff(np.append(ordered, ordered[0] + 2 * math.pi)).max() < math.radians(30))
