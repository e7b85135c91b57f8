"""Which entries of a Cartesian k-space are measured: uniform, random, Gaussian and Poisson-disc patterns.

A pattern of one axis picks whole lines, which are rows; one of two axes picks entries, as in a 3D acquisition seen
along its readout. k = 0 is at index size // 2. The calibration block in the middle is always measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PATTERNS = ("uniform", "random", "gaussian", "poisson")
_TRIES = 14  # halvings of the range of Poisson-disc radii: finer than a sample


@dataclass(frozen=True)
class Sampling:
    """How k-space is sampled, simulated: one mask of given ``shape`` (rows, columns) for all slices and coils.

    ``pattern``: "uniform", every nth line or entry; "random", equal chances; "gaussian", chances
    exp(-|k|^2 / (2 width^2)); "poisson", no two nearer than a radius that grows from the middle to twice as much.
    ``acceleration``: all entries over measured ones, calibration included; uniform patterns take the step that comes
    nearest (:func:`acceleration` tells the true one), the others meet it to a line or an entry. ``calibration``: lines
    or, of two axes, the block's size, in entries. ``axes``: 1 or 2. ``width``: of the Gaussian, as a share of the size.
    ``partial_fourier``: share of the rows, over .5 to 1, that may be measured; the first are left out. ``elliptical``:
    the corners outside the ellipse of the grid are left out.
    """

    pattern: str = "gaussian"
    acceleration: float = 4.0
    calibration: int = 24
    axes: int = 1
    width: float = 0.2
    partial_fourier: float = 1.0
    elliptical: bool = False

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise ValueError(f"expected a pattern among {', '.join(PATTERNS)}, found {self.pattern!r}")
        if not (math.isfinite(self.acceleration) and self.acceleration >= 1):
            raise ValueError(f"expected an acceleration of at least 1, found {self.acceleration}")
        if self.axes not in (1, 2):
            raise ValueError(f"expected a pattern of 1 or 2 axes, found {self.axes}")
        if self.calibration < 1:
            raise ValueError(f"expected at least 1 calibration line, found {self.calibration}")
        if not 0 < self.width < math.inf:
            raise ValueError(f"expected a width above 0 of the Gaussian, found {self.width}")
        if not 0.5 < self.partial_fourier <= 1:
            raise ValueError(f"expected a partial Fourier share above 0.5 and at most 1, found {self.partial_fourier}")
        if self.elliptical and self.axes == 1:
            raise ValueError("the elliptical shutter leaves out entries, not lines: choose a pattern of 2 axes")


def sampling_mask(shape: tuple[int, int], sampling: Sampling, seed: int) -> Tensor:
    """Bool (rows, columns), true where measured; the same for the same seed.

    Raises ValueError where the calibration block alone is more than the acceleration allows, does not fit, or the
    entries that may be measured are too few.
    """
    rows, columns = shape
    generator = np.random.default_rng(seed)
    allowed = _allowed(rows, columns, sampling)
    if sampling.axes == 1:
        allowed = allowed[:, :1]
    chosen = np.broadcast_to(_picked(allowed, sampling, generator), shape)
    return torch.from_numpy(chosen.copy())


def acceleration(mask: Tensor) -> float:
    """Entries of k-space over measured ones, of all slices together."""
    return mask.numel() / int(mask.sum())


def _allowed(rows: int, columns: int, sampling: Sampling) -> np.ndarray:
    """What may be measured: bool (rows, columns), without the first rows and the corners."""
    allowed = np.ones((rows, columns), bool)
    allowed[: rows - round(rows * sampling.partial_fourier)] = False
    if sampling.elliptical:
        r, c = _centred(rows)[:, None], _centred(columns)[None, :]
        allowed &= r**2 + c**2 <= 1
    return allowed


def _centred(size: int) -> np.ndarray:
    """k of each index, from -1 to less than 1, 0 at size // 2."""
    return (np.arange(size) - size // 2) / max(size / 2, 1)


def _picked(allowed: np.ndarray, sampling: Sampling, generator: np.random.Generator) -> np.ndarray:
    """The lines (rows, 1) or entries (rows, columns) measured, calibration included, by the pattern."""
    shape = allowed.shape
    block = _block(shape, sampling.calibration)
    if bool((block & ~allowed).any()):
        raise ValueError(
            f"the calibration block of {sampling.calibration} reaches into what partial Fourier or the elliptical "
            "shutter leaves out: measure fewer calibration lines or a larger share"
        )
    if sampling.calibration > min(shape[:1] if sampling.axes == 1 else shape):
        raise ValueError(
            f"expected at most {shape[0]} fully sampled lines, as many as the image has rows, found "
            f"{sampling.calibration}: measure fewer"
        )
    wanted = round(allowed.size / sampling.acceleration)
    if wanted < block.sum():
        raise ValueError(
            f"expected an acceleration of at most {allowed.size / block.sum():.1f} with a calibration block of "
            f"{sampling.calibration} in {shape[0]} rows, found {sampling.acceleration}: measure fewer calibration lines"
        )
    if wanted > allowed.sum():
        raise ValueError(
            f"expected an acceleration of at least {allowed.size / allowed.sum():.2f}, found {sampling.acceleration}: "
            "partial Fourier and the elliptical shutter leave no more to measure"
        )
    free = allowed & ~block
    if sampling.pattern == "uniform":
        return block | _uniform(shape, free, wanted - int(block.sum()), generator)
    if sampling.pattern == "poisson":
        return block | _poisson(shape, free, wanted - int(block.sum()), generator)
    chosen = block.copy()
    # The largest of log chance + Gumbel noise are a draw without replacement, one after another with these chances.
    keys = np.full(shape, -np.inf)
    keys[free] = _log_chances(shape, sampling)[free] + generator.gumbel(size=int(free.sum()))
    order = np.argsort(keys, axis=None)[::-1][: wanted - int(block.sum())]
    chosen.ravel()[order] = True
    return chosen


def _block(shape: tuple[int, ...], size: int) -> np.ndarray:
    """The middle ``size`` of every axis longer than one."""
    block = np.ones(shape, bool)
    for axis, count in enumerate(shape):
        if count == 1:
            continue
        if size > count:
            raise ValueError(f"expected at most {count} calibration lines, found {size}: there are no more")
        start = count // 2 - size // 2
        inside = (np.arange(count) >= start) & (np.arange(count) < start + size)
        block &= np.expand_dims(inside, 1 - axis)
    return block


def _log_chances(shape: tuple[int, ...], sampling: Sampling) -> np.ndarray:
    if sampling.pattern == "random":
        return np.zeros(shape)
    square = sum(np.expand_dims(_centred(n) / 2, 1 - axis) ** 2 for axis, n in enumerate(shape) if n > 1)
    return -np.broadcast_to(square, shape) / (2 * sampling.width**2)


def _uniform(
    shape: tuple[int, ...], free: np.ndarray, wanted: int, generator: np.random.Generator
) -> np.ndarray:
    """Every nth line, of two axes every nth of both with their product near the whole step; a random start."""
    best, error = np.zeros(shape, bool), math.inf
    steps = [(n, 1) for n in range(1, shape[0] + 1)] if shape[1] == 1 else [
        (n, m) for n in range(1, math.isqrt(free.size) + 1) for m in range(n, 2 * n + 1)
    ]
    phases = generator.random(2)
    for step in steps:
        grid = np.zeros(shape, bool)
        grid[int(phases[0] * step[0]) :: step[0], int(phases[1] * step[1]) :: step[1]] = True
        away = abs(int((grid & free).sum()) - wanted)
        if away < error:
            best, error = grid & free, away
        if step[0] * step[1] > 4 * free.size / max(wanted, 1):
            break
    return best


def _poisson(shape: tuple[int, ...], free: np.ndarray, wanted: int, generator: np.random.Generator) -> np.ndarray:
    """Greedy dart throwing in one random order, with the widest radius at which enough entries find room."""
    order = generator.permutation(np.flatnonzero(free))
    square = sum(np.expand_dims(_centred(n), 1 - axis) ** 2 for axis, n in enumerate(shape) if n > 1)
    growth = 1 + np.broadcast_to(np.sqrt(square), shape).ravel() / max(1.0, float(np.sqrt(square).max()))
    low, high = 0.0, 1 + free.size / max(wanted, 1)
    chosen = order
    for _ in range(_TRIES):
        radius = (low + high) / 2
        found = _darts(shape, order, radius * growth, wanted)
        if found is None:
            high = radius
        else:
            low, chosen = radius, found
    mask = np.zeros(shape, bool)
    mask.ravel()[chosen[:wanted]] = True
    return mask


def _darts(shape: tuple[int, ...], order: np.ndarray, radius: np.ndarray, wanted: int) -> np.ndarray | None:
    """The first ``wanted`` entries in this order with none of the earlier ones nearer than that one's radius."""
    reach = math.ceil(float(radius.max()))
    away = np.arange(-reach, reach + 1)
    square = (away[:, None] ** 2 + away[None, :] ** 2).astype(float)
    taken = np.zeros((shape[0] + 2 * reach, shape[1] + 2 * reach), bool)
    chosen: list[int] = []
    for entry in order.tolist():
        if len(chosen) == wanted:
            break
        row, column = divmod(entry, shape[1])
        if taken[row + reach, column + reach]:
            continue
        chosen.append(entry)
        taken[row : row + 2 * reach + 1, column : column + 2 * reach + 1] |= square < radius[entry] ** 2
    return np.array(chosen, int) if len(chosen) == wanted else None
