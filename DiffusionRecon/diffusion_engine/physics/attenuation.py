"""What the body lets pass at 511 keV: attenuation maps of CT, and the survival of each line.

    mu = 9.6e-6 (HU + 1000) below a break near 50 HU,   mu = a (HU + 1000) + b above it,   in 1/mm

since what attenuates more than water holds calcium, which absorbs X-rays much more than annihilation photons; a, b and
the break depend on the tube voltage. A pair survives with the probability exp(-integral of mu along the whole line),
wherever on the line it was born. Source: Carney, Townsend, Rappoport and Bendriem, doi:10.1118/1.2174132, table I.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from ..volume import Volume
from .operator import LinearOperator

WATER_PER_MM = 0.0096
"""Linear attenuation coefficient of water at 511 keV."""
USUAL_PER_MM = (0.004, 0.018)
"""Between these lies the median of a body's attenuation coefficients, from lung to bone."""
UNDERSHOOT_PER_MM = 0.001
"""Values as far below 0 are the undershoot of a filter or an interpolation, and attenuate nothing."""
SAME_GRID_MM = 0.01
"""Corners of two grids that agree to this are the same grid's."""


class BoneLine(NamedTuple):
    """mu = slope (HU + 1000) + offset in 1/mm above ``break_hu``."""

    slope: float
    offset: float
    break_hu: float


BONE = {
    80: BoneLine(3.64e-6, 6.26e-3, 50.0),
    100: BoneLine(4.43e-6, 5.44e-3, 52.0),
    110: BoneLine(4.92e-6, 4.88e-3, 43.0),
    120: BoneLine(5.10e-6, 4.71e-3, 47.0),
    130: BoneLine(5.51e-6, 4.24e-3, 37.0),
    140: BoneLine(5.64e-6, 4.08e-3, 30.0),
}
"""By the tube voltage in kVp."""


def mu_of_hu(hu: np.ndarray, kvp: int = 120) -> np.ndarray:
    """Attenuation coefficients at 511 keV in 1/mm of CT numbers in HU, by the bilinear law of the tube voltage.

    Below -1000 HU there is nothing to attenuate: mu is 0. Raises ValueError for a tube voltage that the table lacks.
    """
    if kvp not in BONE:
        raise ValueError(f"expected a tube voltage of {', '.join(map(str, BONE))} kVp, found {kvp}: give the nearest")
    values = np.asarray(hu, dtype=np.float64)
    bone = BONE[kvp]
    above = bone.slope * (values + 1000) + bone.offset
    below = WATER_PER_MM / 1000 * np.maximum(values + 1000, 0)
    return np.where(values > bone.break_hu, above, below).astype(np.float32)


def check_mu(mu: np.ndarray) -> None:
    """Refuse an attenuation map that is not in 1/mm, by its median: ValueError with the unit that it seems to have.

    The median is that of the values above a tenth of the 99th percentile of all positive ones: of the body.
    """
    if not bool(np.isfinite(mu).all()):
        raise ValueError("the attenuation map holds NaN or infinite values: repair those voxels")
    expected = "expected an attenuation map in 1/mm at 511 keV, 0.0096 in water,"
    if float(mu.min()) < -UNDERSHOOT_PER_MM:
        kind = "as in a CT in HU: give it as CT" if float(mu.min()) < -1 else "correct those voxels"
        raise ValueError(f"{expected} found values down to {float(mu.min()):.4g}, {kind}")
    positive = mu[mu > 0]
    if positive.size == 0:
        raise ValueError(f"{expected} found no value above 0: leave the map out where nothing attenuates")
    median = float(np.median(positive[positive > 0.1 * np.percentile(positive, 99)]))
    low, high = USUAL_PER_MM
    if low <= median <= high:
        return
    if 10 * low <= median <= 10 * high:
        raise ValueError(f"{expected} found a median of {median:.3g} in the body, as in 1/cm: divide the map by 10")
    raise ValueError(f"{expected} found a median of {median:.3g} in the body: is it a CT in HU, or scaled?")


def on_grid(volume: Volume, ijk_to_ras: np.ndarray, shape: tuple[int, int, int], outside: float,
            name: str = "attenuation map") -> tuple[np.ndarray, str | None]:
    """Values of ``volume`` on another grid, and the sentence that says so, None where the grids are the same.

    Trilinear between voxels, after averaging over as much as a voxel of the new grid holds of the old ones; ``outside``
    where the volume does not reach (0 of an attenuation map, -1000 of a CT). ``shape``: (slices, rows, columns).
    Raises ValueError where the two do not overlap, for example in another frame of reference.
    """
    ends = [(0, n - 1) for n in shape[::-1]]
    corners = np.array([[*ijk, 1.0] for ijk in itertools.product(*ends)])
    there = np.abs(corners @ (volume.ijk_to_ras - ijk_to_ras).T).max() if volume.array.shape == shape else np.inf
    if there < SAME_GRID_MM:
        return volume.array, None
    to_old = np.linalg.inv(volume.ijk_to_ras) @ ijk_to_ras
    # Boxes as wide as the new voxel, in old voxels, so that no structure is skipped.
    widths = np.maximum(np.abs(to_old[:3, :3]).sum(1), 1.0)
    values = np.asarray(volume.array, dtype=np.float32)
    for axis, width in zip((2, 1, 0), widths, strict=True):
        values = _averaged(values, float(width), axis, outside)
    k, j, i = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing="ij")
    at = [to_old[n, 0] * i + to_old[n, 1] * j + to_old[n, 2] * k + to_old[n, 3] for n in range(3)]
    size = volume.array.shape[::-1]
    inside = np.logical_and.reduce([(p > -0.5) & (p < n - 0.5) for p, n in zip(at, size, strict=True)])
    if not inside.any():
        raise ValueError(f"the {name} lies wholly outside of the image: expected both in one frame of reference, "
                         "correct its position")
    result = map_coordinates(values, at[::-1], order=1, mode="nearest").astype(np.float32)
    result[~inside] = outside
    part = 100 * float(inside.mean())
    said = f"The {name} was resampled to the grid of the image by linear interpolation"
    beyond = "" if part > 99.5 else f"; it covers {part:.0f} % of it, beyond it holds {outside:g}"
    return result, f"{said}{beyond}."


def survival(mu: Tensor, lines: LinearOperator) -> Tensor:
    """exp(-P mu): the probability that both photons of a line leave the body, (slices, angles, bins) in (0, 1].

    ``mu``: (slices, rows, columns) in 1/mm on the grid of ``lines``, which has no point spread.
    """
    check_mu(mu.cpu().numpy())
    return torch.exp(-lines.forward(mu.clamp_min(0)))


def _averaged(values: np.ndarray, width: float, axis: int, outside: float) -> np.ndarray:
    """Means over a box of ``width`` voxels, not a whole number as a rule, along one axis."""
    if width <= 1.0:
        return values
    half = (width - 1) / 2
    whole, rest = int(half), half - int(half)
    pad = [(0, 0)] * values.ndim
    pad[axis] = (whole + 1, whole + 1)
    padded = np.moveaxis(np.pad(values, pad, constant_values=outside), axis, 0)
    count = values.shape[axis]
    total = rest * (padded[:count] + padded[2 * whole + 2 : 2 * whole + 2 + count])
    for n in range(1, 2 * whole + 2):
        total = total + padded[n : n + count]
    return np.moveaxis(total / width, 0, axis).astype(np.float32)
