"""A synthetic chest in HU: a procedural thorax with nodules of known place and size, on any grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..volume import Volume
from . import anatomy, tree
from .paint import Plane, paint_slice

NODULES = (
    # place to start from (x, y, z), radius, HU, kind
    ((-78.0, 34.0, 9.0), 6.0, 35.0, "solid"),
    ((76.0, -34.0, -4.0), 4.0, 60.0, "solid"),
    ((-72.0, -38.0, -8.0), 9.0, -620.0, "ground-glass"),
    ((82.0, 42.0, 14.0), 7.5, 25.0, "solid"),
)


@dataclass(frozen=True)
class Nodule:
    """A ball in a lung: its centre in RAS (mm), radius (mm), CT number (HU) and kind ("solid", "ground-glass")."""

    centre_ras_mm: tuple[float, float, float]
    radius_mm: float
    hu: float
    kind: str


@dataclass(frozen=True)
class LungTrees:
    """The branching tubes of both lungs: arteries, veins, and the air in the bronchi beside the arteries."""

    arteries: tree.Tubes
    veins: tree.Tubes
    bronchi: tree.Tubes


def chest_nodules(seed: int = 0) -> tuple[Nodule, ...]:
    """The nodules of the chest with this seed, in the order of their labels 1, 2, ..."""
    p = anatomy.patient(seed)
    generator = np.random.default_rng((seed, 2))
    found = []
    for start, radius, hu, kind in NODULES:
        tries = np.asarray(start) + generator.uniform(-12.0, 12.0, (200, 3)) * (1.0, 1.0, 0.5)
        deep = anatomy.lungs_at(p, tries) < -(radius + 5.0)
        x, y, z = (float(v) for v in np.round(tries[int(np.argmax(deep))], 2))
        found.append(Nodule((-x, -y, z), radius, hu, kind))
    return tuple(found)


def lung_trees(seed: int) -> LungTrees:
    """Arteries, veins and bronchi of both lungs for one seed."""
    p = anatomy.patient(seed)
    generator = np.random.default_rng((seed, 3))
    cloud = generator.uniform((-140, -95, -150), (140, 95, 150), (16000, 3))
    inside = anatomy.lungs_at(p, cloud) < -2.0
    arteries, veins, bronchi = [], [], []
    for side, hilum, vein_root in zip((-1, 1), anatomy.HILA, anatomy.VEIN_ROOTS, strict=True):
        targets = cloud[inside & (np.sign(cloud[:, 0]) == side)]
        half = len(targets) // 2
        arteries.append(tree.grow(np.asarray(hilum, float), targets[:half], 0.55, generator))
        veins.append(tree.grow(np.asarray(vein_root, float), targets[half:], 0.5, generator))
        bronchi.append(tree.beside(arteries[-1], 1.5, generator))
    return LungTrees(tree.joined(arteries), tree.joined(veins), tree.joined(bronchi))


def synthetic_chest(
    shape: tuple[int, int, int] = (12, 256, 256),
    spacing_mm: tuple[float, float, float] = (5.0, 1.5, 1.5),
    seed: int = 0,
) -> tuple[Volume, dict[str, np.ndarray]]:
    """A thorax in HU on a grid of ``shape`` (slices, rows, columns) and ``spacing_mm`` (slice, row, column).

    The anatomy is defined in mm around the grid's centre, a little below the carina, and is the same on every grid:
    body wall, ribs, spine, lungs with branching vessels and bronchi, heart and great vessels, upper abdomen, table.
    The chest spans about -150 to 150 mm along the slices and 345 x 235 mm across them. Slices are thin sections.

    Returns the volume (float32, standard axial: i to patient left, j posterior, k superior) and masks of its shape:
    "body", "heart", "bone", "muscle", "liver", "vessels" (of the lungs) as 0 and 1 (uint8), "lungs" with 1 for the
    right and 2 for the left, "nodules" with 1, 2, ... for each of :func:`chest_nodules`. A voxel belongs to a mask
    when more than half of it does. Raises ValueError for a shape or spacing that is not positive.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"expected a shape of three positive numbers (slices, rows, columns), found {shape}: correct it")
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(f"expected three positive spacings (slice, row, column) in mm, found {spacing_mm}: correct them")
    z, y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True))
    p, trees, nodules = anatomy.patient(seed), lung_trees(seed), chest_nodules(seed)
    balls = [(*_lps(n.centre_ras_mm), n.radius_mm, n.hu, n.kind == "ground-glass") for n in nodules]
    array = np.empty(shape, np.float32)
    masks: dict[str, np.ndarray] = {}
    for k, height in enumerate(z):
        plane = Plane(x.astype(np.float32), y.astype(np.float32), float(height), (spacing_mm[1], spacing_mm[2]))
        array[k], parts = paint_slice(plane, p, trees.arteries, trees.veins, trees.bronchi, balls, seed)
        for name, part in parts.items():
            masks.setdefault(name, np.zeros(shape, np.uint8))[k] = part
    matrix = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])
    matrix[:3, 3] = (-x[0], -y[0], z[0])
    return Volume(array, matrix, "HU"), masks


def _lps(ras: tuple[float, float, float]) -> tuple[float, float, float]:
    """Right-anterior-superior as left-posterior-superior and back."""
    return -ras[0], -ras[1], ras[2]
