"""What a reader found in a file, and how it becomes k-space with what the user says about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...rules import Remark
from ..kspace import KSpace
from .description import Description, matrix_of
from .doubts import question_samples
from .placing import permuted

NO_PIXEL = (
    "The file states no field of view, so that the size of pixels is not known: give \"pixel_mm\" in its description."
)
NO_PLACE = "The file does not state where its slices lie in the patient, so that the result has no place there."
NO_DISTANCE = "The file states no distance of slices; it was taken as 1 mm."


@dataclass(eq=False)
class Raw:
    """K-space as a reader of one format found it.

    ``values``: (slices, coils, rows, columns); ``mask``: (slices, rows, columns), true where measured; the others as
    in :class:`..kspace.KSpace`, None where the file does not say. ``order``: which of the file's (slices or
    partitions, rows, columns) these axes were.
    """

    name: str
    values: np.ndarray
    mask: np.ndarray
    pixel_mm: tuple[float, float] | None = None
    slice_spacing_mm: float | None = None
    ijk_to_ras: np.ndarray | None = None
    noise_covariance: np.ndarray | None = None
    maps: np.ndarray | None = None
    calibration: np.ndarray | None = None
    order: tuple[int, int, int] = (0, 1, 2)
    remarks: list[Remark] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def remark(self, kind: str, sentence: str, certain: bool = True) -> None:
        """Say something about the file."""
        self.remarks.append(Remark(kind, sentence, certain))

    def turned(self, order: tuple[int, int, int]) -> None:
        """Note that 3D k-space was decoupled: what was measured along one axis became slices; geometry goes along."""
        self.order = order
        if self.pixel_mm is not None and self.slice_spacing_mm is not None:
            sizes = (self.slice_spacing_mm, *self.pixel_mm)
            self.slice_spacing_mm, self.pixel_mm = sizes[order[0]], (sizes[order[1]], sizes[order[2]])
        elif order != (0, 1, 2):
            self.slice_spacing_mm, self.pixel_mm = None, None
        if self.ijk_to_ras is not None:
            self.ijk_to_ras = permuted(self.ijk_to_ras, order)
        name = ("partitions", "rows", "columns")[order[0]]
        self.remark("decoupled", f"The {name} of this 3D k-space are whole; transformed, they are the slices.")


def finished(raw: Raw, description: Description, path: Path) -> KSpace:
    """The k-space of a file with what its description says; raises ValueError, one sentence that names the file."""
    try:
        _described(raw, description)
        if raw.pixel_mm is None:
            raw.remark("no_pixel_size", NO_PIXEL)
        if raw.ijk_to_ras is None:
            raw.remark("no_place", NO_PLACE)
        if raw.slice_spacing_mm is None:
            raw.remark("no_slice_spacing", NO_DISTANCE)
        kspace = KSpace(
            raw.values, raw.mask, raw.slice_spacing_mm or 1.0, raw.pixel_mm, raw.noise_covariance, raw.maps,
            raw.calibration, raw.ijk_to_ras, tuple(raw.remarks), _facts(raw),
        )
        question_samples(kspace.values, kspace.mask, description.trust)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return kspace


def _facts(raw: Raw) -> dict[str, Any]:
    """The summary of the file: what all formats state, then what this one does."""
    slices, coils, *matrix = raw.values.shape
    return {
        "format": raw.name, "slices": slices, "coils": coils, "matrix": matrix,
        "acceleration": round(raw.mask.size / max(int(np.count_nonzero(raw.mask)), 1), 3), **raw.facts,
    }


def _described(raw: Raw, description: Description) -> None:
    """Put in what the user says, in the file's own axes; where the file says otherwise, that is remarked."""
    matrix = matrix_of(description)
    own = (description.slice_spacing_mm, *(description.pixel_mm or (None, None)))
    apart, tall, wide = (own[n] for n in raw.order)
    pixel = None if tall is None or wide is None else (tall, wide)
    for name, given in (("pixel_mm", pixel), ("slice_spacing_mm", apart)):
        stated = getattr(raw, name)
        if given is None or stated == given:
            continue
        if stated is not None:
            raw.remark("other_size", f"The file states {name} {_text(stated)}; the description's {_text(given)} was "
                                     "taken.")
            raw.ijk_to_ras = None
        setattr(raw, name, given)
    if matrix is not None:
        raw.ijk_to_ras = matrix = permuted(matrix, raw.order)
        sizes = np.linalg.norm(matrix[:3, :3], axis=0)
        raw.pixel_mm, raw.slice_spacing_mm = (float(sizes[1]), float(sizes[0])), float(sizes[2])


def _text(sizes: Any) -> str:
    return " x ".join(f"{n:.4g}" for n in np.atleast_1d(sizes))
