"""Levels that readings show by themselves: of their noise, and of the air beside the object. No torch here."""

from __future__ import annotations

import math

import numpy as np

_MAD_TO_STD = 1.4826
# (1, -4, 6, -4, 1) along the detector: leaves noise, removes all but the sharpest edges of the object
_DIFFERENCE = (1.0, -4.0, 6.0, -4.0, 1.0)
_PILE = 0.01  # of all readings at exactly 0, the least or the largest value: they were set, not measured
_TOP = 0.02  # of a view's readings, which are air
_AIR_WINDOW = 4.0  # standard deviations about the level of the air


def noise_differences(values: np.ndarray) -> np.ndarray:
    """Fourth differences along the detector over sqrt(70): white noise keeps its standard deviation.

    Raises ValueError for fewer than 16 detector bins.
    """
    if values.shape[-1] < 16:
        raise ValueError(f"Expected at least 16 detector bins to estimate noise, found {values.shape[-1]}.")
    last = values.shape[-1] - len(_DIFFERENCE) + 1
    total = np.zeros((*values.shape[:-1], last))
    for k, weight in enumerate(_DIFFERENCE):
        total += weight * values[..., k:k + last]
    return total / math.sqrt(sum(weight**2 for weight in _DIFFERENCE))


def robust_std(values: np.ndarray) -> float:
    """1.4826 median|v - median v|, of even numbers the lower median."""
    return _MAD_TO_STD * _median(np.abs(values - _median(values)))


def noise_level(values: np.ndarray, used: np.ndarray | None = None) -> float:
    """Standard deviation of white noise in line integrals (..., views, detectors), one number; 0 where none is seen.

    The robust deviation of fourth differences, without those that meet a reading outside ``used`` (booleans that
    broadcast to ``values``) or one that was set: exactly 0, the least or the largest value, where more than 1 % of
    the readings are. Raises ValueError for fewer than 16 bins.
    """
    differences = noise_differences(values)
    measured = ~piled(values)
    if used is not None:
        measured &= used
    if not measured.all():
        last = values.shape[-1] - len(_DIFFERENCE) + 1
        whole = np.ones(differences.shape, bool)
        for k in range(len(_DIFFERENCE)):
            whole &= measured[..., k:k + last]
        differences = differences[whole]
    return robust_std(differences) if differences.size else 0.0


def piled(values: np.ndarray) -> np.ndarray:
    """Where readings are at exactly 0, the least or the largest value, if more than 1 % of all are; else nowhere."""
    found = np.zeros(values.shape, bool)
    for level in {0.0, float(values.min()), float(values.max())}:
        here = values == level
        if here.mean() > _PILE:
            found |= here
    return found


def air_level(counts: np.ndarray, used: np.ndarray | None = None) -> float:
    """Count of an unattenuated reading: the median of the readings about the highest 2 % of most views.

    It starts from the median over the views of the highest 2 % of each, of readings in ``used`` (booleans that
    broadcast to ``counts``), which noise lifts; then three times takes the median of all readings within 4
    standard deviations of counting noise (at least 3 %). Right only if most views see some air beside the object.
    Raises ValueError where no reading can be used.
    """
    allowed = np.ones(counts.shape, bool) if used is None else np.broadcast_to(used, counts.shape)
    flat, usable = counts.reshape(-1, counts.shape[-1]), allowed.reshape(-1, counts.shape[-1])
    views = usable.any(axis=-1)
    if not views.any():
        raise ValueError("Expected readings from which the air's count can be estimated, found none: give i0.")
    seen = np.where(usable, flat, -np.inf)[views].astype(np.float64)
    top = max(1, round(_TOP * counts.shape[-1]))
    highest = -np.sort(-seen, axis=-1)[:, :top]
    level = float(np.median(np.median(np.where(np.isfinite(highest), highest, highest[:, :1]), axis=-1)))
    readings = seen[np.isfinite(seen)]
    for _ in range(3):
        if level <= 0:
            break
        width = max(0.03 * level, _AIR_WINDOW * math.sqrt(level))
        near = readings[np.abs(readings - level) <= width]
        level = float(np.median(near)) if near.size else level
    return level


def _median(values: np.ndarray) -> float:
    flat = np.asarray(values, np.float64).ravel()
    middle = (flat.size - 1) // 2
    return float(np.partition(flat, middle)[middle])
