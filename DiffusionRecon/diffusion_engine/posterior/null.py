"""How large the difference of two images is where nothing is wrong: its null, by what lies around each voxel.

    s0(p) = 1.4826 median |d|  over the voxels of the bin of p;     z(p) = d(p) / s0(p)

Bins are of two local covariates: the smoothed spread of the draws and the gradient of the smoothed mean. Where draws
differ, and at edges, a difference says less than in even tissue where all agree. All in network units, so that one
table serves images of any unit. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

SPREAD_BINS, GRADIENT_BINS = 6, 4
FEWEST = 50
"""A bin with fewer voxels has the spread of all of them."""
TO_STANDARD = 1.4826
"""Of a normal distribution: its standard deviation in units of its median absolute deviation."""
LEAST = 1e-6
"""The smallest standard deviation that is divided by: an exact agreement would make a warning of rounding."""


def smoothed(images: np.ndarray, pixels: float) -> np.ndarray:
    """Real images (slices, rows, columns) under a Gaussian window of that standard deviation in their plane."""
    # Imported here: the panel reads the names of this folder at its opening.
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(np.asarray(images, np.float32), (0.0, pixels, pixels), mode="nearest"))


def covariates(mean: np.ndarray, spread: np.ndarray | None, pixels: float) -> np.ndarray:
    """(2, slices, rows, columns): smoothed spread of the draws (0 without one), and |gradient| of the smoothed mean.

    ``mean`` and ``spread``: (slices, rows, columns), real, in one unit; the gradient is in that unit a pixel.
    """
    even = smoothed(mean, pixels)
    slopes = [np.gradient(even, axis=axis) if even.shape[axis] > 1 else np.zeros_like(even) for axis in (1, 2)]
    return np.stack([np.zeros_like(even) if spread is None else smoothed(spread, pixels), np.hypot(*slopes)])


@dataclass(frozen=True, eq=False)
class Null:
    """A table of standard deviations: ``std`` (spread bins, gradient bins) between inner edges, which rise.

    ``threshold``: the |z| from which on a reader is warned, None where none was calibrated.
    """

    spread_edges: tuple[float, ...]
    gradient_edges: tuple[float, ...]
    std: tuple[tuple[float, ...], ...]
    threshold: float | None = None

    def at(self, local: np.ndarray) -> np.ndarray:
        """s0 for covariates (2, ...), see :func:`covariates`."""
        rows = np.searchsorted(self.spread_edges, local[0], side="right")
        columns = np.searchsorted(self.gradient_edges, local[1], side="right")
        return np.asarray(np.maximum(np.asarray(self.std)[rows, columns], LEAST))

    def entry(self) -> dict[str, Any]:
        """JSON values that :func:`stored` takes back."""
        return {
            "spread_edges": [float(f"{edge:.4g}") for edge in self.spread_edges],
            "gradient_edges": [float(f"{edge:.4g}") for edge in self.gradient_edges],
            "std": [[float(f"{value:.4g}") for value in row] for row in self.std],
            "threshold": None if self.threshold is None else round(self.threshold, 3),
        }


def stored(entry: Mapping[str, Any]) -> Null:
    """The null of a card's entry; raises ValueError for a table that does not fit its edges."""
    spread, gradient = (tuple(map(float, entry[key])) for key in ("spread_edges", "gradient_edges"))
    std = tuple(tuple(map(float, row)) for row in entry["std"])
    shape = (len(spread) + 1, len(gradient) + 1)
    whole = len(std) == shape[0] and all(len(row) == shape[1] for row in std)
    rising = all(tuple(sorted(edges)) == edges for edges in (spread, gradient))
    threshold = entry["threshold"]
    if not whole or not rising or not np.isfinite(std).all() or not np.min(std) >= 0 or not (
        threshold is None or threshold > 0
    ):
        raise ValueError(
            f"expected rising edges, a table of {shape} numbers of at least 0 and a threshold above 0, found {entry}: "
            "calibrate the maps again"
        )
    return Null(spread, gradient, std, None if threshold is None else float(threshold))


def fit_null(difference: np.ndarray, local: np.ndarray) -> Null:
    """The table of voxels ``difference`` (n,) with covariates ``local`` (2, n), in bins that hold about equally many.

    Raises ValueError without voxels, FloatingPointError for values that are not finite.
    """
    if difference.size == 0:
        raise ValueError("expected voxels of the body for the null of a map, found none: check unit and field of view")
    if not np.isfinite(difference).all() or not np.isfinite(local).all():
        raise FloatingPointError("a map holds NaN or infinite values: its null cannot be fitted")
    edges = [_edges(values, bins) for values, bins in zip(local, (SPREAD_BINS, GRADIENT_BINS), strict=True)]
    places = [np.searchsorted(own, values, side="right") for own, values in zip(edges, local, strict=True)]
    size, everywhere = np.abs(difference), _robust(np.abs(difference))
    table = []
    for row in range(len(edges[0]) + 1):
        members = [size[(places[0] == row) & (places[1] == column)] for column in range(len(edges[1]) + 1)]
        table.append(tuple(_robust(own) if len(own) >= FEWEST else everywhere for own in members))
    return Null(edges[0], edges[1], tuple(table))


def _edges(values: np.ndarray, bins: int) -> tuple[float, ...]:
    """Inner edges of bins that hold about equally many of the values; fewer where many are equal."""
    found = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    return tuple(float(edge) for edge in found if edge > values.min())


def _robust(size: np.ndarray) -> float:
    return TO_STANDARD * float(np.median(size))
