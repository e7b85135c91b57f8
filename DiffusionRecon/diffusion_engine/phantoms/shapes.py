"""Signed distances in mm to simple solids (negative inside), and the soft covers drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

Coordinate = np.ndarray | float
Point = tuple[float, float, float]
FAR_MM = 1e3
"""Distance given for solids that are nowhere near a slice."""


def cover(distance: np.ndarray, pixel_mm: float) -> np.ndarray:
    """The part of a pixel that a solid fills: a ramp of one pixel across its edge."""
    return np.clip(0.5 - distance / pixel_mm, 0.0, 1.0)


def smooth_min(first: np.ndarray, second: np.ndarray, width_mm: float) -> np.ndarray:
    """Union of two solids whose crease is filled over ``width_mm``."""
    overlap = np.maximum(width_mm - np.abs(first - second), 0.0)
    return np.minimum(first, second) - overlap**2 / (4.0 * width_mm)


def superellipse(x: Coordinate, y: Coordinate, a: Coordinate, b: Coordinate, power: float) -> np.ndarray:
    """First-order distance to the cylinder |x/a|^p + |y/b|^p = 1: (g - 1) / |grad g| with g the p-norm."""
    u, v = np.abs(x / a) + 1e-6, np.abs(y / b) + 1e-6
    up, vp = u ** (power - 1), v ** (power - 1)
    g = (up * u + vp * v) ** (1 / power)
    slope = np.sqrt((up / a) ** 2 + (vp / b) ** 2) * g ** (1 - power)
    return (g - 1) / slope


def ellipsoid(
    x: Coordinate, y: Coordinate, z: Coordinate, centre: Point, semi_mm: Point, axes: np.ndarray | None = None
) -> np.ndarray:
    """First-order distance to an ellipsoid: k0 (k0 - 1) / k1 with k0 = |p / s| and k1 = |p / s^2|.

    ``axes``: rows are the directions of the semi-axes, the coordinate axes when None.
    """
    px, py, pz = x - centre[0], y - centre[1], z - centre[2]
    k0 = k1 = np.float32(1e-9)
    for n, s in enumerate(semi_mm):
        along = (px, py, pz)[n] if axes is None else px * axes[n, 0] + py * axes[n, 1] + pz * axes[n, 2]
        square = (along / s) ** 2
        k0 = k0 + square
        k1 = k1 + square / s**2
    k0 = np.sqrt(k0)
    return k0 * (k0 - 1) / np.sqrt(k1)


def tube(
    x: Coordinate,
    y: Coordinate,
    z: Coordinate,
    points: Sequence[Point],
    radii_mm: Sequence[float],
    reach_mm: float = 25.0,
) -> np.ndarray:
    """Distance to a chain of tapered capsules through ``points``.

    Segments that end more than ``reach_mm`` above or below the plane z (a number then) count as far away.
    """
    shape = np.broadcast_shapes(np.shape(x), np.shape(y), np.shape(z))
    best = np.full(shape, FAR_MM, np.float32)
    for (a, b), (ra, rb) in zip(pairwise(points), pairwise(radii_mm), strict=True):
        outside = max(min(a[2], b[2]) - float(np.max(z)), float(np.min(z)) - max(a[2], b[2]))
        if outside > max(ra, rb) + reach_mm:
            continue
        best = np.minimum(best, capsule(x, y, z, a, b, ra, rb))
    return best


def capsule(x: Coordinate, y: Coordinate, z: Coordinate, a: Point, b: Point, ra: float, rb: float) -> np.ndarray:
    """Distance to the capsule from ``a`` (radius ``ra``) to ``b`` (radius ``rb``)."""
    ux, uy, uz = (b[n] - a[n] for n in range(3))
    px, py, pz = x - a[0], y - a[1], z - a[2]
    t = np.clip((px * ux + py * uy + pz * uz) / (ux * ux + uy * uy + uz * uz + 1e-9), 0.0, 1.0)
    return np.sqrt((px - t * ux) ** 2 + (py - t * uy) ** 2 + (pz - t * uz) ** 2) - (ra + t * (rb - ra))


def smooth_step(low: float, high: float, value: Coordinate) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a cubic between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
