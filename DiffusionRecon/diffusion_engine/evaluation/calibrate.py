"""Fit what a prior's card says of trust: factors of the spread on held-out cases, typical scores on training ones.

Scans are simulated as in :mod:`.evaluate`. The factors come from the volumes that the card lists as held out, the
typicality from those it lists as training data; neither changes the weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..io.folder import left_out, volumes_below
from ..modalities.contract import Modality
from ..modalities.prepared import Prepared, no_limit
from ..orientation import axial_squares
from ..posterior.typicality import denoising_features, fit_typicality
from ..priors.library import Prior
from ..run.costs import fallback_iterations
from ..run.draws import asked_acquisition
from ..run.likeness import judged_images, numbers_of_slices
from ..run.settings import Settings
from ..training.sources import names_of
from ..training.units import rule_of
from ..volume import Volume
from .contrast import Twin, lesions_for
from .evaluate import indices_at, stack_around
from .factors import errors_of, joined, make_entry
from .lesions import inserted

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


def fit_scores(
    prior: Prior, folder: Path, settings: Settings, scans: Scans | None = None, cases: Sequence[str] = ("*",)
) -> dict[str, Any]:
    """The card's typicality, from some slices of every training volume in each scan (None: the modality's).

    ``cases``: patterns of the volumes' names; the others, which only helped the training, count as unlike it.
    Raises ValueError where none has such a name.
    """
    modality = settings.entry
    trust, drawn = modality.trust, np.random.default_rng(1)
    features: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    groups: list[str] = []
    depths = modality.cases.training_depths
    names = [own["name"] for own in prior.card.data if any(fnmatch(own["name"], pattern) for pattern in cases)]
    if not names:
        raise ValueError(f"expected patterns of the card's training cases, found {list(cases)}: correct them")
    for name, volume in chosen_slices(folder, names, depths, modality):
        usual = modality.cases.typical(drawn) if modality.cases.typical else modality.cases.calibrated
        for wanted in scans or usual:
            problem, asked = scan(volume, wanted, settings, prior)
            rough = _surrogate(problem, asked) if trust.surrogate is None else torch.zeros(0)
            image = deque(judged_images(trust, problem.delivered, rough, None), 1).pop()
            features.append(denoising_features(prior, image, problem.prior.grid).numpy())
            numbers.append(numbers_of_slices(trust, problem.delivered))
            groups += [name] * problem.slices
        print(f"typicality: {name}", flush=True)
    made = fit_typicality(np.concatenate(features), np.concatenate(numbers), groups)
    made = {**made, "cases": list(cases)} if list(cases) != ["*"] else made
    return {**made, "not_tested": list(modality.cases.untested)} if modality.cases.untested else made


def fit_factors(
    prior: Prior, folder: Path, settings: Settings, slices: int = 3, scans: Scans | None = None
) -> Iterator[dict[str, Any]]:
    """An entry of the card's calibration for each scan, from ``slices`` slices of every held-out volume.

    ``scans`` None: the modality's. Where the settings tie slices, each is the middle of a stack of its own, see
    :func:`stack_around`.

    "coverage90_calibrated" is cross-validated: each volume with the factor of the others (its own where there are
    none). The delivered "factor" is that of all.
    """
    modality, cases = settings.entry, held_out_cases(prior, folder, settings, slices)
    for wanted in scans or modality.cases.calibrated:
        parts = []
        for stacks in cases:
            found = []
            for stack, counted in stacks:
                problem, asked = scan(stack, wanted, settings, prior)
                lesions = lesions_for(stack, _cases(counted, len(stack.array)), modality, settings.seed, problem.frame)
                twin = Twin(scan(inserted(stack, lesions), wanted, settings, prior)[0], lesions) if lesions else None
                found.append(errors_of(problem, twin, asked, prior, counted))
                acquisition = asked_acquisition(problem, asked, prior)
            parts.append(joined(found))
        yield make_entry(parts, acquisition, modality.trust, slices * len(cases))


def _cases(counted: slice, slices: int) -> list[tuple[int, int]]:
    """Place and number of the slices in which lesions are inserted."""
    return [(n, n) for n in range(*counted.indices(slices))]


def held_out_cases(
    prior: Prior, folder: Path, settings: Settings, slices: int
) -> list[list[tuple[Volume, slice]]]:
    """For each held-out volume the stacks to reconstruct, with the slices of each that count, ``slices`` in all."""
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
    return cases


def _surrogate(problem: Prepared[Any], settings: Settings) -> Tensor:
    """The rough classical image, network units."""
    return problem.classical(settings.entry.fallback, fallback_iterations(settings, False))
