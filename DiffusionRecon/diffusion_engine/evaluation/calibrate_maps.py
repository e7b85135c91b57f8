"""Fit what a prior's card says of the maps that warn: their nulls and thresholds, on held-out cases without lesions.

Scans are simulated as in :mod:`.calibrate`. What the held-out images lose by themselves is part of the null: a
threshold is above it but for one place in so many slices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..modalities.contract import DIFFUSION
from ..modalities.prepared import Prepared
from ..posterior.null import Null, fit_null
from ..posterior.warnings import SLICES, heights, threshold_of
from ..priors.library import Prior
from ..run.costs import Costs
from ..run.draws import asked_acquisition
from ..run.images import chunk_images
from ..run.maps import local_values
from ..run.products import REAL, product_keys
from ..run.report import Tally
from ..run.settings import DATA_DISAGREE, PRIOR_DECIDED, Settings
from .calibrate import Scans, held_out_cases, scan

MAPS = (PRIOR_DECIDED, DATA_DISAGREE)
MOST_VOXELS = 400_000
"""So many of a volume tell its part of the null, evenly taken."""


class Local(NamedTuple):
    """A map of some slices in network units before its null is known (slices, rows, columns), its covariates
    (2, slices, rows, columns), where the body is, and the size of a voxel along (slices, rows, columns)."""

    difference: np.ndarray
    local: np.ndarray
    inside: np.ndarray
    spacing_mm: tuple[float, float, float]


def fit_maps(
    prior: Prior, folder: Path, settings: Settings, slices: int = 3, scans: Scans | None = None
) -> Iterator[dict[str, Any]]:
    """An entry of the card's maps for each scan (None: the modality's), from slices of every held-out volume."""
    asked = settings.changed(methods=(DIFFUSION,), keep=("mean", "uncertainty", *MAPS))
    cases = held_out_cases(prior, folder, asked, slices)
    for wanted in scans or asked.entry.cases.calibrated:
        volumes: dict[str, list[list[Local]]] = {key: [] for key in MAPS}
        for stacks in cases:
            for key in MAPS:
                volumes[key].append([])
            for stack, counted in stacks:
                problem, chosen = scan(stack, wanted, asked, prior)
                acquisition = asked_acquisition(problem, chosen, prior)
                for key, found in _maps(problem, chosen, prior, counted).items():
                    volumes[key][-1].append(found)
        entry = {**acquisition.entry(), "slices": slices * len(cases), "maps": {
            key: make_null(own) for key, own in volumes.items()
        }}
        yield entry


def make_null(volumes: Sequence[Sequence[Local]]) -> dict[str, Any]:
    """A map's part of an entry, from the parts of each volume.

    "false_alarms_per_32_slices" is cross-validated: each volume with table and threshold of the others (its own where
    there are none). The delivered ones are of all.
    """
    alarms = count = 0
    for n, own in enumerate(volumes):
        null = _fitted([other for m, other in enumerate(volumes) if m != n] or [own])
        assert null.threshold is not None
        for part in own:
            found = heights(_normalised(part, null), part.spacing_mm)
            alarms += int(np.count_nonzero(found >= null.threshold))
            count += len(part.difference)
    return {**_fitted(volumes).entry(), "false_alarms_per_32_slices": round(alarms * SLICES / count, 3)}


def _fitted(volumes: Sequence[Sequence[Local]]) -> Null:
    parts = [part for volume in volumes for part in volume]
    values = [_voxels(part) for part in parts]
    null = fit_null(np.concatenate([own for own, _ in values]), np.concatenate([own for _, own in values], axis=1))
    found = np.concatenate([heights(_normalised(part, null), part.spacing_mm) for part in parts])
    return replace(null, threshold=threshold_of(found, sum(len(part.difference) for part in parts)))


def _voxels(part: Local) -> tuple[np.ndarray, np.ndarray]:
    step = max(1, -(-int(np.count_nonzero(part.inside)) // MOST_VOXELS))
    return part.difference[part.inside][::step], part.local[:, part.inside][:, ::step]


def _normalised(part: Local, null: Null) -> np.ndarray:
    return np.where(part.inside, part.difference / null.at(part.local), 0.0)


def _maps(problem: Prepared[Any], settings: Settings, prior: Prior, counted: slice) -> dict[str, Local]:
    """Both maps of the ``counted`` slices of a problem."""
    images = {
        key: np.zeros(problem.shape, np.float32 if key in REAL else problem.array_type)
        for key in product_keys(settings)
    }
    whole, tally = slice(0, problem.slices), Tally({})
    for _ in chunk_images(problem, settings, prior, Costs(0.0, 0.0), whole, tally, images, None):
        pass
    columns, rows, slices = problem.frame.spacing_mm
    found = {}
    for key in MAPS:
        values = list(local_values(problem, settings, images, key))[counted]
        found[key] = Local(
            np.concatenate([each[1] for each in values]), np.concatenate([each[2] for each in values], axis=1),
            np.concatenate([each[3] for each in values]), (slices, rows, columns),
        )
    return found
