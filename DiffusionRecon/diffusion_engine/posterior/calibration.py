"""From the spread of draws to an error bar that was checked: coverage, and the factor that mends it.

The interval mean +- k s (s: standard deviation of n draws, k: Student's factor for one more exchangeable value) should
hold the truth in 90 % of the voxels. On held-out cases, whose truth is known, the split-conformal factor

    f = the 90 % quantile, with finite-sample correction, of |error| / (k max(s, floor))

makes it so: mean +- k f max(s, floor). It holds for other slices of the same kind scanned in the same way, on average
over their voxels; neither for a single voxel or organ, nor for objects that are unlike them. No torch here.
Sources: Lei et al., doi:10.1080/01621459.2017.1307116; scaled scores, arXiv:2107.07511.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ..physics.arc import seen_arc
from .intervals import LEVEL, spread_factor

if TYPE_CHECKING:
    from torch import Tensor

    from ..modalities.ct.problem import Problem
    from ..run.settings import Settings

FLOOR_HU = 2.0
"""Least spread that is believed: where few draws agree by chance, their spread says nothing."""
BODY_HU = -500.0
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
VIEWS_TOLERANCE, ARC_TOLERANCE, NOISE_FACTOR, GAP_FACTOR = 0.25, 0.1, 2.0, 2.0
SAMPLED_READINGS = 1 << 17
"""Readings of a slice that tell how uneven its noise is."""

RULE = (
    "same solver, options, steps, draws and coupling, geometry and arc (within 10 %), views within 25 %, their largest "
    "gap, the noise and its unevenness within a factor of 2, pixels that the prior knows, the whole body in view"
)


@dataclass(frozen=True)
class Acquisition:
    """What a calibration depends on; ``noise_percent``: of the largest line integral of a slice.

    ``views``: in different directions; ``arc_degrees``: union of what they have seen, within half a turn (parallel) or
    a turn (fan); ``largest_gap_degrees``: between neighbouring ones there, None where evenly spaced; ``draws``: behind
    the spread; ``steps``: None where the method has no such option; ``options``: all of the method's, by name;
    ``noise_range``: 90 over 10 % quantile of the readings' standard deviations, 1 for white noise; ``resampled``: the
    prior worked on other pixels than the image's; ``truncated``: the field of view cut the body off.
    """

    geometry: str
    views: int
    arc_degrees: float
    noise_percent: float
    solver: str
    steps: int | None = None
    coupling: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    draws: int = field(kw_only=True)
    largest_gap_degrees: float | None = field(default=None, kw_only=True)
    noise_range: float = field(default=1.0, kw_only=True)
    resampled: bool = field(default=False, kw_only=True)
    truncated: bool = field(default=False, kw_only=True)

    @property
    def gap_degrees(self) -> float:
        """The largest gap between views, degrees."""
        if self.largest_gap_degrees is not None:
            return self.largest_gap_degrees
        period = 180.0 if self.geometry == "parallel" else 360.0
        return max(period - self.arc_degrees, 0.0) + self.arc_degrees / self.views


def acquisition_in(entry: Mapping[str, Any]) -> Acquisition:
    """The acquisition that a card's entry was made for; fields that an older entry lacks have their defaults.

    One without options fits no run of a method that has any: it was made under defaults that are not known.
    """
    return Acquisition(**{own.name: entry[own.name] for own in fields(Acquisition) if own.name in entry})


def with_entry(entries: Sequence[Mapping[str, Any]], made: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A card's entries and a new one last, in place of any that was made for the very same acquisition."""
    own = acquisition_in(made)
    return [dict(entry) for entry in entries if acquisition_in(entry) != own] + [dict(made)]


@dataclass(frozen=True)
class Calibration:
    """The entry of the card that fits a run, or None, and a sentence for the user."""

    entry: Mapping[str, Any] | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values: matched, factor (1 when not matched), coverage90 and coverage90_calibrated, sentence."""
        entry = self.entry or {}
        return {
            "matched": self.entry is not None, "factor": entry.get("factor", 1.0),
            "coverage90": entry.get("coverage90"), "coverage90_calibrated": entry.get("coverage90_calibrated"),
            "sentence": self.sentence,
        }


def matching_entry(entries: Sequence[Mapping[str, Any]], asked: Acquisition, doubt: str = "") -> Calibration:
    """The nearest entry (in views) that RULE allows; none where there is a ``doubt``, a clause for the user."""
    if doubt:
        return Calibration(None, f"The spread is not calibrated: {doubt}.")
    fitting = [entry for entry in entries if _fits(entry, asked)]
    if not fitting:
        return Calibration(
            None, f"The spread is not calibrated for this acquisition (needed: {RULE}): do not read it as an error bar."
        )
    entry = min(fitting, key=lambda e: abs(math.log(e["views"] / asked.views)))
    return Calibration(entry, (
        f"The uncertainty was multiplied by {entry['factor']:.2f}: on {entry['slices']} held-out slices scanned with "
        f"{entry['views']} views its 90 % interval held the truth in {100 * entry['coverage90']:.0f} % of the body's "
        f"voxels before and {100 * entry['coverage90_calibrated']:.0f} % after. This is an average over voxels, not a "
        "promise for one place."
    ))


def _fits(entry: Mapping[str, Any], asked: Acquisition) -> bool:
    made = acquisition_in(entry)

    def same(a: Acquisition) -> tuple[Any, ...]:
        return a.solver, a.steps, a.coupling, a.options, a.draws, a.geometry, a.resampled, a.truncated

    def near(one: float, other: float, factor: float) -> bool:
        # A little more, so that twice the gap is within a factor of two despite rounding.
        return one <= factor * other * 1.001 and other <= factor * one * 1.001

    return (
        same(made) == same(asked)
        and abs(asked.views - made.views) <= VIEWS_TOLERANCE * made.views
        and abs(asked.arc_degrees - made.arc_degrees) <= ARC_TOLERANCE * made.arc_degrees
        and near(asked.gap_degrees, made.gap_degrees, GAP_FACTOR)
        and near(asked.noise_percent, made.noise_percent, NOISE_FACTOR)
        and near(asked.noise_range, made.noise_range, NOISE_FACTOR)
    )


def acquisition_of(
    problem: Problem, settings: Settings, steps: int | None, options: Mapping[str, Any]
) -> Acquisition:
    """The acquisition of a problem; the noise is the median over its slices, ``steps`` what the method takes.

    ``options``: of the method, where they are not its defaults. Readings of infinite variance, which count for
    nothing, have no part in the noise.
    """
    likelihood, geometry = problem.likelihood, problem.geometry
    variance = likelihood.variance.expand(likelihood.data.shape)
    counted = (variance < math.inf).flatten(1)
    # Root mean square over the readings where each has its own noise, dead and starved ones left out.
    std = likelihood.noise_levels()
    largest = likelihood.data.flatten(1).where(counted, 0).amax(1).clamp_min(1e-12)
    seen = seen_arc(geometry)
    views = _directions(geometry.angles_rad, seen.period_rad)
    percent = float((100 * std / largest).median())
    return Acquisition(
        geometry.type, views, math.degrees(seen.covered_rad), percent, settings.solver, steps, settings.coupling,
        options, draws=settings.draws, largest_gap_degrees=math.degrees(seen.largest_gap_rad),
        noise_range=float(np.median([_range(own[use]) for own, use in zip(variance.flatten(1), counted, strict=True)])),
        resampled=problem.prior_grid != problem.grid, truncated=problem.truncated,
    )


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


def rescaled(std: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    """factor * max(std, floor), HU, float32."""
    return (entry["factor"] * np.maximum(std, entry["floor_hu"])).astype(np.float32)


def conformal_factor(
    error: np.ndarray, std: np.ndarray, draws: int, level: float = LEVEL, floor: float = FLOOR_HU
) -> float:
    """The factor f above; ``error``: mean minus truth, ``std``: of ``draws`` draws, same shape, HU.

    The k-th smallest of m scores, k = ceil((m + 1) level). Raises ValueError where the voxels are too few for that.
    """
    scores = np.sort((np.abs(error) / (spread_factor(draws, level) * np.maximum(std, floor))).ravel())
    rank = math.ceil((scores.size + 1) * level)
    if rank > scores.size:
        raise ValueError(f"expected more than {level / (1 - level):.0f} voxels for a factor, found {scores.size}")
    return float(scores[rank - 1])


def coverage(error: np.ndarray, std: np.ndarray, draws: int, level: float = LEVEL) -> float:
    """Share of voxels where |error| <= k std: ``level`` for the draws of a true posterior."""
    return float((np.abs(error) <= spread_factor(draws, level) * std).mean())


def calibration_error(error: np.ndarray, std: np.ndarray, draws: int) -> float:
    """Mean over LEVELS of |coverage - level|: 0 for a calibrated spread."""
    return float(np.mean([abs(coverage(error, std, draws, level) - level) for level in LEVELS]))


def error_spread_correlation(error: np.ndarray, std: np.ndarray) -> float | None:
    """Pearson's correlation of |error| and std over voxels; None where one of them does not vary."""
    size = np.abs(error).ravel()
    if size.size < 2 or float(np.std(size)) == 0 or float(np.std(std)) == 0:
        return None
    return float(np.corrcoef(size, std.ravel())[0, 1])


def body(reference: np.ndarray) -> np.ndarray:
    """The patient in images (slices, rows, columns) in HU, lungs included: above -500 HU, holes filled.

    Air around the patient is left out: it is easy, and would flatter every coverage.
    """
    return np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(image > BODY_HU)) for image in reference])
