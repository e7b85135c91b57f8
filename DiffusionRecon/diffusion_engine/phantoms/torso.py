"""A synthetic torso after injection of FDG: activity, CT numbers, labels of organs and lesions, on any grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..volume import Volume
from .shapes import cover
from .torso_anatomy import BOTTOM_MM, Person, person, solids

BQ_PER_SUV = 5000.0
"""Bq/mL at SUV 1: 370 MBq in 74 kg."""


@dataclass(frozen=True)
class Tissue:
    """Label, CT number in HU, and the range of SUV that persons differ over."""

    label: int
    hu: float
    low: float
    high: float


TISSUES = {
    "fat": Tissue(1, -100, 0.18, 0.3), "muscle": Tissue(2, 50, 0.55, 0.85), "cavity": Tissue(3, -60, 0.4, 0.6),
    "lungs": Tissue(4, -780, 0.35, 0.55), "liver": Tissue(5, 60, 1.8, 2.8), "spleen": Tissue(6, 50, 1.5, 2.3),
    "stomach": Tissue(7, 35, 1.0, 2.2), "bowel": Tissue(8, 30, 0.9, 2.4), "blood": Tissue(9, 45, 1.3, 2.0),
    "right heart": Tissue(10, 45, 1.3, 2.0), "heart wall": Tissue(11, 50, 1.5, 9.0),
    "left chamber": Tissue(9, 45, 1.3, 2.0),
    "kidneys": Tissue(12, 35, 2.2, 3.6), "renal pelvis": Tissue(13, 10, 6.0, 25.0), "bone": Tissue(14, 700, 0.4, 0.7),
    "marrow": Tissue(15, 220, 1.1, 2.2), "canal": Tissue(16, 30, 1.2, 1.9), "bladder": Tissue(17, 8, 8.0, 40.0),
    "brain": Tissue(18, 38, 6.0, 10.0), "white matter": Tissue(19, 30, 2.5, 4.0),
}
"""By the names of :func:`torso_anatomy.solids`; the two chambers and the great vessels hold the same blood."""
LESION = 30
"""Label of the first lesion; the others follow."""
PLACES = ("lungs", "liver", "cavity", "muscle", "marrow", "bowel")
"""Where lesions lie, in turn."""
HU_OF_LESION = {"lungs": 30.0, "liver": 40.0, "marrow": 120.0}


@dataclass(frozen=True)
class Lesion:
    """A ball: its centre (x to the left, y posterior, z superior) and radius in mm, SUV, and the part it lies in."""

    centre_mm: tuple[float, float, float]
    radius_mm: float
    suv: float
    part: str


@dataclass(frozen=True, eq=False)
class Torso:
    """``activity`` in SUV or Bq/mL, ``hu``, ``labels`` (uint8, see :data:`TISSUES` and :data:`LESION`), the lesions,
    and the SUV of each part."""

    activity: Volume
    hu: Volume
    labels: np.ndarray
    lesions: tuple[Lesion, ...]
    suv: dict[str, float]


def synthetic_torso(
    shape: tuple[int, int, int] = (24, 128, 128), spacing_mm: tuple[float, float, float] = (5.0, 4.5, 4.5),
    seed: int = 0, *, middle_mm: float = -70.0, lesions: int = 24, unit: str = "SUV", parts: int = 2,
) -> Torso:
    """A torso with FDG on a grid of ``shape`` (slices, rows, columns) and ``spacing_mm`` (slice, row, column).

    The anatomy is defined in mm and is the same on every grid; ``middle_mm``: height of the grid's middle, from the
    pelvis at -480 to the crown at 430, by default that of the heart and the dome of the liver. Voxels are means over
    ``parts``^3 samples with soft edges. ``unit``: SUV, or Bq/mL at 5000 Bq/mL a unit of SUV; no point spread, which is
    the scanner's. Activity is even in each organ but for a slope of up to 10 % across the body. Raises ValueError for a
    shape or spacing that is not positive, or another unit.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"expected a positive shape (slices, rows, columns), found {shape}: correct it")
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(f"expected positive spacings (slice, row, column) in mm, found {spacing_mm}: correct them")
    if unit not in ("SUV", "Bq/mL"):
        raise ValueError(f"expected the unit SUV or Bq/mL, found {unit!r}: choose one of them")
    p, suv = person(seed), uptake(seed)
    found = torso_lesions(seed, lesions)
    z, y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True))
    z = z + middle_mm
    fine = [_between(places, spacing, parts) for places, spacing in zip((z, y, x), spacing_mm, strict=True)]
    slope = np.random.default_rng((seed, 24)).uniform(-1, 1, 2) * 0.1 / 170
    tilt = 1 + slope[0] * fine[2][None, :] + slope[1] * fine[1][:, None]
    edge = float(np.sqrt(spacing_mm[1] * spacing_mm[2])) / parts
    activity, hu = np.zeros(shape), np.zeros(shape)
    for n, height in enumerate(fine[0]):
        painted = _slice(p, suv, found, fine[2][None, :], fine[1][:, None], float(height), edge)
        for total, values in zip((activity, hu), (painted[0] * tilt, painted[1]), strict=True):
            total[n // parts] += values.reshape(shape[1], parts, shape[2], parts).mean((1, 3)) / parts
    labels = np.stack([_labels(p, found, x[None, :], y[:, None], float(height)) for height in z])
    matrix = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])
    matrix[:3, 3] = (-x[0], -y[0], z[0])
    scale = BQ_PER_SUV if unit == "Bq/mL" else 1.0
    return Torso(Volume((scale * activity).astype(np.float32), matrix, unit),
                 Volume(hu.astype(np.float32), matrix, "HU"), labels, found, suv)


def uptake(seed: int) -> dict[str, float]:
    """SUV of each part of a person, uniform over the tissue's range; blood is the same everywhere."""
    rng = np.random.default_rng((seed, 22))
    suv = {name: float(rng.uniform(tissue.low, tissue.high)) for name, tissue in TISSUES.items()}
    return {**suv, "right heart": suv["blood"], "left chamber": suv["blood"]}


def torso_lesions(seed: int, count: int) -> tuple[Lesion, ...]:
    """``count`` balls of 5 to 16 mm radius and 2 to 7 times the uptake of what they lie in, apart from each other."""
    rng, p, suv = np.random.default_rng((seed, 23)), person(seed), uptake(seed)
    found: list[Lesion] = []
    for n in range(count):
        part, radius = PLACES[n % len(PLACES)], float(rng.uniform(5, 16))
        points = rng.uniform((-160, -110, BOTTOM_MM + 30), (160, 115, 200), (4000, 3))
        distances = solids(p, *points.T)
        over = list(distances)[list(distances).index(part) + 1 :]
        free = (distances[part] < -0.5 * radius) & np.logical_and.reduce([distances[name] > 1.0 for name in over])
        for other in found:
            free &= np.linalg.norm(points - other.centre_mm, axis=1) > radius + other.radius_mm + 8
        if not free.any():
            continue
        centre = tuple(float(v) for v in points[np.argmax(free)])
        value = max(suv[part], 0.6) * float(rng.uniform(2, 7))
        found.append(Lesion((centre[0], centre[1], centre[2]), radius, value, part))
    return tuple(found)


def _slice(
    p: Person, suv: dict[str, float], lesions: tuple[Lesion, ...], x: np.ndarray, y: np.ndarray, z: float,
    edge_mm: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Activity in SUV and HU of a plane of samples; nothing and air outside of the body."""
    activity, hu = np.zeros((y.shape[0], x.shape[1])), np.full((y.shape[0], x.shape[1]), -1000.0)

    def lay(distance: np.ndarray, value: float, number: float) -> None:
        part = cover(distance, edge_mm)
        activity[:] += part * (value - activity)
        hu[:] += part * (number - hu)

    for name, distance in solids(p, x, y, z).items():
        lay(distance, suv[name], TISSUES[name].hu)
    for lesion in lesions:
        if abs(lesion.centre_mm[2] - z) < lesion.radius_mm + edge_mm:
            lay(_ball(lesion, x, y, z), lesion.suv, HU_OF_LESION.get(lesion.part, 45.0))
    return activity, hu


def _labels(p: Person, lesions: tuple[Lesion, ...], x: np.ndarray, y: np.ndarray, z: float) -> np.ndarray:
    labels = np.zeros((y.shape[0], x.shape[1]), np.uint8)
    for name, distance in solids(p, x, y, z).items():
        labels[np.broadcast_to(distance < 0, labels.shape)] = TISSUES[name].label
    for n, lesion in enumerate(lesions):
        labels[_ball(lesion, x, y, z) < 0] = LESION + n
    return labels


def _ball(lesion: Lesion, x: np.ndarray, y: np.ndarray, z: float) -> np.ndarray:
    cx, cy, cz = lesion.centre_mm
    return np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) - lesion.radius_mm


def _between(places: np.ndarray, spacing: float, parts: int) -> np.ndarray:
    """``parts`` samples in each voxel, evenly spread."""
    return (places[:, None] + ((np.arange(parts) + 0.5) / parts - 0.5) * spacing).ravel()

