"""Fit what a prior's card says of trust: factors of the spread on held-out cases, typical scores on training ones.

Scans are simulated as in :mod:`.evaluate`. The factors come from the volumes that the card lists as held out, the
typicality from those it lists as training data; neither changes the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..io.folder import left_out, volumes_below
from ..modalities.contract import Modality
from ..modalities.prepared import Prepared, no_limit
from ..orientation import axial_squares
from ..posterior import calibration as rule
from ..posterior.moments import RunningMoments
from ..posterior.typicality import denoising_features, fit_typicality
from ..priors.library import Prior
from ..priors.slices import resample
from ..run.costs import fallback_iterations
from ..run.draws import asked_acquisition, diffusion_draws
from ..run.settings import Settings
from ..training.sources import names_of
from ..training.units import rule_of
from ..volume import Volume
from .evaluate import indices_at, stack_around

Scans = Sequence[Mapping[str, Any]]
"""Scans to calibrate for, as settings of the modality's scan by name."""


def chosen_volumes(folder: Path, names: Sequence[str], modality: Modality) -> list[tuple[str, Volume]]:
    """A modality's volumes of the cases ``names`` below ``folder``, each by its path, upright as in training.

    A case is called by a folder or a file, with or without its ending, or by its whole path, as training notes it.

    Raises ValueError, with the reasons, where a name has no usable volume.
    """
    found: list[tuple[str, Volume]] = []
    reasons: list[tuple[Path, str]] = []
    for place, volume in volumes_below(folder, modality.unit, lambda place: _of_cases(place, names, below=True)):
        if not _of_cases(place, names):
            continue
        reason = volume if isinstance(volume, str) else modality.question(volume)
        if reason is None and isinstance(volume, Volume):
            try:
                found.append((place.as_posix(), axial_squares(volume)[0]))
            except ValueError as error:
                reason = str(error)
        if reason is not None:
            reasons.append((place, reason))
    for name in names:
        if not any(_of_cases(Path(place), [name]) for place, _ in found):
            own = [f"{place.as_posix()}: {reason}" for place, reason in reasons if _of_cases(place, [name])]
            raise ValueError(
                f"no volume of {modality.title} called {name} below {folder}{left_out(own)}: give the card's data"
            )
    return found


def _of_cases(place: Path, names: Sequence[str], below: bool = False) -> bool:
    """Whether a path belongs to a case of these names; ``below``: or to a folder that holds such a path."""
    own = {place.as_posix(), *names_of(place)}
    return any(name in own or (below and place in Path(name).parents) for name in names)


def chosen_slices(
    folder: Path, names: Sequence[str], depths: Sequence[float], modality: Modality
) -> list[tuple[str, Volume]]:
    """Slices at some depths of :func:`chosen_volumes`."""
    return [
        (name, Volume(volume.array[indices_at(volume, depths)], volume.ijk_to_ras, modality.unit))
        for name, volume in chosen_volumes(folder, names, modality)
    ]


def scan(
    volume: Volume, wanted: Mapping[str, Any], settings: Settings, prior: Prior
) -> tuple[Prepared[Any], Settings]:
    """A simulated scan at the resolution that the prior was trained on: fine slices at half of their own.

    ``wanted``: settings of the modality's scan by name.
    """
    modality, spacing = settings.entry, min(volume.spacing_mm[:2])
    pixel = 0.999 * spacing * (2 if spacing < rule_of(modality.unit).fine_pixel_mm else 1)
    asked = settings.changed(**{**modality.cases.fixed, **wanted, "pixel_mm": pixel})
    return modality.prepare(volume, asked, prior.device, prior.card, no_limit), asked


def fit_scores(prior: Prior, folder: Path, settings: Settings, scans: Scans | None = None) -> dict[str, Any]:
    """The card's typicality, from some slices of every training volume in each scan (None: the modality's)."""
    modality = settings.entry
    features: list[np.ndarray] = []
    densities: list[float] = []
    groups: list[str] = []
    names, depths = [entry["name"] for entry in prior.card.data], modality.cases.training_depths
    for name, volume in chosen_slices(folder, names, depths, modality):
        for wanted in scans or modality.cases.calibrated:
            problem, asked = scan(volume, wanted, settings, prior)
            image = _surrogate(problem, asked)
            features.append(denoising_features(prior, image, problem.prior.grid).numpy())
            densities += [modality.trust.density(problem.delivered)] * problem.slices
            groups += [name] * problem.slices
        print(f"typicality: {name}", flush=True)
    return fit_typicality(np.concatenate(features), np.array(densities), groups)


def fit_factors(
    prior: Prior, folder: Path, settings: Settings, slices: int = 3, scans: Scans | None = None
) -> Iterator[dict[str, Any]]:
    """An entry of the card's calibration for each scan, from ``slices`` slices of every held-out volume.

    ``scans`` None: the modality's. Where the settings tie slices, each is the middle of a stack of its own, see
    :func:`stack_around`.

    "coverage90_calibrated" is cross-validated: each volume with the factor of the others (its own where there are
    none). The delivered "factor" is that of all.
    """
    modality = settings.entry
    depths = [(n + 1) / (slices + 1) for n in range(slices)]
    cases = []
    for _, volume in chosen_volumes(folder, prior.card.held_out, modality):
        chosen = indices_at(volume, depths)
        if settings.coupling == "none":
            cases.append([(Volume(volume.array[chosen], volume.ijk_to_ras, modality.unit), slice(None))])
        else:
            around = [stack_around(volume, index) for index in chosen]
            cases.append([(stack, slice(middle, middle + 1)) for stack, _, middle in around])
    for wanted in scans or modality.cases.calibrated:
        parts = []
        for stacks in cases:
            found = []
            for stack, counted in stacks:
                problem, asked = scan(stack, wanted, settings, prior)
                found.append(_errors(problem, asked, prior, counted))
                acquisition = asked_acquisition(problem, asked, prior)
            parts.append(joined(found))
        yield make_entry(parts, acquisition, modality.trust.floor, slices * len(cases))


def make_entry(
    parts: Sequence[tuple[np.ndarray, np.ndarray]], acquisition: rule.Acquisition, floor: float, slices: int
) -> dict[str, Any]:
    """The entry from (error, std) of the body's voxels of each volume; ``floor``: the least spread believed."""
    draws = acquisition.draws
    error, std = joined(parts)
    covered = []
    for n, (own_error, own_std) in enumerate(parts):
        others = [part for m, part in enumerate(parts) if m != n] or [parts[n]]
        factor = rule.conformal_factor(*joined(others), draws, floor)
        covered.append(rule.coverage(own_error, factor * np.maximum(own_std, floor), draws))
    factor = rule.conformal_factor(error, std, draws, floor)
    after = factor * np.maximum(std, floor)
    return {
        **acquisition.entry(), "slices": slices, "factor": round(factor, 4), "floor": floor,
        "coverage90": round(rule.coverage(error, std, draws), 4),
        "coverage90_calibrated": round(float(np.mean(covered)), 4),
        "calibration_error": round(rule.calibration_error(error, std, draws), 4),
        "calibration_error_calibrated": round(rule.calibration_error(error, after, draws), 4),
    }


def joined(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Errors and spreads of several volumes in one array each."""
    return np.concatenate([error for error, _ in parts]), np.concatenate([std for _, std in parts])


def _surrogate(problem: Prepared[Any], settings: Settings) -> Tensor:
    """The rough classical image, network units."""
    return problem.classical(settings.entry.fallback, fallback_iterations(settings, False))


def _errors(
    problem: Prepared[Any], settings: Settings, prior: Prior, counted: slice
) -> tuple[np.ndarray, np.ndarray]:
    """mean - truth and standard deviation of the draws in the body's voxels of the ``counted`` slices.

    In the unit of the modality's rules of trust.
    """
    assert problem.reference is not None
    whole = slice(0, problem.slices)
    moments = RunningMoments()
    for state in diffusion_draws(problem, settings, prior, whole, _surrogate(problem, settings)):
        if state.finished:
            moments.add(problem.scale.from_network(resample(state.estimate, *problem.delivered.grid.shape)))
    inside = settings.entry.trust.body(problem.reference)[counted]
    unit = np.float32(settings.entry.trust.unit(problem.scale))
    error = (problem.shown(moments.mean.cpu().numpy()) - problem.reference) / unit
    return error[counted][inside], moments.std.cpu().numpy()[counted][inside] / unit
