"""Seeded noise defined in millimetres: the same texture on any pixel grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXTENT_MM = 320.0
"""Half width of the noise in the plane; it repeats beyond."""

DEVIATION = 0.48**1.5
"""Standard deviation of a cubic B-spline sum over unit deviates in three axes, averaged over the cell."""


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of zero mean and unit deviation: random values on a lattice, cubic B-splines between.

    ``seed``, ``channel``: which noise; ``cell_mm``: lattice spacing (z, y, x), the size of its grains.
    """

    seed: int
    channel: int
    cell_mm: tuple[float, float, float]

    def plane(self, z: float, y: np.ndarray, x: np.ndarray, pixel_mm: tuple[float, float]) -> np.ndarray:
        """The noise at height z, averaged over pixels centred at ``y`` and ``x`` (mm): (len(y), len(x)), float32."""
        cz, cy, cx = self.cell_mm
        rows, columns = round(2 * EXTENT_MM / cy), round(2 * EXTENT_MM / cx)
        base = int(np.floor(z / cz))
        lattice = np.zeros((rows, columns), np.float32)
        for n, weight in enumerate(_spline(np.asarray(z / cz - base))):
            # Seeds may not be negative; planes go from far below to far above.
            stream = np.random.default_rng((self.seed, self.channel, base + n + 100_000))
            lattice += np.float32(weight) * stream.standard_normal((rows, columns), dtype=np.float32)
        along_y = _weights(y, pixel_mm[0], cy, rows)
        along_x = _weights(x, pixel_mm[1], cx, columns)
        return (along_y @ lattice @ along_x.T) / np.float32(DEVIATION)


def _spline(t: np.ndarray) -> list[np.ndarray]:
    """The four cubic B-spline weights at the fraction t of a cell."""
    return [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6]


def _weights(places: np.ndarray, pixel_mm: float, cell_mm: float, count: int) -> np.ndarray:
    """Interpolation matrix (len(places), count), averaged over each pixel's width so that coarse grids do not alias."""
    parts = max(1, int(np.ceil(2 * pixel_mm / cell_mm)))
    matrix = np.zeros((len(places), count), np.float32)
    index = np.arange(len(places))
    for shift in (np.arange(parts) + 0.5) / parts - 0.5:
        at = (places + shift * pixel_mm + EXTENT_MM) / cell_mm
        base = np.floor(at).astype(int)
        for n, weight in enumerate(_spline(at - base)):
            np.add.at(matrix, (index, (base + n) % count), (weight / parts).astype(np.float32))
    return matrix
