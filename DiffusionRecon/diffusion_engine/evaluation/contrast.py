"""Columns that tell what became of inserted lesions: contrast kept by diameter, coverage of the truth inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..modalities.contract import Modality
from ..modalities.prepared import Prepared
from ..posterior import calibration as rule
from ..posterior.spread import Spread
from ..volume import Volume
from .lesions import Lesion, Parts, kept, parts, placed
from .spots import patch_error

INSIDE = ("coverage_inside", "coverage_inside_calibrated")
"""Share of the voxels inside lesions whose 90 % interval holds the truth: of the spread as it is, and with the card's
factor for the acquisition (null where it has none)."""


def contrast_columns(modality: Modality) -> tuple[str, ...]:
    """The names of the columns of contrast kept, a diameter each, the smallest first."""
    return tuple(f"contrast_{size:g}mm" for size in sorted({want.diameter_mm for want in modality.cases.lesions}))


def patch_columns(modality: Modality) -> tuple[str, ...]:
    """The names of the columns of even patches, where truth is made: the places of lesions without them."""
    if modality.cases.made_of is None:
        return ()
    return tuple(name.replace("contrast", "patch") for name in contrast_columns(modality))


def columns_of(modality: Modality) -> tuple[str, ...]:
    """All columns of this module that the rows of a modality have; none where it inserts no lesions."""
    return (*contrast_columns(modality), *patch_columns(modality), *INSIDE) if modality.cases.lesions else ()


@dataclass(frozen=True, eq=False)
class Twin:
    """The scan of the same slices with lesions, same noise and seed, and the lesions."""

    problem: Prepared[Any]
    lesions: list[Lesion]

    def places(self) -> list[tuple[Lesion, Parts]]:
        """Where to read each lesion in the images of the problem."""
        frame, flips = self.problem.standing, self.problem.flips
        return [(own, parts(own, frame, self.lesions, flips)) for own in self.lesions]


def lesions_for(
    volume: Volume, cases: Sequence[tuple[int, int]], modality: Modality, seed: int, frame: Volume
) -> list[Lesion]:
    """The modality's lesions in some slices, (place in the volume, index in the patient): seed and index choose.

    ``frame``: the grid of the scan's images; lesions that lie outside of it, as its field of view is smaller, are none.
    """
    found: list[Lesion] = []
    for place, index in cases:
        found += placed(volume, place, modality.cases.lesions, modality, np.random.default_rng((seed, index)))
    return [lesion for lesion in found if lesion.coverage(frame).any()]


def contrast_kept(
    images: np.ndarray, twin_images: np.ndarray, problem: Prepared[Any], twin: Twin, modality: Modality
) -> dict[str, list[float | None]]:
    """The columns of :func:`contrast_columns` and :func:`patch_columns`: the mean over the lesions of a slice, or None.

    ``images``: (slices, rows, columns) without, ``twin_images`` with lesions, in the delivered unit.
    """
    assert problem.reference is not None
    assert twin.problem.reference is not None
    found: dict[str, list[list[float]]] = {
        name: [[] for _ in range(problem.slices)] for name in (*contrast_columns(modality), *patch_columns(modality))
    }
    for lesion, at in twin.places():
        share = kept(twin_images, images, twin.problem.reference, problem.reference, at)
        found[f"contrast_{lesion.diameter_mm:g}mm"][at.index].append(share)
        patch = found.get(f"patch_{lesion.diameter_mm:g}mm")
        if patch is not None:
            patch[at.index].append(patch_error(images[at.index], problem.reference[at.index], at.core))
    return {name: [_mean(values) for values in column] for name, column in found.items()}


def coverage_inside(spread: Spread, known: np.ndarray | None, twin: Twin) -> dict[str, list[float | None]]:
    """The columns INSIDE over the voxels of all lesions of a slice.

    ``spread``: of the scan with lesions, ``known``: the same as a card calibrates it, if it does.
    """
    truth = twin.problem.reference
    assert truth is not None
    masks = np.zeros(truth.shape, bool)
    for _, at in twin.places():
        masks[at.index] |= at.inside
    columns: dict[str, list[float | None]] = {name: [] for name in INSIDE}
    for n, (real, inside) in enumerate(zip(truth, masks, strict=True)):
        error = (spread.mean[n] - real)[inside]
        for name, std in zip(INSIDE, (spread.std, known), strict=True):
            told = std is not None and bool(inside.any())
            share = rule.coverage(error, std[n][inside], spread.draws) if std is not None and told else 0.0
            columns[name].append(round(share, 4) if told else None)
    return columns


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
