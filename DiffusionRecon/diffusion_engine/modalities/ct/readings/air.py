"""Air beside the object: whether i0 can be estimated from it, and air that was masked. No torch here."""

from __future__ import annotations

import math

import numpy as np

from ....physics.ct_geometry import CTGeometry
from ....physics.levels import air_level
from .bins import filled
from .look import END_BINS, Look, ends_of
from .remark import Remark

_VIEWS = 0.5  # of all must see air at an end
_NEAR = 0.08  # of the air's level
_ALIKE, _DRIFT = 0.005, 0.025  # line integrals: between bins of air; between views of air
_FLAT_VIEWS = 0.9


def require_air(counts: np.ndarray, used: np.ndarray, geometry: CTGeometry) -> float:
    """The air's count of counts (slices, views, detectors); raises ValueError where most views see no air.

    Air is where an outer end of the detector reads the level of most views (to 8 % and noise) and does not fall off
    inwards.
    """
    level = air_level(counts, used)
    whole = filled(counts, used)
    outer, inner = ends_of(whole, geometry), ends_of(whole, geometry, first=END_BINS)
    brighter = outer.argmax(-1)[..., None]
    end = np.take_along_axis(outer, brighter, -1)[..., 0]
    beside = np.take_along_axis(inner, brighter, -1)[..., 0]
    noise = 3 / math.sqrt(END_BINS * max(level, 1.0))
    near = np.abs(end / max(level, 1e-30) - 1) < _NEAR + noise
    flat = np.abs(beside / np.maximum(end, 1e-30) - 1) < 0.02 + noise
    share = float((near & flat).mean())
    if share < _VIEWS:
        raise ValueError(
            f"The unattenuated count i0 cannot be estimated: only {100 * share:.0f} % of the views see air beside the "
            "object, the others are cut off at the detector's ends or uneven there; give i0."
        )
    return level


def doubt_air(look: Look, lines: bool) -> list[Remark]:
    """Doubts where the air beside the object differs from view to view, or, of line integrals, is not 0.

    Air is what reads the same in six bins at either end of the detector, and at both ends, in nine of ten views or
    more; nothing is said of a detector that looks past the object at one end only. ``lines``: they were given as line
    integrals, so that no i0 was estimated.
    """
    outer, inner = ends_of(look.p, look.geometry), ends_of(look.p, look.geometry, first=END_BINS)
    if outer.shape[-1] < 2 or look.peak <= 0:
        return []
    apart = _ALIKE + 4 * look.noise * math.sqrt(2 / END_BINS)
    flat = (np.abs(outer - inner) < apart).all(-1) & (np.abs(outer[..., 0] - outer[..., 1]) < apart)
    if flat.mean() < _FLAT_VIEWS:
        return []
    level = np.median((outer + inner).mean(-1) / 2, axis=0)
    least = _ALIKE + 8 * look.noise / math.sqrt(4 * END_BINS * len(outer))
    low, middle, high = (float(value) for value in np.percentile(level, (5, 50, 95)))
    if high > 0.3 * look.peak:
        return []
    if high - low > _DRIFT + least:
        return [Remark(
            "air_drift", f"The air beside the object reads from {low:.3f} to {high:.3f} in the views, so the light "
            f"changed by {100 * (math.exp(high - low) - 1):.0f} % during the scan: divide every view by its own air.",
            False,
        )]
    if lines and abs(middle) > _DRIFT + least:
        return [Remark(
            "air_offset", f"The air beside the object reads {middle:.3f} instead of 0: i0 or a dark reading was wrong "
            "when the logarithm was taken, or something was subtracted.", False,
        )]
    return []


def masked_air(p: np.ndarray) -> Remark | None:
    """A remark where more than a twentieth of the line integrals is exactly 0: set, not measured."""
    share = float((p == 0).mean())
    if share < 0.05:
        return None
    return Remark(
        "masked_air", f"{100 * share:.0f} % of the readings are exactly 0, such as air that was masked: they say "
        "nothing about the noise, which is taken from the others where it is estimated.", True,
    )
