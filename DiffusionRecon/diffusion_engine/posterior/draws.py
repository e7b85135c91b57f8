"""Draws kept on disk in half precision and read slab by slab: exact quantiles, exceedance, intervals.

No torch here: what reads draws may run inside Slicer.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from .intervals import LEVEL, prediction_interval
from .reserved import made_folder, reserved_array

SLAB_BYTES = 64 << 20
"""Memory of the draws that are looked at together."""


class DrawStore:
    """Draws (draws, slices, rows, columns) as a memory-mapped float16 file of differences from the first draw.

    x_n = first + d_n with ``first`` in float32 on disk as well. Half precision rounds d_n by at most |d_n| / 2048, so a
    draw that lies 100 HU from the first is kept to 0.05 HU; the first is exact to float32. ``folder``: a new one for
    the files, a temporary one when None, removed by :meth:`close`. Their space on the disk is taken at once. A context
    manager. Raises ValueError for no draws, an empty shape, a folder that is there, or a disk without room.
    """

    def __init__(self, draws: int, shape: tuple[int, int, int], folder: Path | None = None) -> None:
        if draws < 1 or min(shape) < 1:
            raise ValueError(f"expected 1 draw or more of at least one voxel, found {draws} of {shape}: ask for draws")
        self.count, self.shape = draws, shape
        self._home = Path(tempfile.mkdtemp(prefix="draws-")) if folder is None else made_folder(folder)
        try:
            self._first = reserved_array(self._home / "first.npy", shape, np.float32)
            self._away = reserved_array(self._home / "away.npy", (draws - 1, *shape), np.float16) if draws > 1 else (
                np.zeros((0, *shape), np.float16)
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> DrawStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget the draws and remove their files; more calls do nothing."""
        # A mapped file cannot be removed on Windows, so the maps go first.
        self._first, self._away = np.zeros(0, np.float32), np.zeros(0, np.float16)
        shutil.rmtree(self._home, ignore_errors=True)

    def write(self, draw: int, slices: slice, images: np.ndarray) -> None:
        """Keep some slices of a draw (from 0), in HU; the first draw of a slice comes before the others.

        Raises FloatingPointError for values that are not finite or too far from the first draw for half precision.
        """
        if not np.isfinite(images).all():
            raise FloatingPointError("a draw holds NaN or infinite values: it was not kept")
        if draw == 0:
            self._first[slices] = images
            return
        away = images - self._first[slices]
        if float(np.abs(away).max()) > float(np.finfo(np.float16).max):
            raise FloatingPointError("a draw lies more than 65504 from the first: it cannot be kept in half precision")
        self._away[draw - 1, slices] = away

    def read(self, draw: int, slices: slice = slice(None)) -> np.ndarray:
        """Some slices of a draw (from 0): (slices, rows, columns), float32."""
        if not 0 <= draw < self.count:
            raise ValueError(f"expected a draw from 0 to {self.count - 1}, found {draw}: choose one that exists")
        first = np.array(self._first[slices])
        return first if draw == 0 else first + self._away[draw - 1, slices].astype(np.float32)

    def slabs(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Slices and all their draws (draws, slices, rows, columns), float32, as many as 64 MB hold (one at least)."""
        slices, rows, columns = self.shape
        step = max(1, SLAB_BYTES // (4 * self.count * rows * columns))
        for start in range(0, slices, step):
            part = slice(start, min(start + step, slices))
            first = np.array(self._first[part])
            yield part, np.concatenate([first[None], first + self._away[:, part].astype(np.float32)])

    def quantile(self, level: float) -> np.ndarray:
        """The :func:`exchangeable_quantile` of every voxel: (slices, rows, columns), HU."""
        result = np.empty(self.shape, np.float32)
        for part, values in self.slabs():
            result[part] = exchangeable_quantile(values, level)
        return result

    def interval(self, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
        """The :func:`~.intervals.prediction_interval` of every voxel: its low and high ends, HU."""
        low, high = np.empty(self.shape, np.float32), np.empty(self.shape, np.float32)
        for part, values in self.slabs():
            low[part], high[part] = prediction_interval(values, level)
        return low, high

    def exceedance(self, threshold: float, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Share of draws above ``threshold`` (HU) in every voxel, and the ends of its :func:`binomial_interval`."""
        share, low, high = (np.empty(self.shape, np.float32) for _ in range(3))
        lows, highs = binomial_interval(self.count, level)
        for part, values in self.slabs():
            above = (values > threshold).sum(0)
            share[part], low[part], high[part] = above / self.count, lows[above], highs[above]
        return share, low, high


def exchangeable_quantile(values: np.ndarray, level: float) -> np.ndarray:
    """The value below which one more exchangeable draw lies with probability ``level``.

    ``values``: (draws, ...). With n draws, P(new <= k-th smallest) = k / (n + 1), so the order statistic
    k = level (n + 1) is exact without any assumption (linear between neighbours). Levels beyond the extremes,
    1 / (n + 1) and n / (n + 1), are taken from Student's t: mean + t_{n-1}(level) s sqrt(1 + 1 / n), which is exact for
    normal draws. The raw 5 and 95 % quantiles of 16 draws cover 81 %, not 90 %. Raises ValueError below 2 draws.
    """
    draws = len(values)
    if draws < 2 or not 0 < level < 1:
        raise ValueError(f"a quantile needs 2 draws or more and a level from 0 to 1, found {draws} and {level}")
    # Rounding must not push a level that the extremes just reach beyond them.
    if 1 - 1e-9 <= level * (draws + 1) <= draws + 1e-9:
        reached = min(max(level, 1 / (draws + 1)), draws / (draws + 1))
        return np.quantile(values, reached, axis=0, method="weibull")
    # Imported here: whatever reads draws inside Slicer should not wait for scipy at import.
    from scipy.stats import t

    width = float(t.ppf(level, draws - 1)) * math.sqrt(1 + 1 / draws)
    return values.mean(0) + width * values.std(0, ddof=1)


def binomial_interval(draws: int, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends of the probability behind k hits in ``draws``, for k = 0 .. draws.

    Exact: covers at least ``level`` for every true probability. Source: Clopper and Pearson,
    doi:10.1093/biomet/26.4.404.
    """
    from scipy.stats import beta

    hits, tail = np.arange(draws + 1), (1 - level) / 2
    # Where there is no hit, or nothing but hits, an end is 0 or 1, and its beta distribution does not exist.
    low = np.where(hits == 0, 0.0, beta.ppf(tail, np.maximum(hits, 1), draws - hits + 1))
    high = np.where(hits == draws, 1.0, beta.ppf(1 - tail, hits + 1, np.maximum(draws - hits, 1)))
    return low, high
