"""Noise of line integrals that grows with what they crossed, as that of counts does: estimated from them alone."""

from __future__ import annotations

import numpy as np

from .levels import noise_differences, piled, robust_std

_WIDTH = 5  # bins that a fourth difference looks at
_GROUPS, _LEAST = 16, 100  # groups of readings by their line integral; readings in each
_MISFIT = 0.25  # relative error of the fit's standard deviations, root mean square; beyond it detail prevails
_BETTER = 0.2  # of the misfit of one number for all
_RANGE = 4.0  # variance of the densest over the thinnest twentieth, below which one number does


def variance_by_ray(values: np.ndarray, used: np.ndarray | None = None) -> np.ndarray | None:
    """Variance v = c + a exp(p) of line integrals (..., views, detectors), in their shape; None where one number does.

    Photon counts have a = 1 / i0 and c = 0; c is what the electronics, or detail finer than a bin, add. Fourth
    differences along the detector are put into groups of equal number by p, the mean of the five readings that they
    look at; a and c fit the squared robust deviations of the groups, none of them negative. None where the fit is no
    better than one number for all, or hardly changes from ray to ray. Found on slices of 60 views: at 1e4 and 1e5
    photons the misfit is 0.1 and 0.2, at 3e5 0.3, at 1e6 0.4, where detail prevails and one number makes better
    images. ``used``: as for :func:`.levels.noise_level`.
    Raises ValueError for fewer than 16 bins.
    """
    differences = noise_differences(values)
    local = _local_mean(values)
    inner = local[..., _WIDTH // 2:-(_WIDTH // 2)]
    measured = ~piled(values)
    if used is not None:
        measured &= used
    whole = np.lib.stride_tricks.sliding_window_view(measured, _WIDTH, axis=-1).all(-1)
    p, d = inner[whole], differences[whole]
    if p.size < _GROUPS * _LEAST:
        return None
    order = np.argsort(p, kind="stable")
    groups = np.array_split(order, _GROUPS)
    level = np.array([np.exp(p[group]).mean() for group in groups])
    seen = np.array([robust_std(d[group]) for group in groups]) ** 2
    if (seen <= 0).any():
        return None
    c, a = _fitted(level, seen)
    fit = c + a * level
    misfit, plain = _misfit(fit, seen), _misfit(np.full_like(seen, np.median(seen)), seen)
    if misfit > min(_MISFIT, _BETTER * plain) or fit[-1] < _RANGE * fit[0]:
        return None
    return c + a * np.exp(local)


def _fitted(level: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """c, a >= 0 that minimise the sum of ((c + a level) / seen - 1)^2."""
    (c, a), *_ = np.linalg.lstsq(np.stack([1 / seen, level / seen], -1), np.ones_like(seen), rcond=None)
    if c < 0:
        share = level / seen
        return 0.0, float(share.sum() / (share**2).sum())
    return float(c), float(max(a, 0.0))


def _misfit(fit: np.ndarray, seen: np.ndarray) -> float:
    """Root mean square of the relative error of standard deviations."""
    return float(np.sqrt(np.mean((np.sqrt(fit / seen) - 1) ** 2)))


def _local_mean(values: np.ndarray) -> np.ndarray:
    """Mean of five readings along the detector, at the ends of those that there are, in the shape of ``values``."""
    ends = [(0, 0)] * (values.ndim - 1) + [(_WIDTH // 2, _WIDTH // 2)]
    padded = np.pad(values.astype(np.float64), ends, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, _WIDTH, axis=-1).mean(-1)
