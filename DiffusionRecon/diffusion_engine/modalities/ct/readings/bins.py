"""Readings that are none: dead, stuck and hot detector bins, views without light, saturated counts. No torch here."""

from __future__ import annotations

import math

import numpy as np

from ....physics.ct_geometry import CTGeometry
from ....physics.levels import noise_level
from .remark import Remark, numbers

_STUCK_VIEWS, _OUTLYING_VIEWS = 4, 8  # fewer views say nothing about a bin
_STUCK_SCALE, _OUTLYING_SCALE = 0.05, 0.15  # of the object's readings: how far a bin stands out
_NOISE = 6.0  # standard deviations that it stands out at least
_MOST = 0.9  # of the views
_NEAR_AXIS = 3.0  # bins: a thin dense object there stays in one bin in every view
_FLAT = 0.03  # spread of a view without an object, over that of most views
_END_RUN = 0.05  # of the detector: a longer stuck run at its end is the clipped air
_SATURATED = 0.005  # of the readings at exactly the largest value


def unusable(values: np.ndarray, geometry: CTGeometry, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Bad bins (slices, detectors) and bad views (slices, views), True where there are no readings.

    A bin is bad that stands out from its neighbours on both sides in nearly all views: by 5 % of the object's
    readings if it is stuck at one value, by 15 % if it is not, is at most two bins wide and away from the rotation
    axis. A view is bad whose readings are all (nearly) alike. Counts are compared by their logarithms.
    """
    levels = np.log(np.maximum(values, 1.0)) if kind == "counts" else np.asarray(values)
    spread = levels.max(2) - levels.min(2)
    blank = spread < _FLAT * np.median(spread, axis=1, keepdims=True)
    for index in np.flatnonzero(blank.any(axis=1)).tolist():
        blank[index] &= _whole_beside(levels[index], blank[index], kind)
    axis = (geometry.detector_count - 1) / 2 - geometry.detector_offset_mm / geometry.detector_spacing_mm
    bins = np.zeros((values.shape[0], values.shape[2]), bool)
    for index, (slice_levels, dark) in enumerate(zip(levels, blank, strict=True)):
        bins[index] = _bad_bins(slice_levels[~dark].astype(np.float64), axis, kind)
    return bins, blank


def _whole_beside(levels: np.ndarray, blank: np.ndarray, kind: str) -> bool:
    """Whether the views before and after blank ones show the whole object, which thus did not leave the detector."""
    near = np.flatnonzero(~blank & (np.roll(blank, 1) | np.roll(blank, -1)))
    if not len(near):
        return False
    part = levels[near]
    low, high = np.percentile(part, (5, 95), axis=1)
    air, object_side = (high, low) if kind == "counts" else (low, high)
    ends = np.median(np.stack((np.median(part[:, :5], axis=1), np.median(part[:, -5:], axis=1))), axis=1)
    return bool((np.abs(ends - np.median(air)) < 0.15 * abs(float(np.median(object_side - air)))).all())


def _bad_bins(levels: np.ndarray, axis: float, kind: str) -> np.ndarray:
    """Bad bins of one slice from its levels (views, detectors)."""
    views, count = levels.shape
    bad = np.zeros(count, bool)
    if views < _STUCK_VIEWS or count < 16:
        return bad
    low, high = np.percentile(levels, (2, 98))
    noise, scale = noise_level(levels), high - low
    stuck = levels.max(0) == levels.min(0)
    if stuck.mean() <= 0.5:  # else the object itself looks alike from everywhere, and nothing is noisy
        for start, stop in _runs(stuck):
            away = max(_NOISE * noise, _STUCK_SCALE * scale)
            at_end = start == 0 or stop == count
            # at the detector's end exactly 0 is what masked air reads, the largest count what clipped air reads
            air = levels[0, start] == 0 if kind == "line_integrals" else (
                stop - start > _END_RUN * count and levels[0, start] == levels.max())
            if not (at_end and air) and _outside(levels, start, stop, away) >= _MOST:
                bad[start:stop] = True
    if views >= _OUTLYING_VIEWS:
        smooth = filled(levels[None], ~bad[None, None, :])[0]
        away = max(_NOISE * noise, _OUTLYING_SCALE * scale)
        for width in (1, 2):
            for start in (_outlying(smooth, width, away) + 1).tolist():
                stop = start + width
                near_axis = start - _NEAR_AXIS < axis < stop - 1 + _NEAR_AXIS
                if not near_axis and not bad[start:stop].any():
                    bad[start:stop] = True
    return bad


def _outside(levels: np.ndarray, start: int, stop: int, away: float) -> float:
    """Share of the views in which all of some bins lie beyond their neighbours on either side, on the same side."""
    beside = [levels[:, k] for k in (start - 1, stop) if 0 <= k < levels.shape[1]]
    if not beside:
        return 0.0
    inside = levels[:, start:stop]
    above = inside.min(1) > np.max(beside, axis=0) + away
    below = inside.max(1) < np.min(beside, axis=0) - away
    return float(max(above.mean(), below.mean()))


def _outlying(levels: np.ndarray, width: int, away: float) -> np.ndarray:
    """The bins before all groups of ``width`` bins that stand out from their two neighbours, as :func:`_outside`."""
    last = levels.shape[1] - width - 1
    beside = (levels[:, :last], levels[:, width + 1:])
    inside = [levels[:, k:k + last] for k in range(1, width + 1)]
    above = np.min(inside, axis=0) > np.maximum(*beside) + away
    below = np.max(inside, axis=0) < np.minimum(*beside) - away
    return np.flatnonzero(np.maximum(above.mean(0), below.mean(0)) >= _MOST)


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Starts and ends of what is True without a break."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def filled(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Readings (slices, views, detectors) where those not ``used`` lie on a line between their neighbours.

    Along the detector; a view without any takes the mean of the views before and after it.
    """
    used = np.broadcast_to(used, values.shape)
    if used.all():
        return values
    result = values.copy()
    place = np.arange(values.shape[2])
    for s, v in np.argwhere(~used.all(axis=2)):
        good = used[s, v]
        if good.any():
            result[s, v, ~good] = np.interp(place[~good], place[good], values[s, v, good])
    for s, v in np.argwhere(~used.any(axis=2)):
        whole = np.flatnonzero(used[s].any(axis=1))
        if len(whole):
            near = {int(whole[whole < v].max(initial=whole[0])), int(whole[whole > v].min(initial=whole[-1]))}
            result[s, v] = np.mean([result[s, k] for k in near], axis=0)
    return result


def bin_remarks(bins: np.ndarray, views: np.ndarray) -> list[Remark]:
    """The bad bins and views by number, counted from 0."""
    remarks = []
    everywhere = bins.all(axis=0)
    if everywhere.any():
        found = np.flatnonzero(everywhere)
        remarks.append(Remark(
            "bad_bins", f"{_these('Detector bin', found)} (from 0) {'read' if len(found) > 1 else 'reads'} nothing "
            "that fits the neighbours in any view (dead or hot): left out, with weight zero.", True,
        ))
    own = bins & ~everywhere
    if own.any():
        slices = np.flatnonzero(own.any(axis=1))
        found = np.flatnonzero(own.any(axis=0))
        remarks.append(Remark(
            "bad_bins", f"{_these('Detector bin', found)} (from 0) of {_these('slice', slices)} "
            "read nothing that fits the neighbours in any view (dead or hot): left out there, with weight zero.", True,
        ))
    if views.any():
        found = np.flatnonzero(views.any(axis=0))
        remarks.append(Remark(
            "blank_views", f"{_these('View', found)} (from 0) {'show' if len(found) > 1 else 'shows'} no object (all "
            "readings alike): left out, with weight zero.", True,
        ))
    return remarks


def _these(name: str, found: np.ndarray) -> str:
    return f"{name}{'s' if len(found) > 1 else ''} {numbers(found)}"


def saturation(counts: np.ndarray, used: np.ndarray, i0: float | None) -> tuple[np.ndarray, Remark | None]:
    """Counts at exactly the largest value, where so many are: what to leave out, and the remark.

    They are left out if the stated i0 is larger, since they then hide part of the object's attenuation; where the
    light of the air itself is cut off they are kept.
    """
    nothing = np.zeros(counts.shape, bool)
    allowed = np.broadcast_to(used, counts.shape)
    if not allowed.any():
        return nothing, None
    largest = float(counts[allowed].max())
    at_top = (counts == largest) & allowed
    share = float(at_top.mean())
    just_below = (counts < largest) & (counts >= largest - max(1.0, 3 * math.sqrt(max(largest, 1.0)))) & allowed
    if share < _SATURATED or at_top.sum() < 3 * just_below.sum() or largest < 16:
        return nothing, None
    hidden = i0 is not None and i0 > 1.02 * largest
    fate = "left out, with weight zero" if hidden else "taken as they are"
    advice = "" if hidden or i0 is not None else "; i0 is at least that, give it if it is known"
    return at_top if hidden else nothing, Remark(
        "saturated", f"{100 * share:.1f} % of the readings are exactly the largest one, {largest:g}: the detector is "
        f"saturated there; {fate}{advice}.", True,
    )
