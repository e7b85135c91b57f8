"""How much a CT scan measures: its views and its noise. No torch here: a panel asks before any set-up."""

from __future__ import annotations

import math

import numpy as np

from ...physics.levels import air_level, noise_level
from .measurement import Measurement
from .scan import CTScan

BODY_MM = 300.0
"""Diameter of the water cylinder for which the noise of photon counts is foretold; it fills two thirds of the beam."""
FILLED = 2 / 3


def dose(scan: CTScan, data: Measurement | None) -> tuple[int, float | None]:
    """Views, and the root mean square noise of line integrals in percent of the largest one; None where not told.

    ``data`` None: of a simulated scan; its photon counts are those behind a water cylinder of BODY_MM. Of measured data
    the middle slice tells: its variance, its counts, else the noise that neighbouring bins show.
    """
    if data is None:
        return scan.views, scan.noise_percent if scan.i0 is None else _foretold(scan)
    views, middle = len(data.geometry.angles_rad), data.values.shape[0] // 2
    values = np.asarray(data.values[middle], np.float64)
    variance = None if data.variance is None else np.asarray(data.variance, np.float64)
    if variance is not None and variance.ndim == 3:
        variance = variance[middle if variance.shape[0] > 1 else 0]
    if data.kind == "counts":
        i0 = air_level(values) if data.i0 is None else data.i0
        seen = np.maximum(values, max(1.0, data.electronic_std))
        values = np.log(i0 / seen)
        if variance is None:
            variance = (seen + data.electronic_std**2) / seen**2
    return views, _percent(values, variance)


def _percent(values: np.ndarray, variance: np.ndarray | None) -> float | None:
    """Noise of line integrals (views, detectors) over the largest; dead and starved readings left out."""
    if variance is None:
        return _share(noise_level(values), float(values.max()))
    spread = np.broadcast_to(variance, values.shape)
    telling = spread < 1
    return _share(math.sqrt(spread[telling].mean()), float(values[telling].max())) if telling.any() else None


def _share(std: float, largest: float) -> float | None:
    return 100 * std / largest if std > 0 and largest > 0 else None


def _foretold(scan: CTScan) -> float:
    """The noise of counts behind the cylinder."""
    assert scan.i0 is not None
    chord = np.sqrt(1 - np.linspace(-1, 1, 201) ** 2) * BODY_MM * scan.water_per_mm
    counts = scan.i0 * np.exp(-chord)
    behind, beside = ((counts + scan.electronic_std**2) / counts**2).mean(), 1 / scan.i0
    return 100 * math.sqrt(FILLED * behind + (1 - FILLED) * beside) / float(chord.max())
