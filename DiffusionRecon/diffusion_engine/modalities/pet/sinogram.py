"""Counts of a PET acquisition in memory, checked when they are made. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...volume import Volume, check_rectangular
from ..rules import Remark

SAME_SIZE = 1e-3
"""Largest relative difference of two statements of one length."""

ROUNDING = 1e-5
"""By how much a probability may be above 1 as it was rounded."""

BY_CHANCE = 6.0
"""Standard deviations by which the counts of a slice may fall below their expected background."""

AXES = ("slice", "angle", "bin")


@dataclass(frozen=True, eq=False)
class Sinogram:
    """Coincidence counts of a PET acquisition in direct planes, slices that do not depend on each other.

        prompts ~ Poisson(duration_s * counts_per_bq * efficiency * attenuation * P image + background)

    P: line integrals in mm of activity in Bq/mL along x cos a - y sin a = u, x along the columns and y along the rows
    of the image in mm from the axis of rotation, a one of ``angles_rad``, u_k = (k - centre_bin) * bin_mm.

    ``prompts``: (slices, angles, bins) float32, counts >= 0: trues, scatter and randoms. ``background``: expected
    randoms and scatter in counts, the same shape, None where none are known. ``attenuation``: probability
    exp(-integral of mu) that both photons of a line leave the patient, (0, 1], the same shape, None where unknown.
    ``efficiency``: relative sensitivity of each bin >= 0, broadcastable, 0 for a dead bin, whose counts have no weight;
    None for 1. ``slice_spacing_mm``: of the planes' centres. ``duration_s``: of the frame, None where unknown.
    ``counts_per_bq``: counts that one Bq/mL along one mm of a line gives per second, None where the scan is not
    calibrated: images then have no absolute unit. ``ijk_to_ras``: (4, 4), of image voxels (column, row, slice), mm;
    voxel (0, 0, k) lies on the axis of rotation in plane k, see :meth:`placed`; None where unknown. ``remarks``: what
    the reader found; ``facts``: a summary of the header, JSON values.

    Raises ValueError, one sentence, for other shapes, NaN, negative counts, no counts, a background above the counts,
    attenuation outside (0, 1], efficiencies below 0 or all 0, and lengths that contradict each other.
    """

    prompts: np.ndarray
    angles_rad: np.ndarray
    bin_mm: float
    centre_bin: float
    slice_spacing_mm: float
    background: np.ndarray | None = None
    attenuation: np.ndarray | None = None
    efficiency: np.ndarray | None = None
    duration_s: float | None = None
    counts_per_bq: float | None = None
    ijk_to_ras: np.ndarray | None = None
    remarks: tuple[Remark, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        prompts = _counts(self.prompts, "prompts", "were randoms subtracted, or values interpolated? Give the "
                          "prompts, and the expected randoms as background")
        if not prompts.any():
            raise ValueError("expected coincidence counts as prompts, found zeros only: choose the file of the prompts")
        object.__setattr__(self, "prompts", prompts)
        self._check_geometry()
        if self.background is not None:
            object.__setattr__(self, "background", self._checked_background(self.background))
        if self.attenuation is not None:
            object.__setattr__(self, "attenuation", self._checked_attenuation(self.attenuation))
        if self.efficiency is not None:
            object.__setattr__(self, "efficiency", self._checked_efficiency(self.efficiency))

    @property
    def slices(self) -> int:
        return int(self.prompts.shape[0])

    @property
    def angles(self) -> int:
        return int(self.prompts.shape[1])

    @property
    def bins(self) -> int:
        return int(self.prompts.shape[2])

    def placed(self, rows: int, columns: int, pixel_mm: tuple[float, float]) -> np.ndarray | None:
        """ijk_to_ras (4, 4) of a grid about the axis, None: unknown; ``pixel_mm``: distance of rows and of columns."""
        if self.ijk_to_ras is None:
            return None
        axes = self.ijk_to_ras[:3, :3] / np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        matrix = self.ijk_to_ras.copy()
        matrix[:3, 0], matrix[:3, 1] = axes[:, 0] * pixel_mm[1], axes[:, 1] * pixel_mm[0]
        matrix[:3, 3] -= matrix[:3, 0] * (columns - 1) / 2 + matrix[:3, 1] * (rows - 1) / 2
        return matrix

    def _check_geometry(self) -> None:
        angles = np.asarray(self.angles_rad, np.float64)
        if angles.shape != (self.angles,) or not np.isfinite(angles).all():
            raise ValueError(
                f"expected {self.angles} finite angles_rad, one for each angle of the prompts {self.prompts.shape}, "
                f"found {angles.size}{'' if np.isfinite(angles).all() else ' with NaN or infinity'}: correct them"
            )
        object.__setattr__(self, "angles_rad", angles)
        for name, empty in (("bin_mm", False), ("slice_spacing_mm", False), ("duration_s", True),
                            ("counts_per_bq", True)):
            value = getattr(self, name)
            if (value is None and not empty) or (value is not None and not (math.isfinite(value) and value > 0)):
                raise ValueError(f"expected a positive number as {name}, found {value}: correct it"
                                 + (" or leave it out" if empty else ""))
        if not -0.5 <= self.centre_bin <= self.bins - 0.5:
            raise ValueError(
                f"expected the axis of rotation within the bins 0 to {self.bins - 1} as centre_bin, found "
                f"{self.centre_bin}: give {(self.bins - 1) / 2:g} when it is in the middle"
            )
        if self.ijk_to_ras is not None:
            place = Volume(np.zeros((1, 1, 1)), self.ijk_to_ras, "Bq/mL")
            check_rectangular(place.ijk_to_ras)
            apart = place.spacing_mm[2]
            if abs(self.slice_spacing_mm / apart - 1) > SAME_SIZE:
                raise ValueError(
                    f"expected slices {apart:.4g} mm apart as ijk_to_ras says, found slice_spacing_mm "
                    f"{self.slice_spacing_mm:.4g}: correct the geometry"
                )
            object.__setattr__(self, "ijk_to_ras", place.ijk_to_ras)

    def _checked_background(self, background: np.ndarray) -> np.ndarray:
        found = self._same_shape(_counts(background, "background", "give expected counts"), "a background")
        total, expected = float(self.prompts.sum(dtype=np.float64)), float(found.sum(dtype=np.float64))
        if expected >= total:
            raise ValueError(
                f"expected a background below the {total:.6g} prompts, found {expected:.6g} counts, which leave no "
                "true coincidences: give it in counts of this frame"
            )
        counted, away = (part.sum(axis=(1, 2), dtype=np.float64) for part in (self.prompts, found))
        above = np.flatnonzero(away > counted + BY_CHANCE * np.sqrt(away))
        if above.size:
            k = int(above[0])
            raise ValueError(
                f"expected a background that the prompts hold, found more of it in {above.size} of {self.slices} "
                f"slices, in slice {k} {away[k]:.6g} counts of {counted[k]:.6g} prompts: give that of these slices"
            )
        return found

    def _checked_attenuation(self, attenuation: np.ndarray) -> np.ndarray:
        found = self._same_shape(_numbers(attenuation, "attenuation"), "attenuation")
        least, most = float(found.min()), float(found.max())
        if most > 1 + ROUNDING or least <= 0:
            advice = "attenuation correction factors? Give 1 / factor" if least > 0 else "give exp(-integral of mu)"
            raise ValueError(f"expected a probability above 0 and at most 1 as attenuation, found {least:.4g} to "
                             f"{most:.4g}: {advice}")
        return np.minimum(found, np.float32(1))

    def _checked_efficiency(self, efficiency: np.ndarray) -> np.ndarray:
        found = _numbers(efficiency, "efficiency")
        try:
            fits = np.broadcast_shapes(found.shape, self.prompts.shape) == self.prompts.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"expected efficiencies that fit the prompts of shape {self.prompts.shape}, found shape {found.shape}: "
                "give one for each bin"
            )
        below = int((found < 0).sum())
        if below or not found.any():
            raise ValueError(
                "expected relative sensitivities of at least 0 as efficiency, 0 for a dead bin, found "
                f"{f'{below} below 0' if below else 'zeros only'}: give that of this scanner"
            )
        return found

    def _same_shape(self, array: np.ndarray, name: str) -> np.ndarray:
        if array.shape == self.prompts.shape:
            return array
        turned = array.shape == (self.slices, self.bins, self.angles) or array.shape == (
            self.angles, self.slices, self.bins)
        advice = "exchange its axes" if turned else "give that of these prompts"
        raise ValueError(f"expected {name} in the shape {self.prompts.shape} of the prompts, found {array.shape}: "
                         f"{advice}")


def about_axis(ijk_to_ras: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The ``ijk_to_ras`` of a :class:`Sinogram` whose axis of rotation is the middle of a grid of images."""
    matrix = np.array(ijk_to_ras, np.float64)
    matrix[:3, 3] += matrix[:3, 0] * (columns - 1) / 2 + matrix[:3, 1] * (rows - 1) / 2
    return matrix


def _counts(array: np.ndarray, name: str, advice: str) -> np.ndarray:
    """(slices, angles, bins) as float32; ValueError for another number of axes, NaN and numbers below 0."""
    given = np.asarray(array)
    if given.ndim != 3 or min(given.shape) < 1 or given.shape[-1] < 2:
        raise ValueError(f"expected {name} with the axes slices, angles, bins, found shape {given.shape}: name its "
                         "axes")
    found = _numbers(given, name)
    below = found < 0
    if below.any():
        raise ValueError(f"expected counts of at least 0 as {name}, found {int(below.sum())} below 0, the first in "
                         f"{_first(below)}: {advice}")
    return found


def _numbers(array: np.ndarray, name: str) -> np.ndarray:
    given = np.asarray(array)
    if given.dtype.kind not in "biuf":
        raise ValueError(f"expected real numbers as {name}, found {given.dtype}: convert the array first")
    with np.errstate(over="ignore"):
        found = given.astype(np.float32, copy=False)
    bad = ~np.isfinite(found)
    if bad.any():
        raise ValueError(f"expected finite numbers as {name}, found {int(bad.sum())} that are NaN or infinite, the "
                         f"first in {_first(bad)}: repair them, or give such bins an efficiency of 0")
    return found


def _first(wrong: np.ndarray) -> str:
    """The place of the first true value, such as "slice 0, angle 2, bin 5"."""
    at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    names = AXES[len(AXES) - wrong.ndim:] if wrong.ndim <= len(AXES) else ("index",) * wrong.ndim
    return ", ".join(f"{name} {int(n)}" for name, n in zip(names, at, strict=True)) or "its only number"
