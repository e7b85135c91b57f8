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

from .intervals import LEVEL, spread_factor

if TYPE_CHECKING:
    from ..problem import Problem
    from ..settings import Settings

FLOOR_HU = 2.0
"""Least spread that is believed: where few draws agree by chance, their spread says nothing."""
BODY_HU = -500.0
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
VIEWS_TOLERANCE, ARC_TOLERANCE, NOISE_FACTOR = 0.25, 0.1, 2.0

RULE = (
    "same solver, options, steps and coupling, geometry and arc (within 10 %), views within 25 %, noise within a "
    "factor of 2"
)


@dataclass(frozen=True)
class Acquisition:
    """What a calibration depends on; ``noise_percent``: of the largest line integral of a slice.

    ``steps``: None where the method has no such option; ``options``: all of the method's, by name.
    """

    geometry: str
    views: int
    arc_degrees: float
    noise_percent: float
    solver: str
    steps: int | None = None
    coupling: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)


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


def matching_entry(entries: Sequence[Mapping[str, Any]], asked: Acquisition, trusted: bool = True) -> Calibration:
    """The nearest entry (in views) that RULE allows; none where the image is unlike the training data."""
    if not trusted:
        return Calibration(None, "The spread is not calibrated: the image is unlike those it was calibrated on.")
    fitting = [entry for entry in entries if _fits(entry, asked)]
    if not fitting:
        return Calibration(
            None, f"The spread is not calibrated for this acquisition (needed: {RULE}): do not read it as an error bar."
        )
    entry = min(fitting, key=lambda e: (abs(math.log(e["views"] / asked.views)), abs(e["draws"])))
    return Calibration(entry, (
        f"The uncertainty was multiplied by {entry['factor']:.2f}: on {entry['slices']} held-out slices scanned with "
        f"{entry['views']} views its 90 % interval held the truth in {100 * entry['coverage90']:.0f} % of the body's "
        f"voxels before and {100 * entry['coverage90_calibrated']:.0f} % after. This is an average over voxels, not a "
        "promise for one place."
    ))


def _fits(entry: Mapping[str, Any], asked: Acquisition) -> bool:
    made = acquisition_in(entry)
    ratio = asked.noise_percent / made.noise_percent
    return bool(
        (made.solver, made.steps, made.coupling, made.options, made.geometry)
        == (asked.solver, asked.steps, asked.coupling, asked.options, asked.geometry)
        and abs(asked.views - made.views) <= VIEWS_TOLERANCE * made.views
        and abs(asked.arc_degrees - made.arc_degrees) <= ARC_TOLERANCE * made.arc_degrees
        and 1 / NOISE_FACTOR <= ratio <= NOISE_FACTOR
    )


def acquisition_of(
    problem: Problem, settings: Settings, steps: int | None, options: Mapping[str, Any]
) -> Acquisition:
    """The acquisition of a problem; the noise is the median over its slices, ``steps`` what the method takes.

    ``options``: of the method, where they are not its defaults.
    """
    likelihood = problem.likelihood
    # Root mean square over the readings where each has its own noise, dead and starved ones left out.
    std = likelihood.noise_levels()
    percent = 100 * std / likelihood.data.amax((-2, -1)).clamp_min(1e-12)
    described = problem.describe()
    return Acquisition(
        described["type"], described["views"], described["arc_degrees"], float(percent.median()), settings.solver,
        steps, settings.coupling, options,
    )


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
