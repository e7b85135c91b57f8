"""Scans of an analytic body for the tests of the judgement: good ones, made anew each time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from ct_phantoms import disc_sinogram
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.modalities.ct.readings.judge import judge
from diffusion_engine.physics.ct import CTGeometry, view_angles
from diffusion_engine.physics.noise import simulate_counts

BODY = ((9, -6, 110, 0.0193), (-40, 5, 35, -0.015), (45, -20, 30, -0.013), (10, 60, 12, 0.02))
FAN = {"source_to_isocentre_mm": 570.0, "source_to_detector_mm": 1040.0}


def geometry(kind: str = "parallel", views: int = 60, arc: float | None = None, count: int = 128) -> CTGeometry:
    """Bins of 2.4 mm at the isocentre, half a turn of parallel views or a turn of fan views."""
    if kind == "parallel":
        return CTGeometry(kind, view_angles(views, arc or math.pi), count, 2.4)
    return CTGeometry(kind, view_angles(views, arc or 2 * math.pi), count, 2.4 * 1040 / 570, 0.0, **FAN)


def lines(rays: CTGeometry, std: float = 0.01, slices: int = 1, seed: int = 0, **changes: Any) -> Measurement:
    """Line integrals of the body with white noise."""
    clean = sum(disc_sinogram(rays, *disc) for disc in BODY)
    noise = std * np.random.default_rng(seed).standard_normal((slices, *clean.shape))
    return replace(Measurement((clean.numpy() + noise).astype(np.float32), rays, 3.0), **changes)


def photons(
    rays: CTGeometry, i0: float = 2e4, stated: bool = True, slices: int = 1, electronic: float = 0.0
) -> Measurement:
    """Counts of the body."""
    clean = sum(disc_sinogram(rays, *disc) for disc in BODY).float().expand(slices, -1, -1)
    counts = simulate_counts(clean, i0, electronic, np.random.default_rng(0)).numpy()
    return Measurement(counts, rays, 3.0, "counts", i0 if stated else None, electronic)


def kinds(measurement: Measurement, **options: Any) -> list[str]:
    """Kinds of the remarks on a measurement."""
    return [remark.kind for remark in judge(measurement, **options).remarks]


def changed(measurement: Measurement, index: Any, value: Any) -> Measurement:
    """A copy with some readings set."""
    values = measurement.values.copy()
    values[index] = value
    return replace(measurement, values=values)
