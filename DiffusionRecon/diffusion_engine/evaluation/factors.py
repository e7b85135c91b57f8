"""An entry of a card's calibration from held-out slices: the gain of the pull, and the factors of the interval.

The mean of the draws keeps a part of a lesion that the network never saw, and the pull d (:mod:`..posterior.spread`)
tells in which direction the rest is missing. With c and e what the first draw and the pull G d keep of the contrast of
an inserted lesion, the gain

    a = argmin sum (c + a e - 1)^2  over a >= 0 with  |mean + a G d - truth|^2 <= 10^(LOSS / 10) |mean - truth|^2

is the one that brings lesions back without noise of more than LOSS dB. The factors are those of the moved mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..modalities.contract import Trust
from ..modalities.prepared import Prepared
from ..posterior import calibration as rule
from ..posterior.intervals import spread_factor
from ..posterior.spread import Classes, factors_at, members
from ..priors.library import Prior
from ..run.drawn import drawn
from ..run.settings import Settings
from .contrast import Twin
from .lesions import kept

FEWEST = 500
"""Voxels of a class for a factor of its own; below, the factor of all takes its place."""
LOSS_DB = 0.2
GAINS = np.arange(0.0, 4.01, 0.25)


@dataclass(frozen=True, eq=False)
class Errors:
    """Of the body's voxels of some slices: ``error`` mean - truth, ``std`` of the draws, ``width`` u, ``value`` of the
    mean, ``away`` G d (zero without a pull); one unit, one dimension.

    ``lesions``: (n, 2), c and e above; ``pull``: whether there is one.
    """

    error: np.ndarray
    std: np.ndarray
    width: np.ndarray
    value: np.ndarray
    away: np.ndarray
    lesions: np.ndarray
    pull: bool = False

    def moved(self, gain: float) -> Errors:
        """Those of mean + gain G d."""
        return replace(self, error=self.error + gain * self.away, value=self.value + gain * self.away)


def errors_of(
    problem: Prepared[Any], twin: Twin | None, settings: Settings, prior: Prior, counted: slice
) -> Errors:
    """Those of the ``counted`` slices; ``twin``: the same slices scanned with lesions."""
    assert problem.reference is not None
    trust, made = settings.entry.trust, drawn(problem, settings, prior)
    spread = made.spread
    if spread is None:
        raise ValueError("a single draw has no spread to calibrate: choose 2 draws or more")
    inside = trust.body(problem.reference)[counted]
    own, width, away = spread[counted], spread.width(trust.floor)[counted], spread.away[counted]
    unit = np.float32(spread.unit)
    error, std, width, value, away = (
        values[inside] / unit for values in (own.mean - problem.reference[counted], own.std, width, own.mean, away)
    )
    return Errors(
        error, std, width, value, away,
        _lesions(problem, twin, settings, prior, problem.shown(made.first), spread.away), spread.pull is not None,
    )


def _lesions(
    problem: Prepared[Any], twin: Twin | None, settings: Settings, prior: Prior, first: np.ndarray, away: np.ndarray
) -> np.ndarray:
    """c and e of every lesion of a twin; none where the method has no pull."""
    found: list[tuple[float, float]] = []
    if twin is None or not away.any():
        return np.zeros((0, 2))
    assert problem.reference is not None
    assert twin.problem.reference is not None
    other = drawn(twin.problem, settings, prior, mean=False)
    assert other.spread is not None
    images = twin.problem.shown(other.first)
    for _, at in twin.places():
        real = twin.problem.reference, problem.reference
        found.append((kept(images, first, *real, at), kept(other.spread.away, away, *real, at)))
    return np.array(found).reshape(-1, 2)


def gain_of(errors: Errors) -> float:
    """The gain a above, out of GAINS; 0 where no lesions were inserted."""
    if not len(errors.lesions):
        return 0.0
    limit = 10 ** (LOSS_DB / 10) * np.mean(errors.error**2)
    allowed = [gain for gain in GAINS if np.mean(errors.moved(gain).error ** 2) <= limit or gain == 0]
    left = [np.sum((errors.lesions @ [1.0, gain] - 1) ** 2) for gain in allowed]
    return float(allowed[int(np.argmin(left))])


def factors_of(errors: Errors, draws: int, classes: Classes) -> tuple[float, dict[str, float]]:
    """The conformal factor of all voxels, and those of classes with voxels enough."""
    found = {
        name: round(rule.conformal_factor(errors.error[own], errors.width[own], draws, 0.0), 4)
        for name, own in members(errors.value, classes) if np.count_nonzero(own) >= FEWEST
    }
    return round(rule.conformal_factor(errors.error, errors.width, draws, 0.0), 4), found


def calibrated(errors: Errors, classes: Classes, factor: float, factors: Mapping[str, float]) -> np.ndarray:
    """f u of every voxel."""
    return factors_at(errors.value, classes, factor, factors) * errors.width


def make_entry(parts: Sequence[Errors], acquisition: rule.Acquisition, trust: Trust, slices: int) -> dict[str, Any]:
    """The entry from the errors of each volume; coverage after calibration is cross-validated between them."""
    draws, classes, floor = acquisition.draws, trust.classes, trust.floor
    every = joined(parts)
    gain = gain_of(every)
    moved = [part.moved(gain) for part in parts]
    held: list[float] = []
    by_class: dict[str, list[float]] = {name: [] for name, *_ in classes}
    for n, own in enumerate(moved):
        others = joined([part for m, part in enumerate(moved) if m != n] or [own])
        std = calibrated(own, classes, *factors_of(others, draws, classes))
        inside = np.abs(own.error) <= spread_factor(draws) * std
        held.append(float(inside.mean()))
        for name, members_ in members(own.value, classes):
            if np.count_nonzero(members_) >= FEWEST:
                by_class[name].append(float(inside[members_].mean()))
    whole = every.moved(gain)
    factor, factors = factors_of(whole, draws, classes)
    after = calibrated(whole, classes, factor, factors)
    contrast = every.lesions @ [1.0, gain]
    return {
        **acquisition.entry(), "slices": slices, "factor": factor, "factors": factors, "floor": floor,
        "pull": every.pull, "gain": gain,
        "contrast_kept": round(float(np.mean(contrast)), 3) if len(contrast) else None,
        "coverage90": round(rule.coverage(every.error, every.std, draws), 4),
        "coverage90_calibrated": round(float(np.mean(held)), 4),
        "coverage90_by_class": {name: round(float(np.mean(each)), 4) for name, each in by_class.items() if each},
        "calibration_error": round(rule.calibration_error(every.error, every.std, draws), 4),
        "calibration_error_calibrated": round(rule.calibration_error(whole.error, after, draws), 4),
    }


def joined(parts: Sequence[Errors]) -> Errors:
    """The errors of several in one."""
    error, std, width, value, away, lesions = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("error", "std", "width", "value", "away", "lesions")
    )
    return Errors(error, std, width, value, away, lesions, parts[0].pull)
