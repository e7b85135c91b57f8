"""Whether parallel views turn about the stated rotation axis: their centres of mass, and the FBP's own verdict."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..physics.arc import SeenArc
from ..physics.centre import centre_to_offset_mm, estimate_centre
from .look import Look, outer_ends
from .remark import Remark

_LEAST_VIEWS = 16
_LEAST_ARC_RAD = math.radians(170)
_LEAST_BINS = 0.3  # by which the axis must be off
_SURE = 5.0  # standard errors
_AGREE = 0.35  # bins between the two estimates


def doubt_axis(look: Look, seen: SeenArc) -> tuple[list[Remark], float | None]:
    """A remark and the offset that fits, where two estimates say that the stated axis is off by .3 bins or more.

    The centre of mass of a parallel view, m(theta) = x cos(theta) - y sin(theta) + c, moves as that of the object,
    so that c, which the fit over all views of all slices gives with its error, is how far the axis is off. What it
    says is only believed if :func:`estimate_centre`, which knows nothing of masses, finds the same to .35 bins.
    Nothing is said of fan beams, limited arcs, fewer than 16 views or objects that any view cuts off.
    Source of the moments: Helgason, Acta Math. 113 (1965) 153; Ludwig, Comm. Pure Appl. Math. 19 (1966) 49.
    """
    geometry = look.geometry
    if geometry.type != "parallel" or geometry.views < _LEAST_VIEWS or seen.covered_rad < _LEAST_ARC_RAD:
        return [], None
    if look.cut_off > 0.02 or look.peak <= 0 or not all(outer_ends(geometry)):
        return [], None
    off, error = _mass_axis(look)
    if abs(off) < max(_LEAST_BINS, _SURE * error):
        return [], None
    count, spacing = geometry.detector_count, geometry.detector_spacing_mm
    stated = (count - 1) / 2 - geometry.detector_offset_mm / spacing
    try:
        found = estimate_centre(torch.from_numpy(look.p[len(look.p) // 2][None].copy()), geometry.angles_rad)
    except ValueError:  # no two views are opposite
        return [], None
    if abs(found - stated - off) > _AGREE + 3 * error:
        return [], None
    off = found - stated
    offset = centre_to_offset_mm(found, count, spacing)
    digits = max(0, 2 - math.floor(math.log10(spacing)))
    return [Remark(
        "axis", f"Opposite views fit best with the rotation axis {abs(off):.1f} bins ({abs(off) * spacing:.3g} mm) "
        f"from where it is stated: detector_offset_mm {offset:.{digits}f} instead of {geometry.detector_offset_mm:g} "
        "would put it there.", False,
    )], offset


def _mass_axis(look: Look) -> tuple[float, float]:
    """How many bins the axis lies beyond the stated one by the centres of mass, and the standard error of that."""
    geometry = look.geometry
    u = geometry.detector_u_mm / geometry.detector_spacing_mm
    theta = np.asarray(geometry.angles_rad)
    design = np.stack((np.cos(theta), np.sin(theta), np.ones_like(theta)), axis=1)
    inverse = np.linalg.inv(design.T @ design)
    offsets, errors = [], []
    for p in look.p:
        mass = p.sum(1)
        if mass.min() <= 0.2 * np.median(mass) or np.median(mass) <= 0:
            continue
        centre = (p @ u) / mass
        fitted = inverse @ design.T @ centre
        spread = math.sqrt(float(((centre - design @ fitted) ** 2).sum()) / max(1, len(theta) - 3))
        offsets.append(fitted[2])
        errors.append(spread * math.sqrt(inverse[2, 2]))
    if not offsets:
        return 0.0, math.inf
    return float(np.median(offsets)), float(np.median(errors))
