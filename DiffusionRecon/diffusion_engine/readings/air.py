"""Air beside the object: whether i0 can be estimated from it, and air that was masked. No torch here."""

from __future__ import annotations

import math

import numpy as np

from ..physics.ct_geometry import CTGeometry
from ..physics.levels import air_level
from .bins import filled
from .look import END_BINS, ends_of
from .remark import Remark

_VIEWS = 0.5  # of all must see air at an end
_NEAR = 0.08  # of the air's level


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


def masked_air(p: np.ndarray) -> Remark | None:
    """A remark where more than a twentieth of the line integrals is exactly 0: set, not measured."""
    share = float((p == 0).mean())
    if share < 0.05:
        return None
    return Remark(
        "masked_air", f"{100 * share:.0f} % of the readings are exactly 0, such as air that was masked: they say "
        "nothing about the noise, which is taken from the others where it is estimated.", True,
    )
