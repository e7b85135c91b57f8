"""A slice of a phantom while it is painted: tissues over each other, with soft edges and texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .shapes import cover
from .texture import Noise

AIR = -1000.0


@dataclass(frozen=True)
class Plane:
    """A slice: pixel centres ``x`` and ``y``, its height ``z``, and ``pixel_mm`` (row, column), all in mm."""

    x: np.ndarray
    y: np.ndarray
    z: float
    pixel_mm: tuple[float, float]

    @property
    def edge_mm(self) -> float:
        """Width of the soft edges: one pixel."""
        return float(np.sqrt(self.pixel_mm[0] * self.pixel_mm[1]))


class Canvas:
    """A slice being painted: ``hu`` (rows, columns), its coordinates x (1, columns), y (rows, 1), z, and noises.

    ``fine``, ``grain``, ``coarse``: unit noises of growing cell size, the texture of every tissue.
    """

    def __init__(self, plane: Plane, seed: int) -> None:
        self.plane, self.seed = plane, seed
        self.hu = np.full((len(plane.y), len(plane.x)), AIR, np.float32)
        self.edge_mm = plane.edge_mm
        self.x, self.y, self.z = plane.x[None, :], plane.y[:, None], plane.z
        self.fine = self.noise(10, (1.2, 0.9, 0.9))
        self.grain = self.noise(11, (3.0, 2.4, 2.4))
        self.coarse = self.noise(12, (12.0, 9.0, 9.0))

    def noise(self, channel: int, cell_mm: tuple[float, float, float]) -> np.ndarray:
        """Unit noise on the slice's pixels."""
        plane = self.plane
        return Noise(self.seed, channel, cell_mm).plane(plane.z, plane.y, plane.x, plane.pixel_mm)

    def texture(self, fine: float, grain: float, coarse: float = 0.0) -> np.ndarray:
        """A tissue's texture: deviations in HU of the three noises."""
        return fine * self.fine + grain * self.grain + coarse * self.coarse

    def paint(self, part: np.ndarray, value: np.ndarray | float) -> None:
        """Lay ``value`` over the part (0 to 1) of each pixel."""
        self.hu += part * (value - self.hu)

    def fill(self, distance: np.ndarray, value: np.ndarray | float) -> np.ndarray:
        """Paint a solid by its distance; returns its cover."""
        part = cover(distance, self.edge_mm)
        self.paint(part, value)
        return part
