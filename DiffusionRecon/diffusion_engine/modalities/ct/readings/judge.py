"""A sinogram looked at with its geometry: what is wrong with it, in order of certainty, before it is solved."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ....physics.arc import seen_arc
from ....physics.levels import air_level
from ....volume import WATER_PER_MM
from ..measurement import Measurement
from .air import doubt_air, masked_air, require_air
from .angles import doubt_order, doubt_sums, gap_remark, question_axes, question_degrees
from .bins import bin_remarks, filled, saturation, unusable
from .look import Look, every_slice, some_slices
from .noise_doubts import doubt_pattern, doubt_stated_noise
from .remark import Judged, Remark
from .stack import blank_slices, denser_slices, question_slices
from .units import question_counts, question_i0, question_line_integrals


def judge(measurement: Measurement, water_per_mm: float = WATER_PER_MM, trusted: bool = False) -> Judged:
    """Everything that is remarked about a measurement, which readings to use, and the measurement to solve.

    ``water_per_mm``: the attenuation that the object is expected to have; ``trusted``: the user vouches for the
    readings, so that what is impossible becomes a remark. Raises ValueError, one sentence, for readings that cannot
    be what they are said to be, unless trusted, and for counts without i0 that see no air. What is good is given back
    unchanged and without a remark.
    """
    found, look = _first(measurement, trusted)
    remarks = list(found.remarks)
    if any(remark.kind in ("no_logarithm", "sign", "no_counts", "axes", "degrees") for remark in remarks):
        return found  # what else such readings show would be nonsense
    from .axis import doubt_axis  # torch is only needed from here on
    from .density import LEAST_VIEWS, MOST, doubt_density, implied_density, mean_density
    from .units import normalised

    seen = seen_arc(look.geometry)
    lines = measurement.kind == "line_integrals"
    remarks += doubt_air(look, lines) + doubt_order(look) + doubt_sums(look) + doubt_pattern(look)
    if lines:
        remarks += doubt_stated_noise(look, measurement.variance)
    offset = None
    if not any(remark.kind == "view_sums" for remark in remarks):
        doubts, offset = doubt_axis(look, seen)
        remarks += doubts
    rough = look.geometry.views < LEAST_VIEWS
    density = mean_density(look) if rough else implied_density(look, seen)
    if density is not None:
        exactly_one = lines and normalised(look)
        remarks += doubt_density(density, water_per_mm, exactly_one, rough)
        if not rough and not exactly_one:
            stack = every_slice(found.measurement, found.used, look.i0)
            remarks += denser_slices(stack, lambda one: implied_density(one, seen), MOST)
    return replace(found, remarks=tuple(remarks), detector_offset_mm=offset)


def first_look(measurement: Measurement, trusted: bool = False) -> Judged:
    """:func:`judge` without what needs a reconstruction: no torch, and quick enough to wait for."""
    return _first(measurement, trusted)[0]


def _first(measurement: Measurement, trusted: bool) -> tuple[Judged, Look]:
    values, geometry = measurement.values, measurement.geometry
    remarks: list[Remark] = []
    used = np.ones(values.shape, bool)
    if measurement.variance is not None:
        used &= np.broadcast_to(np.isfinite(measurement.variance), values.shape)
        if not used.all():
            remarks.append(Remark(
                "infinite_variance", f"{int((~used).sum())} of {used.size} readings have an infinite variance: left "
                "out, with weight zero.", True,
            ))
    counts = measurement.kind == "counts"
    bins, views = unusable(filled(values, used), geometry, measurement.kind)
    used &= ~bins[:, None, :] & ~views[:, :, None]
    remarks += bin_remarks(bins, views)
    if not used.any():
        raise ValueError("no reading shows the object: every view reads the same everywhere")
    if counts:
        saturated, remark = saturation(values, used, measurement.i0)
        used &= ~saturated
        remarks += [] if remark is None else [remark]
    whole = filled(values, used)
    asked = some_slices(replace(measurement, values=whole), used, None)
    i0 = measurement.i0
    questions: list[Remark] = []
    if counts:
        questions += question_counts(asked.readings, asked.used, geometry, trusted)
        if i0 is None and questions:
            i0 = max(1.0, air_level(asked.readings, asked.used))  # vouched for, whatever they are
        elif i0 is None:
            i0 = require_air(asked.readings, asked.used, geometry)
        elif not questions:
            questions += question_i0(asked.readings, asked.used, geometry, i0, trusted)
    else:
        questions += question_line_integrals(asked, trusted)
        masked = masked_air(asked.readings)
        remarks += [] if masked is None else [masked]
    if not questions:
        questions += question_slices(whole, used, geometry, measurement.kind, trusted)
    remarks += blank_slices(measurement.values)
    look = some_slices(replace(measurement, values=whole), used, i0)
    if not questions:
        questions += question_degrees(look, trusted)
        questions += question_axes(look, look.p if counts else whole, trusted)
    seen = seen_arc(geometry)
    gap = gap_remark(geometry, seen.covered_rad, seen.largest_gap_rad, _needed_arc(look))
    given = measurement.variance
    variance = None if given is None else np.where(used, given, np.inf)
    solved = measurement if used.all() else replace(measurement, values=whole, variance=variance)
    return Judged((*questions, *remarks, *gap), used, solved), look


def _needed_arc(look: Look) -> float:
    """The arc of views, in radians, below which a gap is remarked: half a turn, and for fans the object's fan too."""
    if look.geometry.type == "parallel":
        return math.radians(175)
    shadow = np.abs(look.p).mean((0, 1)) > 0.1 * max(look.peak, 1e-30)
    fan = np.abs(look.geometry.fan_angles_rad)[shadow].max() if shadow.any() else 0.0
    return math.radians(175) + float(fan)

