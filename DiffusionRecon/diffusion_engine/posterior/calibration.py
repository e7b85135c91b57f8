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
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..modalities.contract import Fingerprint, Trust
from .intervals import LEVEL, spread_factor

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)

RULE = "same solver, options, steps, draws and coupling, "
"""What every modality asks for; its own rule follows."""


@dataclass(frozen=True)
class Acquisition:
    """What a calibration depends on: the fingerprint of the ``scan``, the method, and the ``draws`` behind the spread.

    ``steps``: None where the method has no such option; ``options``: all of the method's, by name.
    """

    scan: Fingerprint
    solver: str
    steps: int | None = None
    coupling: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    draws: int = field(kw_only=True)

    def entry(self) -> dict[str, Any]:
        """JSON values that :func:`acquisition_in` takes back."""
        return {**self.scan.entry(), **{name: getattr(self, name) for name in OF_THE_METHOD}}


OF_THE_METHOD = ("solver", "steps", "coupling", "options", "draws")


def acquisition_in(entry: Mapping[str, Any], trust: Trust) -> Acquisition:
    """The acquisition that a card's entry was made for; fields that an older entry lacks have their defaults.

    One without options fits no run of a method that has any: it was made under defaults that are not known. Raises
    ValueError for one that does not tell its scan.
    """
    known = {name: entry[name] for name in OF_THE_METHOD if name in entry}
    try:
        scan = trust.fingerprint.stored(entry)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"a calibration in the model card does not tell the scan that it is for ({error}): calibrate it again"
        ) from None
    return Acquisition(scan, **known)


def check_calibrations(entries: Sequence[Mapping[str, Any]], trust: Trust) -> None:
    """Raise ValueError unless each entry of a card tells the scan that it was made for."""
    for entry in entries:
        acquisition_in(entry, trust)


def with_entry(entries: Sequence[Mapping[str, Any]], made: Mapping[str, Any], trust: Trust) -> list[dict[str, Any]]:
    """A card's entries and a new one last, in place of any that was made for the very same acquisition."""
    own = acquisition_in(made, trust)
    return [dict(entry) for entry in entries if acquisition_in(entry, trust) != own] + [dict(made)]


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


def matching_entry(
    entries: Sequence[Mapping[str, Any]], asked: Acquisition, trust: Trust, doubt: str = ""
) -> Calibration:
    """The nearest entry that RULE and the modality's allow; none where there is a ``doubt``, a clause for the user."""
    if doubt:
        return Calibration(None, f"The spread is not calibrated: {doubt}.")
    made = [(entry, acquisition_in(entry, trust)) for entry in entries]
    fitting = [(entry, own) for entry, own in made if _fits(own, asked)]
    if not fitting:
        return Calibration(None, (
            f"The spread is not calibrated for this acquisition (needed: {RULE}{trust.rule}): do not read it as an "
            "error bar."
        ))
    entry, nearest = min(fitting, key=lambda pair: pair[1].scan.distance(asked.scan))
    return Calibration(entry, (
        f"The uncertainty was multiplied by {entry['factor']:.2f}: on {entry['slices']} held-out slices scanned with "
        f"{nearest.scan.words()} its 90 % interval held the truth in {100 * entry['coverage90']:.0f} % of the body's "
        f"voxels before and {100 * entry['coverage90_calibrated']:.0f} % after. This is an average over voxels, not a "
        "promise for one place."
    ))


def _fits(made: Acquisition, asked: Acquisition) -> bool:
    def same(a: Acquisition) -> tuple[Any, ...]:
        return tuple(getattr(a, name) for name in OF_THE_METHOD)

    return same(made) == same(asked) and made.scan.fits(asked.scan)


def rescaled(std: np.ndarray, entry: Mapping[str, Any], unit: float = 1.0) -> np.ndarray:
    """factor * max(std, floor), float32, in the unit of the spread; ``unit``: how much of it the floor counts in."""
    return (entry["factor"] * np.maximum(std, entry["floor"] * unit)).astype(np.float32)


def conformal_factor(
    error: np.ndarray, std: np.ndarray, draws: int, floor: float, level: float = LEVEL
) -> float:
    """The factor f above; ``error``: mean minus truth, ``std``: of ``draws`` draws, ``floor``: one unit, same shape.

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
