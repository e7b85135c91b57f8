"""Whether the views turn about the stated rotation axis: their centres of mass, and the FBP's own verdict."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from ....classical.fbp import view_weights
from ....physics.arc import SeenArc
from ....physics.ct_geometry import CTGeometry
from ..centre import centre_to_offset_mm, estimate_centre
from .look import Look, outer_ends
from .remark import Remark

_LEAST_VIEWS = 8
_MANY_VIEWS = 24  # from here on the FBP has a verdict
_LEAST_ARC_RAD = math.radians(170)
_LARGEST_FAN_GAP_RAD = math.radians(40)
_LEAST_BINS, _ALONE_BINS = 0.3, 0.4  # by which the axis must be off, by two verdicts or by one
_SURE = 5.0  # standard errors
_AGREE = 0.35  # bins between the two estimates


def doubt_axis(look: Look, seen: SeenArc) -> tuple[list[Remark], float | None]:
    """A remark and the offset that fits, where the readings say that the axis is off by .3 bins or more.

    The first verdict comes from the centres of mass of the views, see :func:`parallel_axis` and :func:`fan_axis`.
    Of 24 parallel views or more it is only believed if :func:`estimate_centre`, which knows nothing of masses, finds
    the same to .35 bins; otherwise from .4 bins on. Nothing is said of limited arcs, of fans of less than a whole
    turn, fewer than 8 views, off-centre detectors or objects that a view cuts off.
    """
    geometry = look.geometry
    if geometry.views < _LEAST_VIEWS or look.cut_off > 0.02 or look.peak <= 0 or not all(outer_ends(geometry)):
        return [], None
    parallel = geometry.type == "parallel"
    if parallel and seen.covered_rad < _LEAST_ARC_RAD:
        return [], None
    if not parallel and (seen.covered_rad < 2 * math.pi - 1e-6 or seen.largest_gap_rad > _LARGEST_FAN_GAP_RAD):
        return [], None
    off, error = parallel_axis(look) if parallel else fan_axis(look)
    two = parallel and geometry.views >= _MANY_VIEWS
    if abs(off) < max(_LEAST_BINS if two else _ALONE_BINS, _SURE * error):
        return [], None
    count, spacing = geometry.detector_count, geometry.detector_spacing_mm
    stated = (count - 1) / 2 - geometry.detector_offset_mm / spacing
    if two:
        try:
            middle = torch.from_numpy(look.p[len(look.p) // 2][None].copy())
            found = estimate_centre(middle, geometry.angles_rad, search_bins=3.0)
        except ValueError:  # no two views are opposite
            return [], None
        if abs(found - stated - off) > _AGREE + 3 * error:
            return [], None
        off = found - stated
    offset = centre_to_offset_mm(stated + off, count, spacing)
    digits = max(0, 2 - math.floor(math.log10(spacing)))
    return [Remark(
        "axis", f"Opposite views fit best with the rotation axis {abs(off):.1f} bins ({abs(off) * spacing:.3g} mm) "
        f"from where it is stated: detector_offset_mm {offset:.{digits}f} instead of {geometry.detector_offset_mm:g} "
        "would put it there.", False,
    )], offset


def parallel_axis(look: Look) -> tuple[float, float]:
    """How many bins the axis lies beyond the stated one by the centres of mass, and the standard error of that.

    The centre of mass of a view, m(theta) = x cos(theta) - y sin(theta) + c, moves as that of the object; the fit over
    all views gives c. Source: Ludwig, Comm. Pure Appl. Math. 19 (1966) 49, doi:10.1002/cpa.3160190207.
    """
    geometry = look.geometry
    u = geometry.detector_u_mm / geometry.detector_spacing_mm
    theta = np.asarray(geometry.angles_rad)
    design = np.stack((np.cos(theta), np.sin(theta), np.ones_like(theta)), axis=1)
    inverse = np.linalg.pinv(design.T @ design)
    found = []
    for p in look.p:
        mass = p.sum(1)
        if mass.min() <= 0.2 * np.median(mass):
            continue
        centre = (p @ u) / mass
        fitted = inverse @ design.T @ centre
        spread = math.sqrt(float(((centre - design @ fitted) ** 2).sum()) / max(1, len(theta) - 3))
        found.append((float(fitted[2]), spread * math.sqrt(inverse[2, 2])))
    return _middle(found)


def fan_axis(look: Look) -> tuple[float, float]:
    """The same for a fan beam over a whole turn: the mean distance of all mass from the axis over all directions.

    With s = SID sin(gamma), the parallel ray's distance, and ds dtheta = SID cos(gamma) dgamma dbeta, the mean
    c = sum p s cos(gamma) / sum p cos(gamma) over a whole turn is 0: what the object's place adds cancels out. The
    error is that of the noise, or half of the difference of even and odd views where that is larger.
    """
    geometry, total, error = look.geometry, 0.0, math.inf
    for _ in range(4):  # the formula is linear in the shift only for narrow fans
        moved = replace(geometry, detector_offset_mm=geometry.detector_offset_mm - total * geometry.detector_spacing_mm)
        step, error = _fan_moment(look, moved)
        total += step
        if abs(step) < 0.02:
            break
    return total, error


def _fan_moment(look: Look, geometry: CTGeometry) -> tuple[float, float]:
    """The mean c in bins and its error, with the rays where ``geometry`` has them."""
    assert geometry.fan_distances_mm is not None
    sid, sdd = geometry.fan_distances_mm
    gamma = geometry.fan_angles_rad
    # dgamma of equal bins is equal along an arc, and falls with cos^2 on a flat detector
    measure = np.cos(gamma) ** (3 if geometry.type == "fan_flat" else 1)
    s = sid * np.sin(gamma) / (geometry.detector_spacing_mm * sid / sdd)  # in bins at the isocentre
    order = np.argsort(np.mod(geometry.angles_rad, 2 * math.pi), kind="stable")
    parts = [(views, view_weights(tuple(np.asarray(geometry.angles_rad)[views]), 2 * math.pi)[0][:, None] * measure)
             for views in (order, order[::2], order[1::2])]
    found = []
    for p in look.p:
        masses = [float((weights * p[views]).sum()) for views, weights in parts]
        if min(masses) <= 0:
            continue
        means = [float((weights * p[views] * s).sum()) / mass
                 for (views, weights), mass in zip(parts, masses, strict=True)]
        noise = look.noise * float(np.sqrt(((measure * s) ** 2).sum() * len(p))) / float((p * measure).sum())
        found.append((means[0], max(noise, abs(means[1] - means[2]) / 2)))
    return _middle(found)


def _middle(found: list[tuple[float, float]]) -> tuple[float, float]:
    """Medians over slices of offsets and errors; no slice is no verdict."""
    if not found:
        return 0.0, math.inf
    offsets, errors = np.median(np.asarray(found), axis=0)
    return float(offsets), float(errors)
