"""Where to look first: the regions of a result that the draws or the measurement leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..volume import Volume
from .intervals import LEVEL

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Finding:
    """One region. Places are RAS in mm; ``mean_value``, ``interval`` and ``half_width`` are in the image's unit.

    ``reason``: "uncertain", "not seen" or "uncertain and not seen". ``basis`` of the interval of the region's mean:
    "draws" (the mean over the region of each draw) or "map" (mean of the voxels' half widths: the widest case, all
    voxels wrong together). ``half_width``: largest half width of a voxel's interval in the region, at ``peak_ras_mm``.
    ``not_seen_share``: mean share of the variance, 0..1, None without that map. ``segment``: the segment that holds
    most of the region, None outside all.
    """

    number: int
    reason: str
    centre_ras_mm: Place
    peak_ras_mm: Place
    volume_mm3: float
    mean_value: float
    interval: tuple[float, float]
    not_seen_share: float | None
    segment: str | None
    half_width: float
    basis: str


@dataclass(frozen=True, eq=False)
class Regions:
    """The findings, largest first, and ``labels`` (slices, rows, columns) int32: the finding's number, 0 elsewhere."""

    findings: tuple[Finding, ...]
    labels: np.ndarray


def find_regions(
    uncertainty: Volume,
    mean: Volume,
    not_seen_share: Volume | None,
    draws: Sequence[np.ndarray],
    threshold: float,
    share_threshold: float,
    minimum_mm3: float,
    segments: Mapping[str, np.ndarray],
    *,
    draw_count: int | None = None,
    level: float = LEVEL,
) -> Regions:
    """Regions, connected in 3D, whose interval is wide or whose uncertainty the measurement cannot lessen.

    ``uncertainty``: standard deviation in the unit of ``mean``; ``threshold``: half width of a voxel's interval, same
    unit; ``share_threshold``: 0..1, see ``SHARE_FLOOR``; ``segments``: masks of the mean's shape by name;
    ``draw_count``: number of draws behind the map when the draws themselves are not given (None: many).
    """
    raise NotImplementedError


def half_width(uncertainty: np.ndarray, draw_count: int | None, level: float = LEVEL) -> np.ndarray:
    """Half width of every voxel's interval from its standard deviation and the number of draws behind it."""
    raise NotImplementedError
