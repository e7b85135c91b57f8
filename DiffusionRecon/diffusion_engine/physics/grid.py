"""The pixel grid of a slice, in mm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImageGrid:
    """A pixel grid of one slice: ``pixel_mm`` is (row spacing, column spacing), ``centre_mm`` its centre as (y, x)."""

    rows: int
    columns: int
    pixel_mm: tuple[float, float]
    centre_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):
            value = getattr(self, name)
            if int(value) != value or value < 1:
                raise ValueError(f"Expected whole grid {name} of at least 1, found {value}.")
            object.__setattr__(self, name, int(value))
        for name in ("pixel_mm", "centre_mm"):
            pair = tuple(float(v) for v in getattr(self, name))
            if len(pair) != 2 or not all(math.isfinite(v) for v in pair):
                raise ValueError(f"Expected two finite numbers (along y, along x) as {name}, found {pair}.")
            object.__setattr__(self, name, pair)
        for value in self.pixel_mm:
            require_positive("pixel_mm", value)

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def y_mm(self) -> np.ndarray:
        """y of the pixel centres in mm, shape (rows,)."""
        return (np.arange(self.rows) - (self.rows - 1) / 2) * self.pixel_mm[0] + self.centre_mm[0]

    @property
    def x_mm(self) -> np.ndarray:
        """x of the pixel centres in mm, shape (columns,)."""
        return (np.arange(self.columns) - (self.columns - 1) / 2) * self.pixel_mm[1] + self.centre_mm[1]

    @property
    def reach_mm(self) -> float:
        """Distance in mm from the isocentre to the farthest corner."""
        half = (self.rows * self.pixel_mm[0] / 2, self.columns * self.pixel_mm[1] / 2)
        return math.hypot(abs(self.centre_mm[0]) + half[0], abs(self.centre_mm[1]) + half[1])


def require_positive(name: str, value: float) -> None:
    """Raise ValueError for a number that is not positive and finite."""
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"Expected a positive, finite {name}, found {value}.")
