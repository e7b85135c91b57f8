"""Cartesian samples of an MR acquisition in memory, checked when they are made. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...volume import Volume, check_rectangular
from ..rules import Remark

MOST_ZEROS = 0.02
"""Share of the measured samples that may be exactly zero in every coil: whole numbers of an old receiver may be."""

SAME_SIZE = 1e-3
"""Largest relative difference of two statements of one length."""


@dataclass(frozen=True, eq=False)
class KSpace:
    """Cartesian samples of an MR acquisition, coils receiving slices that do not depend on each other.

        values = mask * F(maps * image) + noise

    F is the orthonormal 2D Fourier transform of :mod:`...physics.masked_fourier`, k = 0 at index size // 2; readout
    oversampling is removed. Rows are phase-encoding lines, columns are samples of the readout, or, where a fully
    sampled axis was transformed away, two phase encodings.

    ``values``: (slices, coils, rows, columns) complex64, 0 where not measured, in the file's unit. ``mask``: bool
    (slices, rows, columns), or one for all slices, true where measured. ``slice_spacing_mm``: of the slices' centres;
    ``pixel_mm``: of the image (row, column), None where the file does not say. ``noise_covariance``: (coils, coils),
    E[n n^H] of one complex sample, None where unknown. ``maps``: complex coil sensitivities in the shape of the values
    or for one slice, None where unknown. ``calibration``: k-space for maps that was acquired apart, in the shape of
    the values, 0 where not measured. ``ijk_to_ras``: (4, 4), of voxels (column, row, slice), mm; None where the file
    does not say. ``remarks``: what the reader found; ``facts``: a summary of the header, JSON values.

    Raises ValueError, one sentence, for other shapes, NaN, values outside the mask, zeros where the mask says
    measured, maps or a covariance that cannot be, and lengths that contradict each other.
    """

    values: np.ndarray
    mask: np.ndarray
    slice_spacing_mm: float = 1.0
    pixel_mm: tuple[float, float] | None = None
    noise_covariance: np.ndarray | None = None
    maps: np.ndarray | None = None
    calibration: np.ndarray | None = None
    ijk_to_ras: np.ndarray | None = None
    remarks: tuple[Remark, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = _complex(self.values, "k-space")
        if min(values.shape[:2]) < 1 or min(values.shape[2:]) < 2:
            raise ValueError(
                f"expected k-space of at least one slice and coil of 2 x 2 samples, found shape {values.shape}: "
                "choose another file"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "mask", self._checked_mask())
        self._check_zeros()
        self._check_lengths()
        if self.maps is not None:
            object.__setattr__(self, "maps", self._checked_maps(self.maps))
        if self.calibration is not None:
            calibration = _complex(self.calibration, "calibration data")
            _same_shape(calibration, values.shape, "calibration data", "k-space")
            object.__setattr__(self, "calibration", calibration)
        if self.noise_covariance is not None:
            object.__setattr__(self, "noise_covariance", self._checked_covariance(self.noise_covariance))

    @property
    def slices(self) -> int:
        return int(self.values.shape[0])

    @property
    def coils(self) -> int:
        return int(self.values.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.values.shape[2]), int(self.values.shape[3])

    @property
    def acceleration(self) -> float:
        """All entries of k-space over the measured ones; 1 when fully sampled."""
        return self.mask.size / int(self.mask.sum())

    def exchanged(self) -> KSpace:
        """The same acquisition with rows and columns exchanged, its geometry along: no value changes."""

        def swapped(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else np.ascontiguousarray(np.swapaxes(array, -1, -2))

        values, mask = swapped(self.values), swapped(self.mask)
        assert values is not None
        assert mask is not None
        matrix = None if self.ijk_to_ras is None else self.ijk_to_ras[:, [1, 0, 2, 3]]
        return replace(
            self, values=values, mask=mask, maps=swapped(self.maps), calibration=swapped(self.calibration),
            pixel_mm=None if self.pixel_mm is None else (self.pixel_mm[1], self.pixel_mm[0]), ijk_to_ras=matrix,
        )

    def _checked_mask(self) -> np.ndarray:
        slices, _, rows, columns = self.values.shape
        mask = np.asarray(self.mask)
        expected = f"expected a k-space mask of type bool and shape ({slices} slices, {rows} rows, {columns} columns)"
        if mask.dtype != bool:
            raise ValueError(f"{expected}, found {mask.dtype}: compare the weights with zero")
        whole = mask if mask.ndim == 3 else mask[None]
        if whole.ndim != 3 or whole.shape[0] not in (1, slices) or whole.shape[1:] != (rows, columns):
            turned = whole.ndim == 3 and whole.shape[1:] == (columns, rows)
            advice = "exchange its rows and columns" if turned else "give the mask of this acquisition"
            raise ValueError(f"{expected}, found shape {mask.shape}: {advice}")
        if not whole.any(axis=(1, 2)).all():
            raise ValueError("expected measured samples in every slice, found a mask that is false in a whole slice: "
                             "give the mask of this acquisition")
        whole = np.broadcast_to(whole, (slices, rows, columns))
        outside = int(np.count_nonzero(self.values.any(axis=1) & ~whole))
        if outside:
            raise ValueError(
                f"expected zeros where the mask is false, found {outside} samples with values there: the mask does "
                "not match the k-space, give the mask of this acquisition"
            )
        return np.ascontiguousarray(whole)

    def _check_zeros(self) -> None:
        """Refuse zeros that stand for samples: k-space filled with zeros and given as measured."""
        zero = self.mask & ~self.values.any(axis=1)
        share = np.count_nonzero(zero) / np.count_nonzero(self.mask)
        lines = sum(
            int(np.count_nonzero((zero == self.mask).all(axis=axis) & self.mask.any(axis=axis))) for axis in (1, 2)
        )
        if lines or share > MOST_ZEROS:
            found = f"{100 * share:.2g} % of them" + (f", {lines} whole lines," if lines else "")
            raise ValueError(
                f"expected samples wherever the mask is true, found {found} exactly zero in every coil: the k-space "
                "was filled with zeros, give a mask that is false there"
            )

    def _check_lengths(self) -> None:
        if self.pixel_mm is not None and len(self.pixel_mm) != 2:
            raise ValueError(f"expected row and column as pixel_mm, found {self.pixel_mm}: correct the geometry")
        for name, found in (("slice_spacing_mm", (self.slice_spacing_mm,)), ("pixel_mm", self.pixel_mm or ())):
            if not all(math.isfinite(length) and length > 0 for length in found):
                raise ValueError(f"expected positive lengths as {name}, found {found}: correct the geometry")
        if self.ijk_to_ras is None:
            return
        place = Volume(np.zeros((1, 1, 1)), self.ijk_to_ras, "a.u.")
        check_rectangular(place.ijk_to_ras)
        wide, tall, apart = place.spacing_mm
        stated = (*(self.pixel_mm or (0.0, 0.0)), self.slice_spacing_mm)
        if any(abs(a / b - 1) > SAME_SIZE for a, b in zip(stated, (tall, wide, apart), strict=True)):
            raise ValueError(
                f"expected voxels of {tall:.4g} x {wide:.4g} x {apart:.4g} mm as ijk_to_ras says, found pixel_mm "
                f"{self.pixel_mm} and slice_spacing_mm {self.slice_spacing_mm:.4g}: correct the geometry"
            )
        object.__setattr__(self, "ijk_to_ras", place.ijk_to_ras)

    def _checked_maps(self, maps: np.ndarray) -> np.ndarray:
        found = _complex(maps, "coil maps")
        if found.shape[0] == 1:
            found = np.broadcast_to(found, (self.slices, *found.shape[1:]))
        _same_shape(found, self.values.shape, "coil maps", "k-space")
        if not found.any(axis=(1, 2, 3)).all():
            raise ValueError("expected maps of every slice, found a slice where all are zero: give its maps or none")
        return found

    def _checked_covariance(self, covariance: np.ndarray) -> np.ndarray:
        found = np.asarray(covariance, np.complex128)
        if found.shape != (self.coils, self.coils):
            raise ValueError(
                f"expected a noise covariance of {self.coils} x {self.coils} coils, found shape {found.shape}: "
                "give that of these coils, or none"
            )
        finite = bool(np.isfinite(found).all())
        hermitian = finite and float(np.abs(found - found.conj().T).max()) <= 1e-5 * float(np.abs(found).max())
        if not (hermitian and np.linalg.eigvalsh(found).min() > 0):
            raise ValueError(
                "expected a noise covariance that is Hermitian and positive definite, found another matrix: were "
                "there fewer noise samples than coils, or a coil without noise? Give another noise scan, or none"
            )
        return found


def _complex(array: np.ndarray, name: str) -> np.ndarray:
    """(slices, coils, rows, columns) as complex64; ValueError for real numbers, another number of axes and NaN."""
    given = np.asarray(array)
    if given.ndim != 4:
        raise ValueError(
            f"expected {name} with the axes slices, coils, rows, columns, found shape {given.shape}: name its axes"
        )
    if not np.iscomplexobj(given):
        raise ValueError(f"expected complex numbers as {name}, found {given.dtype}: a magnitude has lost its phase")
    with np.errstate(over="ignore"):
        found = given.astype(np.complex64, copy=False)
    bad = ~np.isfinite(found)
    if bad.any():
        at = (int(n) for n in np.unravel_index(int(np.argmax(bad)), bad.shape))
        place = ", ".join(f"{axis} {n}" for axis, n in zip(("slice", "coil", "row", "column"), at, strict=True))
        raise ValueError(
            f"expected finite numbers as {name}, found {int(bad.sum())} that are NaN or infinite, the first in "
            f"{place}: repair them, or leave them out by the mask and set them to zero"
        )
    return found


def _same_shape(array: np.ndarray, shape: tuple[int, ...], name: str, other: str) -> None:
    if array.shape == shape:
        return
    turned = array.shape == (*shape[:2], shape[3], shape[2])
    advice = "exchange its rows and columns" if turned else f"give those of this {other}"
    raise ValueError(f"expected {name} in the {other}'s shape {tuple(shape)}, found {array.shape}: {advice}")
