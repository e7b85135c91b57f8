"""Where the organs of a schematic torso and head lie: signed distances in mm, for one person a seed.

Coordinates as in :mod:`.anatomy`: x to the patient's left, y posterior, z superior, mm, the origin a little below the
carina. Plain solids after atlas figures, from the pelvis at z = -480 to the crown at 430; their edges, not their
texture, are what an image at a scanner's resolution of 5 mm shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from .anatomy import AORTA, DESCENDING, HEART_AXES
from .shapes import Coordinate, ellipsoid, smooth_min, superellipse, tube

BOTTOM_MM, TOP_MM = -480.0, 430.0
_Z = (-500, -420, -330, -230, -100, 0, 80, 125, 160, 200, 235)
BODY_WIDTH = PchipInterpolator(_Z, (176, 184, 168, 152, 160, 168, 176, 160, 95, 62, 60))
BODY_FRONT = PchipInterpolator(_Z, (-96, -108, -112, -110, -114, -110, -92, -74, -58, -52, -50))
BODY_BACK = PchipInterpolator(_Z, (108, 118, 112, 104, 112, 120, 116, 104, 84, 62, 60))
ABDOMINAL_AORTA = (((14, 36, -170), (4, 34, -230), (2, 34, -290)), (10, 9, 8))
VENA_CAVA = (((-22, -6, -40), (-20, 14, -120), (-18, 34, -290)), (12, 12, 11))
BOWEL = (
    # Coordinates of the small bowel's and the colon's bends, below the stomach.
    (((-40, -50, -230), (20, -70, -240), (60, -40, -250), (10, -30, -275), (-50, -45, -290)), (16, 14, 15, 14, 15)),
    (((-50, -45, -290), (0, -70, -305), (50, -50, -315), (20, -30, -345), (-30, -40, -350)), (14, 15, 13, 14, 13)),
    (((-110, -10, -350), (-118, 5, -270), (-105, -20, -215), (-40, -75, -205), (40, -78, -205)), (21, 22, 21, 18, 17)),
    (((40, -78, -205), (105, -15, -190), (118, 20, -270), (110, 10, -345), (40, 25, -390)), (17, 18, 17, 16, 16)),
)
VERTEBRA_MM, DISC_MM = 27.0, 7.0


@dataclass(frozen=True)
class Person:
    """What differs between seeds: scales without unit, lengths and shifts in mm, fat under the skin in mm."""

    width: float
    depth: float
    fat_mm: float
    dome_mm: float
    heart: float
    wall_mm: float
    liver: float
    spleen: float
    kidney_mm: tuple[float, float]
    bladder: float
    disc_mm: float


def person(seed: int) -> Person:
    """The person of a seed."""
    d = np.random.default_rng((seed, 21)).uniform(-1.0, 1.0, 12)
    return Person(
        width=1 + 0.08 * d[0], depth=1 + 0.1 * d[1], fat_mm=14 + 8 * d[2], dome_mm=14 * d[3], heart=1 + 0.1 * d[4],
        wall_mm=9 + 2 * d[5], liver=1 + 0.1 * d[6], spleen=1 + 0.2 * d[7], kidney_mm=(14 * d[8], 14 * d[9]),
        bladder=1 + 0.35 * d[10], disc_mm=12 * d[11],
    )


def solids(p: Person, x: Coordinate, y: Coordinate, z: Coordinate) -> dict[str, np.ndarray]:
    """Distances to every part by name, in the order in which later ones lie over earlier ones."""
    u, v, z = np.asarray(x) / p.width, np.asarray(y) / p.depth, np.asarray(z, dtype=np.float64)
    at = np.clip(z, -500, 235)
    front, back = BODY_FRONT(at), BODY_BACK(at)
    trunk = np.maximum(superellipse(u, v - (front + back) / 2, BODY_WIDTH(at), (back - front) / 2, 2.5), z - 235.0)
    head = ellipsoid(u, v, z, (0, 8, 325), (74, 96, 108))
    body = smooth_min(trunk, head, 20.0)
    thin = p.fat_mm * np.where(z > 150, 0.4, 1.0)
    liver = smooth_min(
        ellipsoid(u, v, z, (-66, 2, -148 + p.dome_mm), (88 * p.liver, 84, 82 * p.liver)),
        ellipsoid(u, v, z, (16, -46, -122 + p.dome_mm), (62, 40, 34)), 16.0)
    stomach = smooth_min(ellipsoid(u, v, z, (70, 2, -122 + p.dome_mm), (42, 46, 44)),
                         ellipsoid(u, v, z, (36, -48, -170), (52, 26, 24)), 14.0)
    inside_wall = body + thin + 16.0
    liver, stomach = np.maximum(liver, inside_wall), np.maximum(stomach, inside_wall)
    h = p.heart
    chamber = ellipsoid(u, v, z, (36, -36, -46), (40 * h, 24 * h, 24 * h), HEART_AXES)
    right = ellipsoid(u, v, z, (4, -52, -38), (42 * h, 24 * h, 32 * h), HEART_AXES)
    atria = ellipsoid(u, v, z, (-8, -6, -16), (42 * h, 28 * h, 28 * h), HEART_AXES)
    wall = chamber - p.wall_mm
    whole = smooth_min(smooth_min(wall, right - 3.0, 10.0), atria - 2.0, 10.0)
    lungs = np.minimum(ellipsoid(u, v, z, (-78, 10, -10), (58, 82, 142)),
                       ellipsoid(u, v, z, (80, 12, -12), (56, 80, 140)))
    lungs = np.maximum(np.maximum(lungs, inside_wall), 20.0 - np.abs(u))
    for other, margin in ((liver, 4.0), (stomach, 5.0), (whole, 6.0)):
        lungs = np.maximum(lungs, margin - other)
    spine_y = 60.0 - 12.0 * (np.clip(z, -420, 220) / 150.0) ** 2 * np.where(z > 0, 1.0, 0.25)
    column = np.maximum(np.maximum(superellipse(u, v - spine_y, 21.0, 16.0, 2.4), z - 225.0), -415.0 - z)
    column = np.maximum(column, body + 10.0)
    level = np.mod(z + p.disc_mm, VERTEBRA_MM)
    vertebrae = np.maximum(column, DISC_MM / 2 - np.minimum(level, VERTEBRA_MM - level))
    canal = np.maximum(superellipse(u, v - spine_y - 25.0, 9.0, 8.0, 2.0), np.maximum(-330.0 - z, body + 8.0))
    side = np.abs(u)
    ilium = np.abs(ellipsoid(side, v, z, (70, 25, -345), (62, 62, 78))) - 7.0
    ilium = np.maximum(ilium, np.maximum(-10 - v, z + 285.0))
    femur = np.minimum(ellipsoid(side, v, z, (98, 8, -428), (25, 25, 25)),
                       tube(side, v, z, ((98, 8, -428), (150, 14, -455), (150, 10, -540)), (14, 19, 17), 60.0))
    skull = np.abs(ellipsoid(u, v, z, (0, 10, 340), (66, 84, 80)) - 2.0) - 4.0
    brain = np.maximum(ellipsoid(u, v, z, (0, 10, 340), (62, 80, 74)), 2.0 - side)  # two hemispheres
    kidneys = [ellipsoid(u, v, z, (place, 48, -205 + shift), (27, 29, 54))
               for place, shift in zip((-66, 64), p.kidney_mm, strict=True)]
    pelvises = [ellipsoid(u, v, z, (place, 42, -207 + shift), (10, 11, 22))
                for place, shift in zip((-52, 50), p.kidney_mm, strict=True)]
    bowel = np.minimum.reduce([tube(u, v, z, chain[0], chain[1], 60.0) for chain in BOWEL])
    vessels = np.minimum.reduce([tube(u, v, z, chain[0], chain[1], 60.0)
                                 for chain in (AORTA, DESCENDING, ABDOMINAL_AORTA, VENA_CAVA)])
    return {
        "fat": body,
        "muscle": body + thin,
        "cavity": np.maximum(inside_wall + 4.0, np.maximum(z + 40.0, -400.0 - z)),
        "lungs": lungs,
        "liver": liver,
        "spleen": np.maximum(ellipsoid(u, v, z, (108, 46, -140), (30 * p.spleen, 34, 52 * p.spleen)), inside_wall),
        "stomach": np.maximum(stomach, -liver),
        "bowel": np.maximum(np.maximum(bowel, inside_wall), np.maximum(-liver, -stomach)),
        "blood": vessels,
        "right heart": np.maximum(whole, -wall),
        "heart wall": wall,
        "left chamber": chamber,
        "kidneys": np.minimum(*kidneys),
        "renal pelvis": np.minimum(*pelvises),
        "bone": np.minimum(np.minimum(column, ilium), np.minimum(femur, skull)),
        "marrow": np.minimum(vertebrae + 2.5, np.minimum(ilium + 3.0, femur + 6.0)),
        "canal": canal,
        "bladder": ellipsoid(u, v, z, (0, -38, -418), (44 * p.bladder, 38 * p.bladder, 36 * p.bladder)),
        "brain": brain,
        "white matter": ellipsoid(side, v, z, (28, 12, 342), (24, 56, 46)),
    }
