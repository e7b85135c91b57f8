"""Where the parts of a schematic thorax lie: signed distances in mm, for one patient a seed.

Coordinates: x to the patient's left, y posterior, z superior, mm; the origin is in the middle of the chest, a little
below the carina. Positions and sizes are those of an adult lying supine with raised arms, after atlas figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from .shapes import FAR_MM, Coordinate, Point, ellipsoid, smooth_min, smooth_step, superellipse, tube

CAGE_WIDTH = PchipInterpolator([-200, -100, 0, 60, 100, 130, 160], [128, 134, 131, 119, 98, 72, 50])
CAGE_FRONT = PchipInterpolator([-200, -60, 0, 60, 100, 130, 160], [-88, -90, -84, -68, -52, -32, -14])
CAGE_BACK = PchipInterpolator([-200, -60, 0, 60, 100, 130, 160], [86, 92, 92, 86, 74, 60, 50])
BODY_WIDTH = PchipInterpolator([-200, -60, 0, 60, 95, 125, 160], [156, 163, 168, 172, 172, 158, 110])
BODY_FRONT = PchipInterpolator([-200, -60, 0, 60, 100, 130, 160], [-116, -116, -111, -97, -82, -64, -52])
BODY_BACK = PchipInterpolator([-200, -60, 0, 60, 110, 160], [112, 119, 121, 118, 106, 90])
APEX_WIDTH = PchipInterpolator([-200, 50, 80, 110, 128, 140, 148], [190, 130, 78, 50, 35, 18, 2])
STERNUM_WIDTH = PchipInterpolator([-68, -55, 0, 60, 75, 95, 104], [3, 13, 17, 15, 24, 29, 22])
RIB_SPACING_MM = 25.0
RIB_DROP_MM = 105.0
VERTEBRA_MM = 24.0
HEART_AXES = np.linalg.qr(np.array([[0.72, -0.48, -0.50], [0.55, 0.83, 0.0], [0.0, 0.5, -0.85]]).T)[0].T

AORTA = (
    ((-1, -22, -14), (-11, -32, 12), (-15, -30, 38), (-11, -20, 62), (0, -4, 74), (13, 15, 71), (20, 30, 56)),
    (15, 16, 16, 15, 13.5, 13, 12.5),
)
DESCENDING = (((20, 30, 56), (21, 37, 20), (18, 38, -40), (12, 37, -100), (7, 36, -170)), (12.5, 12, 11.5, 11, 10))
PULMONARY_TRUNK = (((14, -46, -14), (19, -38, 12), (15, -18, 30)), (13, 13.5, 12.5))
RIGHT_PULMONARY = (((15, -18, 30), (-8, -10, 22), (-36, -4, 14)), (12, 10.5, 9))
LEFT_PULMONARY = (((15, -18, 30), (30, -4, 33), (42, 8, 22)), (12, 11, 8.5))
VENA_CAVA_SUPERIOR = (((-24, -28, 110), (-27, -24, 60), (-26, -22, 20), (-24, -24, -6)), (7, 9, 9.5, 10))
VENA_CAVA_INFERIOR = (((-22, -8, -46), (-20, 0, -80), (-20, 8, -170)), (12, 12, 12))
RIGHT_VEIN = (((-12, 6, -12), (-32, 8, -11), (-46, 8, -8)), (9, 7.5, 6))
LEFT_VEIN = (((14, 6, -12), (32, 10, -10), (44, 12, -6)), (9, 7, 5.5))
NECK_ARTERIES = (
    (((-11, -18, 70), (-14, -10, 95), (-24, -6, 160)), (6.5, 6, 5)),
    (((2, -6, 78), (6, -2, 100), (20, -4, 160)), (5, 4.5, 4)),
    (((12, 10, 74), (18, 12, 100), (42, 8, 140)), (5.5, 5, 4.5)),
)
INNOMINATE_VEIN = (((-25, -28, 92), (0, -34, 96), (24, -22, 112), (36, -10, 150)), (7, 6.5, 6.5, 6))
OESOPHAGUS = (
    ((2, 22, 160), (5, 26, 80), (4, 29, 20), (6, 26, -40), (14, 18, -90), (26, 8, -115)),
    (6, 6.5, 6.5, 7, 7.5, 8),
)
TRACHEA = (((0, 2, 170), (0, 9, 80), (0, 13, 46)), (8.5, 8.5, 8.5))
RIGHT_BRONCHUS = (((0, 13, 46), (-24, 14, 22), (-36, 14, 4), (-42, 20, -24)), (8, 7, 5.5, 4))
RIGHT_UPPER_BRONCHUS = (((-22, 14, 25), (-46, 10, 34)), (5, 3.5))
LEFT_BRONCHUS = (((0, 13, 46), (34, 18, 14), (42, 24, -6), (48, 30, -28)), (7, 6, 5, 3.5))
LEFT_UPPER_BRONCHUS = (((33, 17, 15), (50, 2, 14)), (4.5, 3))
AIRWAYS = (TRACHEA, RIGHT_BRONCHUS, RIGHT_UPPER_BRONCHUS, LEFT_BRONCHUS, LEFT_UPPER_BRONCHUS)
ARTERY_TRUNK = np.array(
    # the right lung's, mirrored for the left: hilum, lower lobe, upper lobe, middle lobe
    (
        *((-36, -2, 13), (-44, 4, 6), (-50, 12, -8), (-54, 20, -24), (-58, 30, -42), (-62, 40, -62)),
        *((-42, -4, 24), (-49, -8, 38), (-54, -6, 54), (-56, 4, 72)),
        *((-56, -8, 2), (-68, -22, -6), (-78, -36, -12)),
    ),
    dtype=float,
)
VEIN_TRUNK = np.array(
    (
        *((-42, 8, -9), (-50, 18, -16), (-58, 32, -28), (-66, 46, -46)),
        *((-46, -6, -4), (-52, -18, 8), (-56, -28, 24), (-60, -34, 42), (-60, -30, 62)),
        *((-60, -34, -8), (-72, -50, -18)),
    ),
    dtype=float,
)
CLAVICLE = (((12, -50, 100), (50, -58, 112), (95, -32, 126), (150, 0, 132)), (9, 6, 5.5, 7))


@dataclass(frozen=True)
class Patient:
    """What differs between seeds: scales without unit, lengths in mm."""

    width: float
    depth: float
    fat_mm: float
    heart: float
    dome_mm: float
    rib_phase_mm: float
    disc_phase_mm: float


def patient(seed: int) -> Patient:
    """The patient of a seed."""
    draw = np.random.default_rng((seed, 1)).uniform(-1.0, 1.0, 7)
    return Patient(
        width=1 + 0.03 * draw[0],
        depth=1 + 0.03 * draw[1],
        fat_mm=11 + 3 * draw[2],
        heart=1 + 0.05 * draw[3],
        dome_mm=6 * draw[4],
        rib_phase_mm=8 * draw[5],
        disc_phase_mm=10 * draw[6],
    )


def body(p: Patient, x: Coordinate, y: Coordinate, z: float) -> np.ndarray:
    """Distance to the skin."""
    front, back = float(BODY_FRONT(z)) * p.depth, float(BODY_BACK(z)) * p.depth
    distance = superellipse(x, y - (front + back) / 2, float(BODY_WIDTH(z)) * p.width, (back - front) / 2, 2.45)
    groove = np.where(np.asarray(y) > 0, 6.0, 3.0) * np.exp(-((x / 17.0) ** 2))
    return distance + groove


def cage(p: Patient, x: Coordinate, y: Coordinate, z: Coordinate) -> np.ndarray:
    """Distance to the inner face of the rib cage."""
    front, back = CAGE_FRONT(z) * p.depth, CAGE_BACK(z) * p.depth
    middle, half, wide = (front + back) / 2, (back - front) / 2, CAGE_WIDTH(z) * p.width
    if np.ndim(z) == 0:
        middle, half, wide = float(middle), float(half), float(wide)
    return superellipse(x, y - middle, wide, half, 2.3)


def abdomen(p: Patient, x: Coordinate, y: Coordinate, z: Coordinate) -> np.ndarray:
    """Distance to the domes of the diaphragm, the right one higher; negative below."""
    distances = []
    for side, top in ((-60.0, -50.0), (60.0, -62.0)):
        # The diaphragm is fixed higher in front than at the back, so its tops lie before the middle.
        u, v = (x - side) / 82.0, (y + 34.0) / 118.0
        height = top + p.dome_mm - 62.0 * (u * u + v * v)
        slope = 124.0 * np.sqrt((u / 82.0) ** 2 + (v / 118.0) ** 2)
        distances.append((z - height) / np.sqrt(1 + slope**2))
    return smooth_min(distances[0], distances[1], 40.0)


def heart(p: Patient, x: Coordinate, y: Coordinate, z: Coordinate) -> dict[str, np.ndarray]:
    """Distances to the heart with its walls ("heart") and to its four chambers."""
    h = p.heart

    def chamber(centre: Point, semi: Point) -> np.ndarray:
        return ellipsoid(x, y, z, centre, (semi[0] * h, semi[1] * h, semi[2] * h), HEART_AXES)

    left = chamber((33, -31, -50), (37, 22, 22))
    right = chamber((6, -56, -42), (38, 17, 25))
    atrium_right = chamber((-25, -30, -30), (20, 22, 27))
    atrium_left = chamber((1, 3, -15), (18, 25, 19))
    whole = smooth_min(left - 9.5, right - 4.0, 14.0)
    whole = smooth_min(whole, atrium_right - 3.0, 10.0)
    whole = smooth_min(whole, atrium_left - 3.0, 8.0)
    return {"heart": whole, "left": left, "right": right, "atrium_right": atrium_right, "atrium_left": atrium_left}


def great_vessels(x: Coordinate, y: Coordinate, z: Coordinate) -> dict[str, np.ndarray]:
    """Distances to arteries ("aorta", with its branches), "pulmonary" arteries, and "veins"."""

    def nearest(*chains: tuple) -> np.ndarray:
        best = tube(x, y, z, *chains[0])
        for chain in chains[1:]:
            best = np.minimum(best, tube(x, y, z, *chain))
        return best

    return {
        "aorta": nearest(AORTA, DESCENDING, *NECK_ARTERIES),
        "pulmonary": nearest(PULMONARY_TRUNK, RIGHT_PULMONARY, LEFT_PULMONARY),
        "veins": nearest(VENA_CAVA_SUPERIOR, VENA_CAVA_INFERIOR, INNOMINATE_VEIN),
        "lung_veins": nearest(RIGHT_VEIN, LEFT_VEIN),
    }


def airways(x: Coordinate, y: Coordinate, z: Coordinate) -> np.ndarray:
    """Distance to the air in trachea and main bronchi."""
    return np.minimum.reduce([tube(x, y, z, *chain) for chain in AIRWAYS])


def spine_middle(z: Coordinate) -> Coordinate:
    """The y of the vertebral bodies' centres."""
    return 59.0 - 15.0 * (np.asarray(z) / 130.0) ** 2


def rib_necks(x: Coordinate, y: Coordinate, z: Coordinate) -> np.ndarray:
    """Distance to the wedges of muscle beside the spine, around transverse processes and necks of the ribs."""
    side = np.abs(x)
    behind = (spine_middle(z) + 15.0 + 0.7 * (side - 22.0) - y) / 1.22
    return -smooth_min(-behind, 46.0 - side, 26.0)


def mediastinum(
    x: Coordinate, y: Coordinate, z: Coordinate, parts: dict[str, np.ndarray], airway: np.ndarray
) -> np.ndarray:
    """Distance to everything between the lungs: the organs under a few millimetres of fat, and the septa."""
    middle = spine_middle(z)
    around = superellipse(x, y - middle, 22.0, 19.0, 2.0)
    around = smooth_min(around, tube(x, y, z, *OESOPHAGUS) - 3.0, 14.0)
    for name, margin in (("aorta", 2.0), ("veins", 2.5), ("pulmonary", 1.5), ("lung_veins", 1.0), ("heart", 3.5)):
        around = smooth_min(around, parts[name] - margin, 12.0)
    around = smooth_min(around, airway - 2.2, 5.0)
    around = smooth_min(around, rib_necks(x, y, z), 10.0)
    front = np.maximum(np.abs(x - 4.0) - 2.5, y - 0.0)
    back = np.maximum(np.abs(x + 2.0) - 9.0, np.abs(y - middle) - 60.0)
    return smooth_min(smooth_min(around, front, 14.0), np.maximum(back, -y), 10.0)


def lungs(
    p: Patient, x: Coordinate, y: Coordinate, z: Coordinate, between: np.ndarray, below: np.ndarray, inner: np.ndarray
) -> np.ndarray:
    """Distance to the lungs: inside the cage and the apices, outside the mediastinum, above the diaphragm."""
    wide = APEX_WIDTH(z)
    top = superellipse(np.abs(x) - 0.4 * CAGE_WIDTH(np.minimum(z, 140.0)), y - 18.0, wide, 1.3 * wide, 2.0)
    inside = np.maximum(np.maximum(inner, top), np.asarray(z) - 147.0)
    return np.maximum(np.maximum(inside, -between), 2.0 - below)


def lungs_at(p: Patient, points: np.ndarray) -> np.ndarray:
    """Distance to the lungs at points (n, 3)."""
    x, y, z = points.T
    parts = {**heart(p, x, y, z), **great_vessels(x, y, z)}
    between = mediastinum(x, y, z, parts, airways(x, y, z))
    return lungs(p, x, y, z, between, abdomen(p, x, y, z), cage(p, x, y, z))


def vertebrae(p: Patient, x: np.ndarray, y: np.ndarray, z: float) -> dict[str, np.ndarray]:
    """Distances to vertebral "body", "disc", the bony "arch" with its processes, and the spinal "canal"."""
    middle = float(spine_middle(z))
    level = (z + p.disc_phase_mm) / VERTEBRA_MM
    height = (level - round(level)) * VERTEBRA_MM  # above the middle of the nearest vertebra
    bulge = 1.8 * (height / 10.0) ** 2
    column = superellipse(x, y - middle, 16.5 + bulge, 12.5 + bulge, 2.4)
    canal = superellipse(x, y - middle - 21.5, 10.0, 8.5, 2.0)
    arch = np.maximum(np.maximum(np.abs(canal - 2.8) - 2.4, middle + 9.0 - y), abs(height - 1.0) - 8.0)
    side = np.abs(x)
    transverse = ((13.0, middle + 25.0, 0.0), (31.0, middle + 33.0, 4.0))
    arch = np.minimum(arch, tube(side, y, height, transverse, (4.6, 3.6)))
    for lift in (0.0, VERTEBRA_MM):
        spinous = ((0.0, middle + 31.0, -2.0), (0.0, middle + 44.0, -18.0))
        arch = np.minimum(arch, tube(1.4 * x, y, height - lift, spinous, (4.5, 4.0)))
    neck = ((19.0, middle + 10.0, 10.0), (40.0, middle + 29.0, 7.0))
    arch = np.minimum(arch, tube(side, y, height, neck, (3.4, 3.0)))
    return {
        "body": np.maximum(column, abs(height) - 9.6),
        "disc": column + 0.8,
        "arch": np.maximum(arch, -canal),
        "canal": canal,
    }


def ribs(p: Patient, inner: np.ndarray, angle: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the bony ribs and to their cartilages.

    A rib follows the cage's surface; it starts beside the spine (angle 0) and sinks on its way round to the front.
    ``inner``: distance to the cage, ``angle``: from the back (0) to the front (pi), both (rows, columns).
    """
    sunk = z + RIB_DROP_MM * smooth_step(0.0, 2.8, angle)
    level = (sunk - 128.0 - p.rib_phase_mm) / RIB_SPACING_MM
    nearest = np.clip(np.round(level), -11.0, 0.0)
    across = (level - nearest) * RIB_SPACING_MM / 1.12
    section = (np.sqrt(((inner - 6.2) / 3.7) ** 2 + (across / 6.0) ** 2) - 1.0) * 4.2
    end = 100.0 * (angle - (2.42 + 0.02 * nearest))
    bone = np.maximum(np.maximum(section, end), 100.0 * (0.33 - angle))
    cartilage = np.maximum(np.maximum(section, -end), np.where(nearest < -7, FAR_MM, 100.0 * (angle - 3.0)))
    return bone, cartilage


def sternum(p: Patient, x: np.ndarray, y: np.ndarray, z: float) -> np.ndarray:
    """Distance to the sternum."""
    if not -68 < z < 104:
        return np.full(np.broadcast_shapes(x.shape, y.shape), FAR_MM, np.float32)
    middle = float(CAGE_FRONT(z)) * p.depth - 6.5
    return superellipse(x, y - middle, float(STERNUM_WIDTH(z)), 5.8, 3.0)


def shoulder_blades(inner: np.ndarray, angle: np.ndarray, z: float) -> np.ndarray:
    """Distance to the scapulae: plates outside the ribs, narrow at the lower angle."""
    half = 0.0032 * (z + 22.0)
    plate = np.maximum(np.abs(inner - 19.0) - 1.9, 120.0 * (np.abs(angle - 0.62 - half) - half))
    ridge = np.hypot(inner - 20.0, 120.0 * (angle - 0.62 - 2 * half)) - 5.0
    return np.maximum(np.minimum(plate, ridge), max(-18.0 - z, z - 118.0))
