"""What takes up or collects much FDG, laid into a body at random: heart, kidneys, bladder, ureters, lesions."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .shapes import smooth_step

Triple = tuple[float, float, float]
TRUNK_MM2 = 30_000.0
"""A smaller section of a body is not that of a trunk."""


def lay_organs(
    activity: np.ndarray, whole: np.ndarray, lungs: np.ndarray, spacing_mm: Triple, rng: np.random.Generator
) -> None:
    """Lay heart, kidneys, ureters and bladder into ``activity`` (slices, rows, columns), in place, each or none.

    The heart lies between the lungs, to the left and in front; the others below them, the bladder lowest. Places are
    in millimetres from the middle of the body in its slice.
    """
    aired = lungs.any((1, 2)) & (lungs.sum((1, 2)) > 0.05 * whole.sum((1, 2)))
    wide = whole.sum((1, 2)) * spacing_mm[1] * spacing_mm[2] > TRUNK_MM2
    with_lungs, below = np.flatnonzero(aired), np.flatnonzero(~aired & wide)
    if len(with_lungs) and rng.random() < 0.75:
        _heart(activity, whole, int(rng.choice(with_lungs)), spacing_mm, rng)
    if len(with_lungs):
        below = below[below < with_lungs.max()]  # not the neck
    if not len(below):
        return
    if rng.random() < 0.6:
        slice_ = int(rng.choice(below))
        cortex, urine = rng.uniform(1.5, 5), rng.uniform(3, 25)
        for side in (-1, 1):
            place = _place(whole, slice_, (side * rng.uniform(45, 75), rng.uniform(20, 55)), spacing_mm)
            _lay(activity, place, (50, 27, 27), spacing_mm, rng, cortex)
            _lay(activity, place, (22, rng.uniform(5, 12), rng.uniform(5, 12)), spacing_mm, rng, urine)
    for _ in range(rng.integers(0, 3)):
        place = _place(whole, int(rng.choice(below)), (rng.uniform(-50, 50), rng.uniform(-10, 40)), spacing_mm)
        _lay(activity, place, (rng.uniform(6, 40), 3.5, 3.5), spacing_mm, rng, rng.uniform(3, 15))
    if rng.random() < 0.5:
        place = _place(whole, int(below[: max(1, len(below) // 3)].min()), (rng.uniform(-12, 12), -20), spacing_mm)
        semi = rng.uniform((18, 18, 22), (45, 40, 50))
        _lay(activity, place, (semi[0], semi[1], semi[2]), spacing_mm, rng, np.exp(rng.uniform(1.2, 3.7)))


def lesions(
    activity: np.ndarray, inside: np.ndarray, spacing_mm: Triple, rng: np.random.Generator, most: int = 7
) -> None:
    """Lay up to ``most`` lesions into ``activity``, in place: 4 to 35 mm in radius, some with a cold core."""
    places = np.argwhere(inside)
    for _ in range(int(rng.integers(0, most + 1)) if len(places) else 0):
        place = places[rng.integers(len(places))].astype(float)
        radius = float(np.exp(rng.uniform(np.log(4), np.log(35 if rng.random() < 0.3 else 14))))
        semi = radius * rng.uniform(0.7, 1.3, 3)
        value = float(np.exp(rng.uniform(np.log(1.5), np.log(20))))
        core = value * rng.uniform(0.05, 0.6) if radius > 10 and rng.random() < 0.4 else None
        _lay(activity, place, (semi[0], semi[1], semi[2]), spacing_mm, rng, value, core, rng.uniform(0.0, 0.35))


def _heart(activity: np.ndarray, whole: np.ndarray, slice_: int, spacing_mm: Triple, rng: np.random.Generator) -> None:
    """Blood in the chambers, and a horseshoe of muscle that takes up little or much."""
    place = _place(whole, slice_, (rng.uniform(20, 50), rng.uniform(-55, -20)), spacing_mm)
    blood, muscle = rng.uniform(1, 2.2), np.exp(rng.uniform(0, 2.8))
    beside = place - np.array([0, 0, rng.uniform(25, 40) / spacing_mm[2]])
    _lay(activity, beside, (40, 35, 40), spacing_mm, rng, blood)
    semi = rng.uniform((32, 30, 38), (42, 38, 52))
    _lay(activity, place, (semi[0], semi[1], semi[2]), spacing_mm, rng, muscle, blood, 0.05,
         rim_mm=rng.uniform(8, 13), open_from=rng.uniform(0.3, 0.9))


def _place(whole: np.ndarray, slice_: int, offset_mm: tuple[float, float], spacing_mm: Triple) -> np.ndarray:
    """Index (slice, row, column) at ``offset_mm`` (to the left, posterior) from the middle of the body in a slice."""
    row, column = ndimage.center_of_mass(whole[slice_])
    return np.array([slice_, row + offset_mm[1] / spacing_mm[1], column + offset_mm[0] / spacing_mm[2]])


def _lay(
    activity: np.ndarray, place: np.ndarray, semi_mm: Triple, spacing_mm: Triple, rng: np.random.Generator,
    value: float, core: float | None = None, rough: float = 0.1, rim_mm: float | None = None, open_from: float = 2.0,
) -> None:
    """An ellipsoid turned at random in the plane, its edge bent by ``rough`` of its size, over what is there.

    ``core``: the value beyond ``rim_mm`` (a third of the radius unless given) inside the edge; ``open_from``: the wall
    is missing where the direction to the wall lies as far along the first axis (below 1), as at the heart's valves.
    """
    reach = [int(np.ceil(1.6 * max(semi_mm) / s)) + 1 for s in spacing_mm]
    low = [max(0, int(p) - r) for p, r in zip(place, reach, strict=True)]
    high = [min(n, int(p) + r + 1) for p, r, n in zip(place, reach, activity.shape, strict=True)]
    if any(b <= a for a, b in zip(low, high, strict=True)):
        return
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    z, y, x = (
        ((np.arange(a, b) - p) * s).reshape([-1 if n == axis else 1 for n in range(3)])
        for axis, (a, b, p, s) in enumerate(zip(low, high, place, spacing_mm, strict=True))
    )
    turn = rng.uniform(0, np.pi)
    first, second = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    radius = np.sqrt((z / semi_mm[0]) ** 2 + (second / semi_mm[1]) ** 2 + (first / semi_mm[2]) ** 2)
    bend = ndimage.gaussian_filter(rng.standard_normal(radius.shape), [0.4 * min(semi_mm) / s for s in spacing_mm])
    radius = radius * np.exp(rough * bend / max(float(bend.std()), 1e-12))
    size = float(np.prod(semi_mm)) ** (1 / 3)
    inner = 1 - (size / 3 if rim_mm is None else rim_mm) / size
    local = np.full(radius.shape, value)
    if core is not None:
        ahead = first / semi_mm[2] / np.maximum(radius, 1e-9)
        local = np.where((radius < inner) | (ahead > open_from), core, value)
    soft = max(1.0, max(spacing_mm[1:])) / size
    part = 1 - smooth_step(1 - soft / 2, 1 + soft / 2, radius)
    activity[window] += part * (local - activity[window])
