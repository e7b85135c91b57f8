"""What the readings are: line integrals, transmissions or counts, per mm or per pixel, with which i0. No torch here."""

from __future__ import annotations

import math

import numpy as np

from ....physics.ct_geometry import CTGeometry
from .look import Look, ends_of
from .remark import Remark, question

_OPAQUE = 20.0
"""No scanner counts anything behind a line integral of more: 2 photons of a billion."""

_FAR, _OFF = 1.5, 1.1  # times i0: refused, doubted
_FLAT_AIR = 0.05  # spread of the logarithm of the air between views


def question_line_integrals(look: Look, trusted: bool) -> list[Remark]:
    """Whether line integrals are none: no logarithm, its sign wrong, or lengths in other units than mm."""
    p = look.readings
    low, high = (float(np.percentile(p, q)) for q in (0.5, 99.5))
    if -low > 3 * max(high, 0.0) and -low > max(0.05, 5 * look.noise):
        return [question(
            "sign", f"The line integrals are negative where the object is, down to {low:.3g}: the sign of the "
            "logarithm is wrong, expected -ln(I / I0).", trusted,
        )]
    if _brightest_beside_the_object(look):
        what = f"they look like counts, with {high:.4g} without an object" if high > 20 else (
            f"they look like the transmitted part I / I0 (largest {high:.3g})")
        advice = "set values to counts" if high > 20 else "take -ln(I / I0)"
        return [question(
            "no_logarithm", f"The readings are largest where there is no object, so they are no line integrals: "
            f"{what}; no logarithm was taken, {advice}.", trusted,
        )]
    if high > _OPAQUE:
        return [question(
            "pixel_units", f"The line integrals reach {high:.3g}, but no body lets exp(-{high:.0f}) of the light "
            "through: expected attenuation per mm times lengths in mm, these may be per cm or lengths in pixels.",
            trusted,
        )]
    return []


def _brightest_beside_the_object(look: Look) -> bool:
    """Whether the outer ends read the same high value in nearly all views and the object lies below it."""
    p = look.readings
    outer, inner = ends_of(p, look.geometry), ends_of(p, look.geometry, first=3)
    level = float(np.median(outer))
    if level <= 0 or level < 0.85 * float(np.percentile(p, 99)):
        return False
    alike = np.abs(outer.max(-1) / level - 1).mean() < 0.15
    flat = abs(float(np.median(inner)) / level - 1) < 0.1
    inside = float(np.median(np.percentile(p, 5, axis=-1)))
    return bool(alike and flat and inside < 0.85 * level)


def normalised(look: Look) -> bool:
    """Whether the largest line integral is exactly 1."""
    return bool(look.readings.max() == 1.0)


def question_counts(counts: np.ndarray, used: np.ndarray, geometry: CTGeometry, trusted: bool) -> list[Remark]:
    """Whether counts are none: transmissions between 0 and 1, or line integrals. ``counts`` of some slices."""
    seen = counts[np.broadcast_to(used, counts.shape)]
    largest = float(np.percentile(seen, 99.5))
    if largest < 4:
        return [question(
            "no_counts", f"The counts reach only {largest:.3g}: they look like transmitted parts I / I0 or line "
            "integrals, expected photons; give -ln(I / I0) with values line_integrals.", trusted,
        )]
    outer = float(np.median(ends_of(counts, geometry).max(-1)))
    middle = float(np.median(np.percentile(counts, 95, axis=-1)))
    if outer < 0.05 * middle:
        return [question(
            "no_counts", f"The counts are smallest beside the object ({outer:.3g}, {middle:.4g} inside): they look "
            "like line integrals in some unit, expected the most photons where there is no object.", trusted,
        )]
    return []


def question_i0(counts: np.ndarray, used: np.ndarray, geometry: CTGeometry, i0: float, trusted: bool) -> list[Remark]:
    """Whether the stated i0 belongs to the counts (of some slices).

    The air's count is that of the brightest bins by their median over the views, averaged over five bins; a stated i0
    above the air is only doubted where the outer ends read the same in all views, as air does.
    """
    allowed = np.broadcast_to(used, counts.shape)
    columns = np.array([
        np.median(counts[..., k][allowed[..., k]]) for k in range(counts.shape[-1]) if allowed[..., k].any()
    ])
    width = min(5, len(columns))
    brightest = float(np.convolve(columns, np.ones(width) / width, "valid").max())
    slack = 4 / math.sqrt(width * max(i0, 1.0))
    factor = brightest / i0
    digits = 0 if factor > 10 else 1
    if factor > _FAR + slack:
        return [question(
            "i0", f"The readings without an object count {brightest:,.0f}, {factor:,.{digits}f} times the stated i0 of "
            f"{i0:g}: correct i0, or leave it out to have it estimated.", trusted,
        )]
    if factor > _OFF + slack:
        return [Remark(
            "i0", f"The brightest readings count {brightest:.4g}, but i0 is stated as {i0:g}: everything would be "
            f"{math.log(factor):.2f} too low in line integrals if i0 is wrong.", False,
        )]
    ends = ends_of(counts, geometry).max(-1)
    level = float(np.median(ends))
    if level <= 0 or level * (_OFF + slack) > i0:
        return []
    spread = float(np.median(np.abs(np.log(np.maximum(ends, 1e-9) / level))))
    inner = float(np.median(ends_of(counts, geometry, first=3).max(-1)))
    noise = 3 / math.sqrt(3 * level)
    if spread < _FLAT_AIR + noise and abs(math.log(max(inner, 1e-9) / level)) < 0.03:
        return [Remark(
            "i0", f"The detector's ends count {level:.4g} in all views, as air does, but i0 is stated as {i0:g}: "
            f"everything would be {math.log(i0 / level):.2f} too high in line integrals if i0 is wrong.", False,
        )]
    return []
