"""Whether views and angles belong together: degrees for radians, exchanged axes, sums that differ. No torch here."""

from __future__ import annotations

import math

import numpy as np

from ....physics.ct_geometry import CTGeometry
from .look import Look, outer_ends
from .remark import Remark, question

_FEW_VIEWS = 4  # or fewer: even spread evenly they leave gaps that no prior bridges
_PLAIN_SUMS = 0.1  # spread of the sums of parallel views beyond which the geometry is doubted
_DRIFTING_SUMS = 0.003  # their standard deviation over the mean, beyond which a smooth course is remarked
_SMOOTHER = 3.0  # times the variance that neighbouring views of that course would have if it were noise
_LEAST_VIEWS = 12


def question_degrees(look: Look, trusted: bool) -> list[Remark]:
    """Whether the angles are degrees: they go beyond a turn, and as degrees they make neighbours out of like views.

    Either the steps are even and fill half a turn, a turn or a whole number of tens of degrees, or views in the order
    of the angles as degrees differ from each other by less than 0.7 of what they differ by as radians.
    """
    angles = np.asarray(look.geometry.angles_rad)
    extent = float(angles.max() - angles.min())
    if len(angles) < 4 or extent < 2.2 * math.pi:
        return []
    steps = np.diff(np.sort(angles))
    step = float(np.median(steps))
    even = bool(np.abs(steps - step).max() < 0.02 * step)
    # degrees as people write them: a round step that fills a round arc, with its last view or without
    fills = any(abs(total / 10 - round(total / 10)) < 1e-3 for total in (extent, extent + step))
    whole = fills and extent + step < 361 + step and abs(step * 1000 - round(step * 1000)) < 1e-3
    as_degrees = _roughness(look, np.radians(angles))
    as_radians = _roughness(look, angles)
    likely = as_degrees < 0.7 * as_radians
    possible = as_degrees < 1.1 * as_radians
    if not (likely or (even and whole and possible)):
        return []
    return [question(
        "degrees", f"The angles reach {np.abs(angles).max():g} in steps of about {step:.4g}: they look like degrees, "
        "expected radians (degrees * pi / 180).", trusted,
    )]


def _roughness(look: Look, angles: np.ndarray) -> float:
    """Mean difference of views that follow each other in angle, where they are no more than a tenth of a turn apart.

    Parallel views half a turn apart are mirror images, unless an off-centre detector sees another half in each.
    """
    p, parallel = look.p, look.geometry.type == "parallel" and all(outer_ends(look.geometry))
    period = math.pi if parallel else 2 * math.pi
    if parallel:
        odd = np.floor(angles / math.pi).astype(int) % 2 == 1
        p = np.where(odd[:, None], p[..., ::-1], p)
    angles = np.mod(angles, period)
    order = np.argsort(angles, kind="stable")
    near = np.diff(angles[order]) < max(0.2 * math.pi, 1.5 * period / len(angles))
    if not near.any():
        return math.inf
    between = np.abs(np.diff(p[:, order], axis=1)).mean(-1).mean(0)
    return float(between[near].mean())


def doubt_order(look: Look) -> list[Remark]:
    """Whether the views follow each other as they are stored rather than by their angles: the list is another's."""
    if look.geometry.views < 8:
        return []
    angles = np.asarray(look.geometry.angles_rad)
    by_angle = _roughness(look, angles)
    as_stored = float(np.abs(np.diff(look.p, axis=1)).mean())
    if not as_stored < 0.5 * by_angle < math.inf:
        return []
    return [Remark(
        "order", "Views that follow each other in angle differ twice as much as those that follow each other in the "
        "sinogram: angles_rad may be in another order, or of another scan.", False,
    )]


def question_axes(look: Look, whole: np.ndarray, trusted: bool) -> list[Remark]:
    """Whether axes of equal length are exchanged, so that the shape cannot tell: views with detectors, or with slices.

    The sums of the parallel views of a slice are equal, those of the bins are not; other beams come near to that.
    ``whole``: all slices (slices, views, detectors).
    """
    slices, views, bins = whole.shape
    if views == bins and views >= 16:
        along, across = _unevenness(look.p.sum(2)), _unevenness(look.p.sum(1))
        if along > 0.3 and across < 0.4 * along:
            return [question(
                "axes", f"Views and detectors seem to be exchanged (both are {views}): the sums of the views differ by "
                f"{100 * along:.0f} %, those of the bins by {100 * across:.0f} %, and the former should be equal.",
                trusted,
            )]
    if views == slices and views >= 8:
        sums = whole.sum(2)
        along, across = _unevenness(sums), _unevenness(sums.T)
        if along > 0.1 and across < 0.3 * along:
            return [question(
                "axes", f"Slices and views seem to be exchanged (both are {views}): the sums of the views of a slice "
                f"differ by {100 * along:.0f} %, those of one view of all slices by {100 * across:.0f} %.", trusted,
            )]
    return []


def doubt_sums(look: Look) -> list[Remark]:
    """Whether the sums of parallel views differ, which must all be the mass of the object: Helgason and Ludwig.

    Only where the whole object is seen in every view. Small differences are remarked where they go smoothly with the
    angle, as those of scatter and beam hardening do and those of noise do not, whatever its level.
    """
    p = look.p
    if look.geometry.type != "parallel" or not all(outer_ends(look.geometry)):
        return []
    if look.cut_off > 0 or p.shape[1] < 4 or look.peak <= 0:
        return []
    sums = p.sum(2)
    middle = np.median(sums, axis=1, keepdims=True)
    if (middle <= 0).any():
        return []
    drifting = _drifting(look, sums / middle)
    noise = look.noise * math.sqrt(p.shape[2]) / float(np.abs(middle).min())
    apart = np.abs(sums / middle - 1)
    limit = _PLAIN_SUMS + 5 * noise
    if float(np.percentile(apart, 75)) < limit and float(apart.max()) < 3 * limit:
        return drifting
    worst = int(apart.mean(0).argmax())
    return [Remark(
        "view_sums", f"The sums of the views differ by up to {100 * float(apart.max()):.0f} % (most in view {worst}), "
        "but parallel rays cross the same mass in every view: some may be of another object or another i0.", False,
    )]


def _drifting(look: Look, sums: np.ndarray) -> list[Remark]:
    """A remark where the sums (slices, views), 1 on average, go up and down smoothly with the angle in most slices.

    Their variance is more than _SMOOTHER times half the mean square of the steps between neighbours, which are equal
    for noise of any level (von Neumann, doi:10.1214/aoms/1177731677); steps end where views are missing.
    """
    angles = np.mod(look.geometry.angles_rad, math.pi)
    order = np.argsort(angles, kind="stable")
    near = np.diff(angles[order]) < 2 * math.pi / len(angles)
    if len(angles) < _LEAST_VIEWS or near.sum() < len(angles) / 2:
        return []
    spread = sums.var(1)
    steps = np.diff(sums[:, order], axis=1)[:, near]
    rough = (steps**2).mean(1) / 2
    found = (spread > _DRIFTING_SUMS**2) & (spread > _SMOOTHER * rough)
    if found.mean() <= 0.5:
        return []
    return [Remark(
        "smooth_sums", f"The sums of the views differ by {100 * math.sqrt(float(np.median(spread[found]))):.1f} % "
        "(standard deviation) and follow the angle smoothly, but parallel rays cross the same mass in every view: "
        "scatter, beam hardening or a drift may not be corrected, so values may be several percent wrong.", False,
    )]


def gap_remark(geometry: CTGeometry, covered_rad: float, largest_gap_rad: float, needed_rad: float) -> list[Remark]:
    """A remark where the views cover less than ``needed_rad``, or are so few that gaps are all that is between them."""
    if covered_rad >= needed_rad and geometry.views > _FEW_VIEWS:
        return []
    return [Remark(
        "gap", f"The {geometry.views} views cover {math.degrees(covered_rad):.0f} degrees, the largest gap between "
        f"them is {math.degrees(largest_gap_rad):.0f} degrees: edges along the missing directions are not seen.", True,
    )]


def _unevenness(sums: np.ndarray) -> float:
    """Median over rows of the standard deviation over the mean."""
    return float(np.median(sums.std(1) / np.maximum(np.abs(sums.mean(1)), 1e-30)))
