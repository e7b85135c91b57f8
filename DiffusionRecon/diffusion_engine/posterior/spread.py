"""The width of a calibrated interval at every voxel, from the spread of the draws and from how far the data pull.

Where the prior decides, draws agree with each other and not with the truth: their spread s is smallest at lesions that
were lost. What tells such places is the pull d, the first draw minus the same draw (same noise) with the prior as sure
as the network states it: how far the data move an image away from the prior once they are allowed to. The width is

    u = (max(s~, floor)^2 + (w d~ / k)^2)^(1/2),    s~^2 = G s^2,  d~ = G d,

G: a Gaussian window of SMOOTHING pixels in each slice, k: Student's factor for the draws, w: PULL. The interval is
mean +- k f u, with a factor f of its own for each class of values of the mean (lung, soft tissue, bone, ...): a
Mondrian conformal predictor, doi:10.1007/b106715. On held-out slices these intervals are narrower than those of s
alone, and hold the truth inside inserted lesions far more often. That the distance between two fits widens an interval
is this project's own; w was chosen there. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .intervals import spread_factor

PULL = 8.0
SMOOTHING = 1.5

Classes = Sequence[tuple[str, float, float]]
"""Name, least value and upper bound of classes of values of the mean; a modality's :attr:`..rules.Trust.classes`."""


@dataclass(frozen=True, eq=False)
class Spread:
    """What a run knows of its own error: arrays (slices, rows, columns) in the delivered unit.

    ``std``: of ``draws`` draws; ``mean``: of them, real; ``pull``: d above, None where the method has no such thing;
    ``unit``: what of it floors and classes count in, see :meth:`..rules.Trust.unit`.
    """

    std: np.ndarray
    draws: int
    mean: np.ndarray
    pull: np.ndarray | None = None
    unit: float = 1.0

    def __getitem__(self, index: Any) -> Spread:
        """That of some slices."""
        pull = None if self.pull is None else self.pull[index]
        return Spread(self.std[index], self.draws, self.mean[index], pull, self.unit)

    def moved(self, gain: float) -> Spread:
        """The same around mean + gain d~."""
        return replace(self, mean=(self.mean + gain * self.away).astype(self.mean.dtype)) if gain else self

    @property
    def away(self) -> np.ndarray:
        """d~ above, float64; zero without a pull."""
        return np.zeros(self.std.shape) if self.pull is None else smoothed(self.pull)

    def width(self, floor: float) -> np.ndarray:
        """u above, float64; the ``floor`` counts in ``unit``."""
        spread = np.sqrt(np.maximum(smoothed(np.square(self.std, dtype=np.float64)), 0.0))
        width = np.maximum(spread, floor * self.unit)
        return width if self.pull is None else np.hypot(width, PULL / spread_factor(self.draws) * self.away)

    def calibrated(self, entry: Mapping[str, Any], classes: Classes) -> np.ndarray:
        """f u, the standard deviation by which k gives a 90 % interval; float32.

        ``entry``: of a card, with "factor", "floor", "factors" by class, and whether it was made with the "pull".
        Raises ValueError where this run has no pull and the entry was made with one, or the other way about.
        """
        if bool(entry.get("pull", False)) != (self.pull is not None):
            raise ValueError("the calibration and this run differ in whether they know the pull of the data")
        factor = factors_at(self.mean / self.unit, classes, float(entry["factor"]), entry.get("factors", {}))
        return (factor * self.width(entry["floor"])).astype(np.float32)


def smoothed(images: np.ndarray) -> np.ndarray:
    """G of images (..., rows, columns), float64."""
    from scipy.ndimage import gaussian_filter

    around = (*([0.0] * (images.ndim - 2)), SMOOTHING, SMOOTHING)
    return gaussian_filter(np.asarray(images, np.float64), around, mode="nearest")


def moved_by(pull: np.ndarray, gain: float) -> np.ndarray:
    """gain G d, float32."""
    return (gain * smoothed(pull)).astype(np.float32)


def factors_at(mean: np.ndarray, classes: Classes, factor: float, factors: Mapping[str, float]) -> np.ndarray:
    """f of every voxel: its class's own of ``factors``, or the ``factor`` of all."""
    own = np.full(mean.shape, factor)
    for name, inside in members(mean, classes):
        own[inside] = factors.get(name, factor)
    return own


def members(mean: np.ndarray, classes: Classes) -> list[tuple[str, np.ndarray]]:
    """Where the values of an image belong to each class."""
    return [(name, (mean >= low) & (mean < high)) for name, low, high in classes]
