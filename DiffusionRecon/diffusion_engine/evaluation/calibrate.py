"""Fit what a prior's card says of trust: factors of the spread on held-out cases, typical scores on training ones.

Scans are simulated as in :mod:`.evaluate`. The factors come from the volumes that the card lists as held out, the
typicality from those it lists as training data; neither changes the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..classical.tv import tv
from ..io.folder import left_out, volumes_below
from ..modalities.ct.hu_question import question_hu
from ..modalities.ct.problem import Problem, prepare
from ..orientation import axial_squares
from ..posterior import calibration as rule
from ..posterior.moments import RunningMoments
from ..posterior.typicality import denoising_features, fit_typicality
from ..priors.library import Prior
from ..priors.slices import resample
from ..run.costs import SURROGATE_ITERATIONS
from ..run.draws import asked_acquisition, diffusion_draws
from ..run.settings import Settings
from ..training.units import rule_of
from ..volume import Volume
from .evaluate import indices_at, stack_around

ACQUISITIONS = (("parallel", 60), ("parallel", 20), ("parallel", 8), ("fan_flat", 60))
TRAINING_DEPTHS = (0.3, 0.65)


def chosen_volumes(folder: Path, names: Sequence[str]) -> list[tuple[str, Volume]]:
    """The CT volumes in the folders ``names`` below ``folder``, each by its path, upright as in training.

    Raises ValueError, with the reasons, where a name has no usable CT volume.
    """
    found: list[tuple[str, Volume]] = []
    reasons: list[tuple[Path, str]] = []
    for place, volume in volumes_below(folder, "HU", lambda p: bool(set(names) & set(p.parts))):
        reason = volume if isinstance(volume, str) else question_hu(volume)
        if reason is None and isinstance(volume, Volume):
            try:
                found.append((place.as_posix(), axial_squares(volume)[0]))
            except ValueError as error:
                reason = str(error)
        if reason is not None:
            reasons.append((place, reason))
    for name in names:
        if not any(name in Path(place).parts for place, _ in found):
            own = [f"{place.as_posix()}: {reason}" for place, reason in reasons if name in place.parts]
            raise ValueError(
                f"no CT volume in HU in a folder {name} below {folder}{left_out(own)}: give the card's data"
            )
    return found


def chosen_slices(folder: Path, names: Sequence[str], depths: Sequence[float]) -> list[tuple[str, Volume]]:
    """Slices at some depths of :func:`chosen_volumes`."""
    return [
        (name, Volume(volume.array[indices_at(volume, depths)], volume.ijk_to_ras, "HU"))
        for name, volume in chosen_volumes(folder, names)
    ]


def scan(volume: Volume, geometry: str, views: int, settings: Settings, prior: Prior) -> tuple[Problem, Settings]:
    """A simulated scan at the resolution that the prior was trained on: fine slices at half of their own."""
    spacing = min(volume.spacing_mm[:2])
    pixel = 0.999 * spacing * (2 if spacing < rule_of("HU").fine_pixel_mm else 1)
    asked = replace(settings, geometry=geometry, views=views, pixel_mm=pixel, arc_degrees=None)
    return prepare(volume, asked, prior.device, prior.card), asked


def fit_scores(
    prior: Prior, folder: Path, settings: Settings, acquisitions: Sequence[tuple[str, int]] = ACQUISITIONS
) -> dict[str, Any]:
    """The card's typicality, from two slices of every training volume in each acquisition."""
    features: list[np.ndarray] = []
    views: list[int] = []
    groups: list[str] = []
    for name, volume in chosen_slices(folder, [entry["name"] for entry in prior.card.data], TRAINING_DEPTHS):
        for geometry, count in acquisitions:
            problem, _ = scan(volume, geometry, count, settings, prior)
            water = problem.likelihood.scaled(settings.water_per_mm, 0.0)
            image = tv(water, iterations=SURROGATE_ITERATIONS) - 1
            features.append(denoising_features(prior, image, problem.prior_grid).numpy())
            views += [count] * problem.slices
            groups += [name] * problem.slices
        print(f"typicality: {name}", flush=True)
    return fit_typicality(np.concatenate(features), np.array(views), groups)


def fit_factors(
    prior: Prior, folder: Path, settings: Settings, slices: int = 3,
    acquisitions: Sequence[tuple[str, int]] = ACQUISITIONS,
) -> Iterator[dict[str, Any]]:
    """An entry of the card's calibration for each acquisition, from ``slices`` slices of every held-out volume.

    Where the settings tie slices, each is the middle of a stack of its own, see :func:`stack_around`.

    "coverage90_calibrated" is cross-validated: each volume with the factor of the others (its own where there are
    none). The delivered "factor" is that of all.
    """
    depths = [(n + 1) / (slices + 1) for n in range(slices)]
    cases = []
    for _, volume in chosen_volumes(folder, prior.card.held_out):
        chosen = indices_at(volume, depths)
        if settings.coupling == "none":
            cases.append([(Volume(volume.array[chosen], volume.ijk_to_ras, "HU"), slice(None))])
        else:
            around = [stack_around(volume, index) for index in chosen]
            cases.append([(stack, slice(middle, middle + 1)) for stack, _, middle in around])
    for geometry, views in acquisitions:
        parts = []
        for stacks in cases:
            found = []
            for stack, counted in stacks:
                problem, asked = scan(stack, geometry, views, settings, prior)
                found.append(_errors(problem, asked, prior, counted))
                acquisition = asked_acquisition(problem, asked, prior)
            parts.append(joined(found))
        yield make_entry(parts, acquisition, settings, slices * len(cases))


def make_entry(
    parts: Sequence[tuple[np.ndarray, np.ndarray]], acquisition: rule.Acquisition, settings: Settings, slices: int
) -> dict[str, Any]:
    """The entry from (error, std) of the body's voxels of each volume."""
    draws = settings.draws
    error, std = joined(parts)
    covered = []
    for n, (own_error, own_std) in enumerate(parts):
        others = [part for m, part in enumerate(parts) if m != n] or [parts[n]]
        factor = rule.conformal_factor(*joined(others), draws)
        covered.append(rule.coverage(own_error, factor * np.maximum(own_std, rule.FLOOR_HU), draws))
    factor = rule.conformal_factor(error, std, draws)
    after = factor * np.maximum(std, rule.FLOOR_HU)
    return {
        **asdict(acquisition), "arc_degrees": round(acquisition.arc_degrees, 2),
        "largest_gap_degrees": round(acquisition.gap_degrees, 4), "noise_range": round(acquisition.noise_range, 3),
        "noise_percent": round(acquisition.noise_percent, 4), "draws": draws, "slices": slices,
        "factor": round(factor, 4), "floor_hu": rule.FLOOR_HU,
        "coverage90": round(rule.coverage(error, std, draws), 4),
        "coverage90_calibrated": round(float(np.mean(covered)), 4),
        "calibration_error": round(rule.calibration_error(error, std, draws), 4),
        "calibration_error_calibrated": round(rule.calibration_error(error, after, draws), 4),
    }


def joined(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Errors and spreads of several volumes in one array each."""
    return np.concatenate([error for error, _ in parts]), np.concatenate([std for _, std in parts])


def _errors(problem: Problem, settings: Settings, prior: Prior, counted: slice) -> tuple[np.ndarray, np.ndarray]:
    """mean - truth and standard deviation of the draws in the body's voxels of the ``counted`` slices, HU."""
    assert problem.reference is not None
    whole = slice(0, problem.slices)
    surrogate = tv(problem.likelihood.scaled(settings.water_per_mm, 0.0), iterations=SURROGATE_ITERATIONS)
    moments = RunningMoments()
    for state in diffusion_draws(problem, settings, prior, whole, surrogate):
        if state.finished:
            moments.add(resample(state.estimate, *problem.grid.shape) * 1000)
    inside = rule.body(problem.reference)[counted]
    error = moments.mean.cpu().numpy() - problem.reference
    return error[counted][inside], moments.std.cpu().numpy()[counted][inside]
