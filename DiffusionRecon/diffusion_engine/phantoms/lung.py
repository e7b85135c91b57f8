"""What the lungs of a seed hold: branching vessels, bronchi, and nodules of known place and size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import anatomy, tree

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
    cloud = generator.uniform((-140, -95, -150), (140, 95, 150), (13000, 3))
    inside = anatomy.lungs_at(p, cloud) < -2.0
    arteries, veins, bronchi = [], [], []
    for side in (-1, 1):
        mirror = np.array((-side, 1.0, 1.0))
        targets = cloud[inside & (np.sign(cloud[:, 0]) == side)]
        half = len(targets) // 2
        arteries.append(tree.grow(mirror * anatomy.ARTERY_TRUNK, targets[:half], 0.7, generator))
        veins.append(tree.grow(mirror * anatomy.VEIN_TRUNK, targets[half:], 0.62, generator))
        bronchi.append(tree.beside(arteries[-1], 1.9, generator))
    return LungTrees(tree.joined(arteries), tree.joined(veins), tree.joined(bronchi))
