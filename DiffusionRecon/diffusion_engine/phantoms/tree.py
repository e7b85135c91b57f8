"""Branching tubes: grown through a cloud of points, thickest at the root, and drawn slice by slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .shapes import capsule

MURRAY_EXPONENT = 2.9
"""Sum rule of radii at a branching, r^n = sum of r_child^n (Murray 1926, doi:10.1073/pnas.12.3.207, has n = 3)."""


@dataclass(frozen=True)
class Tubes:
    """Tapered segments: ``start``, ``end`` (n, 3) as (x, y, z) in mm, ``start_mm``, ``end_mm`` (n,) radii."""

    start: np.ndarray
    end: np.ndarray
    start_mm: np.ndarray
    end_mm: np.ndarray


def grow(trunk: np.ndarray, targets: np.ndarray, leaf_mm: float, generator: np.random.Generator) -> Tubes:
    """A tree along ``trunk`` (m, 3), its first point the root, to every target (n, 3), in mm.

    From the nearest to the farthest, each target joins the node that makes its way short without a long detour
    to the root; radii follow Murray's rule from the twigs of radius ``leaf_mm`` up.
    """
    order = np.argsort(np.linalg.norm(targets - trunk[0], axis=1))
    nodes = np.vstack([trunk, targets[order]])
    parent = np.zeros(len(nodes), dtype=int)
    path = np.zeros(len(nodes))
    for n in range(1, len(nodes)):
        steps = np.linalg.norm(nodes[:n] - nodes[n], axis=1)
        detour = 0.12 if n >= len(trunk) else 0.0
        parent[n] = int(np.argmin(steps + detour * path[:n]))
        path[n] = path[parent[n]] + steps[parent[n]]
    # Pulling nodes towards the middle of their neighbours turns zigzags into branches.
    for _ in range(2):
        sums, counts = nodes[parent].copy(), np.ones(len(nodes))
        np.add.at(sums, parent[1:], nodes[1:])
        np.add.at(counts, parent[1:], 1)
        inner = counts > 1
        inner[0] = False
        nodes[inner] += 0.5 * (sums[inner] / counts[inner, None] - nodes[inner])
    load = np.zeros(len(nodes))
    twigs = np.setdiff1d(np.arange(1, len(nodes)), parent[1:])
    load[twigs] = leaf_mm**MURRAY_EXPONENT
    for n in range(len(nodes) - 1, 0, -1):
        load[parent[n]] += load[n]
    radius = load ** (1 / MURRAY_EXPONENT)
    child = np.arange(1, len(nodes))
    start, end = nodes[parent[child]], nodes[child]
    bend = (start + end) / 2 + generator.normal(size=start.shape) * 0.06 * path_steps(start, end)
    slim = np.minimum(radius[parent[child]], 1.25 * radius[child])
    half = (slim + radius[child]) / 2
    return Tubes(np.vstack([start, bend]), np.vstack([bend, end]), np.r_[slim, half], np.r_[half, radius[child]])


def path_steps(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Lengths of segments as a column (n, 1)."""
    return np.linalg.norm(end - start, axis=1, keepdims=True)


def beside(tubes: Tubes, least_mm: float, generator: np.random.Generator) -> Tubes:
    """Tubes of like size running beside those thicker than ``least_mm``, as bronchi run beside arteries."""
    thick = tubes.end_mm >= least_mm
    side = generator.normal(size=3)
    side /= np.linalg.norm(side)
    away = side * (2.1 * tubes.end_mm[thick, None] + 0.6)
    return Tubes(
        tubes.start[thick] + away, tubes.end[thick] + away, 0.85 * tubes.start_mm[thick], 0.85 * tubes.end_mm[thick]
    )


def draw(
    tubes: Tubes, z: float, y: np.ndarray, x: np.ndarray, pixel_mm: float, inflate_mm: float = 0.0
) -> np.ndarray:
    """The part of each pixel (len(y), len(x)) that the tubes fill at height z, float32 from 0 to 1."""
    plane = np.zeros((len(y), len(x)), np.float32)
    widest = np.maximum(tubes.start_mm, tubes.end_mm) + inflate_mm
    reach = widest + pixel_mm
    upright = np.abs(tubes.end[:, 2] - tubes.start[:, 2]) / path_steps(tubes.start, tubes.end)[:, 0].clip(1e-6)
    near = np.minimum(tubes.start[:, 2], tubes.end[:, 2]) - reach < z
    near &= np.maximum(tubes.start[:, 2], tubes.end[:, 2]) + reach > z
    for n in np.flatnonzero(near):
        a, b = tubes.start[n], tubes.end[n]
        low, high = np.minimum(a, b) - reach[n], np.maximum(a, b) + reach[n]
        j0, j1 = np.searchsorted(y, (low[1], high[1]))
        i0, i1 = np.searchsorted(x, (low[0], high[0]))
        if j0 == j1 or i0 == i1:
            continue
        ra, rb = float(tubes.start_mm[n]) + inflate_mm, float(tubes.end_mm[n]) + inflate_mm
        distance = capsule(x[None, i0:i1], y[j0:j1, None], z, tuple(a), tuple(b), ra, rb)
        # A tube thinner than a pixel fills its width along the slice, its width squared across the slice.
        filled = np.clip(0.5 - distance / pixel_mm, 0.0, min(1.0, 2 * float(widest[n]) / pixel_mm) ** (1 + upright[n]))
        window = plane[j0:j1, i0:i1]
        np.maximum(window, filled, out=window)
    return plane


def joined(parts: list[Tubes]) -> Tubes:
    """Several sets of tubes as one."""
    return Tubes(
        np.vstack([t.start for t in parts]),
        np.vstack([t.end for t in parts]),
        np.concatenate([t.start_mm for t in parts]),
        np.concatenate([t.end_mm for t in parts]),
    )
