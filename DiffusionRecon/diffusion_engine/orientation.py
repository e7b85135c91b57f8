"""The patient's axes and an image's own: how a stack is turned to standard axial slices, and back; square pixels.

Standard axial: columns run to the patient's left, rows to posterior, slices to superior. A turn is a permutation of the
array's axes followed by flips, so that no value changes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from .volume import Volume

RAS_OF_AXIAL = np.array([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
"""Directions of columns, rows and slices of a standard axial stack, as columns."""
LEAST_COSINE = 0.7
"""Axes further from the patient's than 45 degrees (a tilted gantry reaches 30) are called oblique."""
SQUARE = 0.01
"""Largest relative difference of the sides of a pixel that counts as square."""


@dataclass(frozen=True)
class Turn:
    """From an array (slices, rows, columns) to the standard axial one.

    ``axes``: for each axis of the turned array the axis of the stored one; ``flips``: axes of the turned array that the
    stored one runs through backwards; ``tilt_degrees``: the largest angle between an axis and the patient's.
    """

    axes: tuple[int, int, int]
    flips: tuple[int, ...]
    tilt_degrees: float

    @property
    def axial(self) -> bool:
        """Whether the stored slices are axial ones."""
        return self.axes == (0, 1, 2) and not self.oblique

    @property
    def downward(self) -> bool:
        """Whether the stored slices are axial ones from superior to inferior."""
        return self.axial and 0 in self.flips

    @property
    def oblique(self) -> bool:
        """Whether the axes lie too far from the patient's to be told apart."""
        return math.cos(math.radians(self.tilt_degrees)) < LEAST_COSINE

    def apply(self, array: np.ndarray) -> np.ndarray:
        """The standard axial array, a view of the stored one (slices, rows, columns)."""
        return np.flip(np.transpose(array, self.axes), self.flips)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """The stored array, a view of the standard axial one: the inverse of :meth:`apply`."""
        inverse = tuple(self.axes.index(n) for n in range(3))
        return np.transpose(np.flip(array, self.flips), inverse)


def turn_of(volume: Volume) -> Turn:
    """The turn that brings a volume nearest to standard axial: the permutation with the largest sum of |cosines|."""
    axes = volume.ijk_to_ras[:3, :3] / np.array(volume.spacing_mm)
    # Rows: columns, rows and slices of a standard stack; columns: those of this one.
    cosines = RAS_OF_AXIAL.T @ axes
    best = max(itertools.permutations(range(3)), key=lambda p: sum(abs(cosines[n, p[n]]) for n in range(3)))
    along = [float(cosines[n, best[n]]) for n in range(3)]
    tilt = math.degrees(math.acos(min(1.0, min(abs(c) for c in along))))
    # Columns, rows, slices (i, j, k) are the array's axes 2, 1, 0.
    order = (2 - best[2], 2 - best[1], 2 - best[0])
    return Turn(order, tuple(2 - n for n in (2, 1, 0) if along[n] < 0), tilt)


def upright(volume: Volume) -> tuple[Volume, Turn]:
    """The volume as a standard axial stack, every voxel at its place and unchanged, and the turn that did it.

    Raises ValueError for an oblique volume, more than 45 degrees from the patient's axes.
    """
    turn = turn_of(volume)
    if turn.oblique:
        raise ValueError(
            f"expected axes within 45 degrees of the patient's, found them {turn.tilt_degrees:.0f} degrees away: "
            "reformat the image to axial slices first"
        )
    if turn.axes == (0, 1, 2) and not turn.flips:
        return volume, turn
    array = turn.apply(volume.array)
    matrix = volume.ijk_to_ras.copy()
    matrix[:, :3] = volume.ijk_to_ras[:, [2 - turn.axes[2], 2 - turn.axes[1], 2 - turn.axes[0]]]
    for axis in turn.flips:
        column = 2 - axis
        matrix[:, 3] += matrix[:, column] * (array.shape[axis] - 1)
        matrix[:, column] *= -1
    return Volume(np.ascontiguousarray(array), matrix, volume.unit), turn


def has_square_pixels(volume: Volume) -> bool:
    """Whether the sides of a pixel differ by 1 % at most."""
    wide, tall, _ = volume.spacing_mm
    return abs(wide / tall - 1) <= SQUARE


def square_pixels(volume: Volume) -> Volume:
    """Slices on square pixels as wide as the longer side was, means over the finer one's axis, float32.

    A new pixel is the mean of what it covers: sum over old pixels of value times overlap, over its width. What fills
    no pixel is trimmed, half at each side. A volume whose pixels are square to 1 % is returned as it is.
    """
    if has_square_pixels(volume):
        return volume
    wide, tall, _ = volume.spacing_mm
    axis, column = (2, 0) if wide < tall else (1, 1)
    weights, first = _overlaps(volume.array.shape[axis], max(wide, tall) / min(wide, tall))
    values = np.moveaxis(np.tensordot(volume.array.astype(np.float64), weights, (axis, 1)), -1, axis)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += first * matrix[:3, column]
    matrix[:3, column] *= max(wide, tall) / min(wide, tall)
    return Volume(values.astype(np.float32), matrix, volume.unit)


def axial_squares(volume: Volume) -> tuple[Volume, str]:
    """A volume as priors are trained on it: standard axial slices on square pixels; and what was done beyond flips.

    From the same patient come the same slices, however they are stored, see :func:`upright`. Sagittal and coronal
    stacks give axial slices where these have square pixels; axial slices whose pixels are not square are averaged, see
    :func:`square_pixels`. Raises ValueError for all others.
    """
    standing, turn = upright(volume)
    wide, tall, _ = standing.spacing_mm
    size = f"pixels of {tall:.3g} x {wide:.3g} mm"
    if has_square_pixels(standing):
        return standing, "" if turn.axial else "axial slices of another stack"
    if not turn.axial:
        raise ValueError(
            "expected axial slices, or a sagittal or coronal stack that gives some with square pixels, found one whose "
            f"axial slices have {size}: reformat it to axial slices first"
        )
    standing = square_pixels(standing)
    return standing, f"{size} averaged to squares of {standing.spacing_mm[0]:.3g} mm"


def _overlaps(count: int, ratio: float) -> tuple[np.ndarray, float]:
    """Weights (new, old) of pixels ``ratio`` times as wide, rows summing to 1, and the index where the first lies."""
    new = math.floor(count / ratio + 1e-6)
    if new < 2:
        raise ValueError(
            f"expected pixels that are nearly square, found sides of a ratio of {ratio:.3g} over {count} pixels: "
            "resample the image first"
        )
    start = (count - new * ratio) / 2
    low = start + ratio * np.arange(new)[:, None]
    old = np.arange(count)[None]
    overlap = np.clip(np.minimum(low + ratio, old + 1) - np.maximum(low, old), 0, None)
    return overlap / overlap.sum(1, keepdims=True), start + (ratio - 1) / 2
