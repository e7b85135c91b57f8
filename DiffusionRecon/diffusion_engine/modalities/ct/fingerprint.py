"""What of a CT scan the calibration of the spread depends on. No torch here until a problem is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import number
from ..rules import near

if TYPE_CHECKING:
    from torch import Tensor

    from ..prepared import Prepared
    from .system import CTSystem

VIEWS_TOLERANCE, ARC_TOLERANCE, NOISE_FACTOR, GAP_FACTOR = 0.25, 0.1, 2.0, 2.0
EVEN = 1.05
"""Unevenness below which the noise is the same for all rays."""
SAMPLED_READINGS = 1 << 17
"""Readings of a slice that tell how uneven its noise is."""

RULE = (
    "geometry and arc (within 10 %), views within 25 % or between two numbers that were calibrated, their largest gap, "
    "the noise and its unevenness within a factor of 2 (equal for all rays or by ray), scatter within a "
    "factor of 2, beam hardening or none, pixels that the prior knows, the whole body in view"
)


@dataclass(frozen=True)
class CTFingerprint:
    """``noise_percent``: of the largest line integral of a slice; ``views``: in different directions.

    ``arc_degrees``: union of what they have seen, within half a turn (parallel) or a turn (fan);
    ``largest_gap_degrees``: between neighbouring ones there, None where evenly spaced; ``noise_range``: 90 over 10 %
    quantile of the readings' standard deviations, 1 for white noise; ``resampled``: the prior worked on other pixels
    than the image's; ``truncated``: the field of view cut the body off; ``scatter_percent``, ``beam_hardening``: what a
    simulated scan had of either.
    """

    geometry: str
    views: int
    arc_degrees: float
    noise_percent: float
    largest_gap_degrees: float | None = None
    noise_range: float = 1.0
    resampled: bool = False
    truncated: bool = False
    scatter_percent: float = 0.0
    beam_hardening: bool = False

    @classmethod
    def of(cls, prepared: Prepared[CTSystem]) -> CTFingerprint:
        """That of a problem; the noise is the median over its slices.

        Readings of infinite variance, which count for nothing, have no part in the noise.
        """
        from ...physics.arc import seen_arc

        system = prepared.delivered
        likelihood, geometry = system.measured, system.geometry
        variance = likelihood.variance.expand(likelihood.data.shape)
        counted = (variance < math.inf).flatten(1)
        # Root mean square over the readings where each has its own noise, dead and starved ones left out.
        std = likelihood.noise_levels()
        largest = likelihood.data.flatten(1).where(counted, 0).amax(1).clamp_min(1e-12)
        seen = seen_arc(geometry)
        ranges = [_range(own[use]) for own, use in zip(variance.flatten(1), counted, strict=True)]
        return cls(
            geometry.type, _directions(geometry.angles_rad, seen.period_rad), math.degrees(seen.covered_rad),
            float((100 * std / largest).median()), math.degrees(seen.largest_gap_rad), float(np.median(ranges)),
            prepared.prior.grid != system.grid, system.truncated, system.scatter_percent, system.beam_hardening,
        )

    @classmethod
    def stored(cls, entry: Mapping[str, Any]) -> CTFingerprint:
        """That of a card's entry; fields that an older entry lacks have their defaults.

        Raises ValueError for numbers that are none, or not positive.
        """
        for name in ("views", "arc_degrees", "noise_percent"):
            if not number(entry[name]) or not entry[name] > 0:
                raise ValueError(
                    f"a calibration in the model card has {name} {entry[name]!r}, expected a positive number: "
                    "calibrate it again"
                )
        return cls(**{own.name: entry[own.name] for own in fields(cls) if own.name in entry})

    @property
    def gap_degrees(self) -> float:
        """The largest gap between views, degrees."""
        if self.largest_gap_degrees is not None:
            return self.largest_gap_degrees
        period = 180.0 if self.geometry == "parallel" else 360.0
        return max(period - self.arc_degrees, 0.0) + self.arc_degrees / self.views

    def entry(self) -> dict[str, Any]:
        """JSON values for a card."""
        return {
            **asdict(self), "arc_degrees": round(self.arc_degrees, 2),
            "largest_gap_degrees": round(self.gap_degrees, 4), "noise_range": round(self.noise_range, 3),
            "noise_percent": round(self.noise_percent, 4),
        }

    def fits(self, asked: CTFingerprint) -> bool:
        """Whether RULE allows to use what was calibrated for this scan for ``asked``."""
        return (
            self.offset(asked) is not None and abs(asked.views - self.views) <= VIEWS_TOLERANCE * self.views
            and near(asked.gap_degrees, self.gap_degrees, GAP_FACTOR)
        )

    def offset(self, asked: CTFingerprint) -> float | None:
        """ln of the ratio of their numbers of views; None where they differ in anything else by more than RULE allows.

        The gaps between views are compared in units of those of as many evenly spaced views.
        """

        def same(a: CTFingerprint) -> tuple[Any, ...]:
            return a.geometry, a.resampled, a.truncated, a.beam_hardening, a.noise_range < EVEN

        alike = (
            same(self) == same(asked)
            and abs(asked.arc_degrees - self.arc_degrees) <= ARC_TOLERANCE * self.arc_degrees
            and near(asked.gap_degrees * asked.views, self.gap_degrees * self.views, GAP_FACTOR)
            and near(asked.noise_percent, self.noise_percent, NOISE_FACTOR)
            and near(asked.noise_range, self.noise_range, NOISE_FACTOR)
            and near(asked.scatter_percent, self.scatter_percent, NOISE_FACTOR)
        )
        return math.log(self.views / asked.views) if alike else None

    def words(self) -> str:
        """Such as "60 views"."""
        return f"{self.views} views"


def _directions(angles_rad: Sequence[float], period_rad: float) -> int:
    """Number of views that are not another one again: the second half turn of parallel beams may only repeat."""
    ordered = np.sort(np.mod(angles_rad, period_rad))
    gaps = np.diff(np.append(ordered, ordered[0] + period_rad))
    return max(1, int((gaps > 1e-3 * period_rad / len(gaps)).sum()))


def _range(variance: Tensor) -> float:
    """90 over 10 % quantile of the standard deviations of a slice's readings."""
    some = variance[:: max(1, len(variance) // SAMPLED_READINGS)].sqrt().cpu().numpy()
    low, high = np.quantile(some, (0.1, 0.9)) if len(some) else (1.0, 1.0)
    return float(high / low)
