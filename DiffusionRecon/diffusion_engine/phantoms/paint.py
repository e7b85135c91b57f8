"""One slice of the synthetic chest: tissues painted over each other, from the table to the bones."""

from __future__ import annotations

import numpy as np

from . import anatomy, tree
from .canvas import AIR, Canvas, Plane
from .lung import LungTrees, Nodule
from .shapes import cover, ellipsoid, smooth_step, superellipse, tube

FAT, MUSCLE, SKIN, CARTILAGE = -102.0, 55.0, 25.0, 115.0
BLOOD_LEFT, BLOOD_RIGHT, BLOOD_LUNG, MYOCARDIUM = 150.0, 135.0, 75.0, 92.0
LIVER, SPLEEN, STOMACH = 92.0, 108.0, 22.0
CORTEX, MARROW, SPONGY, DISC = 820.0, 190.0, 160.0, 85.0
LUNG, BRONCHUS_WALL = -858.0, -120.0
HEPATIC_VEINS = (
    (((-20, 2, -72), (-48, -12, -84), (-85, -20, -100)), (5, 4, 2)),
    (((-20, 2, -72), (-24, -36, -84), (-30, -66, -96)), (4.5, 3.5, 2)),
    (((-20, 2, -74), (-60, 20, -92), (-95, 36, -112)), (4.5, 3.5, 1.8)),
    (((-20, 2, -72), (6, -32, -82), (22, -52, -92)), (4, 3, 1.6)),
)


def paint_slice(
    plane: Plane, p: anatomy.Patient, trees: LungTrees, nodules: tuple[Nodule, ...], seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """HU (rows, columns) float32 of a slice, and its masks as small integers."""
    canvas = Canvas(plane, seed)
    x, y, z = canvas.x, canvas.y, canvas.z
    outline = anatomy.body(p, x, y, z) + 1.5 * canvas.noise(13, (40.0, 35.0, 35.0))
    inner = anatomy.cage(p, x, y, z) + canvas.noise(14, (30.0, 25.0, 25.0))
    middle = (float(anatomy.CAGE_FRONT(z)) + float(anatomy.CAGE_BACK(z))) / 2 * p.depth
    angle = np.arctan2(np.abs(x), y - middle)

    _paint_table(canvas)
    body = canvas.fill(outline, SKIN + canvas.texture(8, 0))
    muscle = _paint_wall(canvas, p, outline, inner, angle)
    # Towards the neck, muscles take the place of the fat between the apices.
    neck = float(smooth_step(95.0, 135.0, z)) * smooth_step(-1.0, 1.5, canvas.coarse)
    chest = canvas.fill(inner, FAT + neck * (MUSCLE - FAT) + canvas.texture(6, 8, 6))

    parts = {**anatomy.heart(p, x, y, z), **anatomy.great_vessels(x, y, z)}
    below, airway = anatomy.abdomen(p, x, y, z), anatomy.airways(x, y, z)
    liver = _paint_abdomen(canvas, below, inner)
    between = anatomy.mediastinum(x, y, z, parts, airway) + 0.8 * canvas.coarse
    lung, vessel, labels = _paint_lungs(canvas, anatomy.lungs(p, x, y, z, between, below, inner), trees, nodules)
    _paint_organs(canvas, parts, airway, chest)
    bone = _paint_bones(canvas, p, inner, angle)

    side = np.where(x < 0, 1, 2).astype(np.uint8)
    # Attenuation is never negative.
    return np.maximum(canvas.hu, AIR), {
        "body": (body > 0.5).astype(np.uint8),
        "lungs": ((lung > 0.5) & (bone < 0.5)) * side,
        "heart": (cover(parts["heart"], canvas.edge_mm) * chest > 0.5).astype(np.uint8),
        "bone": (bone > 0.5).astype(np.uint8),
        "muscle": ((muscle > 0.5) & (bone < 0.05) & (inner > 0)).astype(np.uint8),
        "liver": (liver > 0.5).astype(np.uint8),
        "vessels": (vessel > 0.5).astype(np.uint8),
        "nodules": labels,
    }


def _paint_table(canvas: Canvas) -> None:
    """A thin curved shell of carbon fibre on foam under the patient."""
    top = 133.0 - canvas.x**2 / 1500.0
    ends = np.abs(canvas.x) - 212.0
    canvas.fill(np.maximum(np.maximum(top - canvas.y, canvas.y - top - 24.0), ends), -955.0)
    canvas.fill(np.maximum(np.abs(canvas.y - top) - 1.1, ends), 60.0)


def _paint_wall(
    canvas: Canvas, p: anatomy.Patient, outline: np.ndarray, inner: np.ndarray, angle: np.ndarray
) -> np.ndarray:
    """Subcutaneous fat with strands, then muscle in layers with fat between; returns the muscle's cover."""
    z, coarse = canvas.z, canvas.coarse
    fat = FAT + canvas.texture(6, 8, 5)
    strands = canvas.noise(20, (14.0, 5.0, 5.0))
    canvas.fill(outline + 1.9, fat + 55.0 * np.exp(-((strands / 0.07) ** 2)) * smooth_step(-0.6, 0.4, coarse))
    uneven = canvas.noise(21, (45.0, 40.0, 40.0))
    chest_fat = 0.8 * smooth_step(-0.55, -0.15, -np.abs(angle - 2.35)) * float(smooth_step(-60.0, 20.0, -z))
    side_fat = 0.5 * smooth_step(-0.7, -0.1, -np.abs(angle - 1.6)) * float(smooth_step(20.0, 70.0, z))
    thick = p.fat_mm * (0.85 + chest_fat + side_fat + 0.12 * uneven)
    # Fibres run along the wall: streaks long in x at the front and back, long in y at the sides.
    across, upright = canvas.noise(22, (18.0, 2.2, 13.0)), canvas.noise(23, (18.0, 13.0, 2.2))
    sideways = smooth_step(0.35, 0.8, np.sin(angle) ** 2)
    streaks = across * (1 - sideways) + upright * sideways
    depth = inner + 3.5 * uneven + 1.6 * coarse
    sheets = np.zeros_like(depth)
    for place, width, strength in ((12.5, 1.3, 0.95), (22.0, 1.4, 0.8), (31.0, 1.2, 0.6)):
        open_at = smooth_step(-0.6, 0.7, uneven * np.float32(np.cos(place)) + 0.5 * coarse)
        sheets = np.maximum(sheets, strength * np.exp(-(((depth - place) / width) ** 2)) * (0.35 + 0.65 * open_at))
    mixed = np.maximum(sheets, 0.75 * smooth_step(0.9, 2.1, streaks))
    flesh = MUSCLE + canvas.texture(9, 7, 4)
    part = canvas.fill(outline + 1.9 + thick, flesh + mixed * (fat - flesh))
    return part * (mixed < 0.5)


def _paint_abdomen(canvas: Canvas, below: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Diaphragm, liver, stomach with its air-fluid level, and spleen; returns the liver's cover."""
    if float(below.min()) > canvas.edge_mm:
        return np.zeros_like(inner)
    x, y, z = canvas.x, canvas.y, canvas.z
    inside = np.maximum(below, inner + 0.5)
    canvas.fill(inside, MUSCLE + canvas.texture(8, 0))
    canvas.fill(inside + 3.0, FAT + canvas.texture(6, 8))
    spleen = np.maximum(ellipsoid(x, y, z, (92, 40, -108), (32, 44, 36)), inside + 3.0)
    canvas.fill(spleen, SPLEEN + canvas.texture(10, 6))
    stomach = np.maximum(ellipsoid(x, y, z, (58, -14, -108), (42, 44, 44)), inside + 3.0)
    canvas.fill(stomach, 60.0 + canvas.texture(9, 0))
    canvas.fill(stomach + 4.5, STOMACH + canvas.texture(9, 10, 10))
    canvas.fill(np.maximum(stomach + 4.5, y + 34.0), AIR + canvas.texture(6, 0))
    edge = x - 4.0 + 0.55 * y + 4.0 * canvas.coarse
    liver = np.maximum(np.maximum(edge, inside + 2.6), -superellipse(x, y - anatomy.spine_middle(z), 30.0, 26.0, 2.0))
    part = canvas.fill(liver, LIVER + canvas.texture(10, 7, 4))
    for points, radii in HEPATIC_VEINS:
        canvas.paint(cover(tube(x, y, z, points, radii), canvas.edge_mm) * part, 128.0 + canvas.texture(10, 0))
    return part


def _paint_lungs(
    canvas: Canvas, distance: np.ndarray, trees: LungTrees, nodules: tuple[Nodule, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parenchyma, fissures, bronchi, vessels and nodules; returns the lungs' and vessels' covers and nodule labels."""
    x, y, z, edge = canvas.x, canvas.y, canvas.z, canvas.edge_mm

    def drawn(tubes: tree.Tubes, inflate_mm: float = 0.0) -> np.ndarray:
        return tree.draw(tubes, z, canvas.plane.y, canvas.plane.x, edge, inflate_mm)

    lung = cover(distance, edge)
    # Blood sinks to the back of a patient who lies on it.
    air = LUNG + 24.0 * smooth_step(-60.0, 90.0, y) + canvas.texture(16, 13, 9)
    # The oblique fissures; the horizontal one lies in the slices and shows as no line.
    fissure = np.abs(y - 2.0 + 0.75 * z - 0.0012 * x**2 + 0.9 * canvas.coarse) / 1.25
    canvas.paint(lung, air + 150.0 * cover(fissure - 0.35, edge) * min(1.0, 0.7 / edge))
    canvas.paint(drawn(trees.bronchi, 0.7) * lung, BRONCHUS_WALL)
    canvas.paint(drawn(trees.bronchi) * lung, AIR + 30.0)
    vessel = np.maximum(drawn(trees.arteries), drawn(trees.veins)) * cover(distance - 1.0, edge)
    canvas.paint(vessel, BLOOD_LUNG + canvas.texture(10, 0))
    labels = np.zeros(canvas.hu.shape, np.uint8)
    for n, nodule in enumerate(nodules, start=1):
        right, anterior, superior = nodule.centre_ras_mm
        radius, hazy = nodule.radius_mm, nodule.kind == "ground-glass"
        ball = ellipsoid(x, y, z, (-right, -anterior, superior), (radius, radius, radius))
        part = cover(ball, max(edge, 2.0) if hazy else edge)
        value = nodule.hu + (canvas.texture(14, 20) if hazy else canvas.texture(10, 0))
        # Vessels show through ground glass.
        canvas.paint(part, np.maximum(canvas.hu, value) if hazy else value)
        labels[part > 0.5] = n
    return lung, vessel, labels


def _paint_organs(canvas: Canvas, parts: dict[str, np.ndarray], airway: np.ndarray, chest: np.ndarray) -> None:
    """Oesophagus, heart with its chambers, great vessels, trachea and main bronchi."""
    flesh = canvas.texture(8, 5)
    gullet = tube(canvas.x, canvas.y, canvas.z, *anatomy.OESOPHAGUS)
    canvas.fill(gullet, 48.0 + flesh)
    canvas.fill(gullet + 5.2, -180.0)
    for name, margin_mm, value in (
        ("heart", 1.6, FAT + 20.0),
        ("heart", 0.0, MYOCARDIUM),
        ("left", 0.0, BLOOD_LEFT),
        ("right", 0.0, BLOOD_RIGHT),
        ("atrium_right", 0.0, BLOOD_RIGHT),
        ("atrium_left", 0.0, BLOOD_LEFT),
    ):
        canvas.paint(cover(parts[name] - margin_mm, canvas.edge_mm) * chest, value + flesh)
    canvas.fill(parts["veins"], BLOOD_RIGHT + flesh)
    canvas.fill(parts["lung_veins"], BLOOD_LEFT + flesh)
    canvas.fill(parts["pulmonary"], BLOOD_RIGHT + 8.0 + flesh)
    canvas.fill(parts["aorta"], MYOCARDIUM + flesh)
    canvas.fill(parts["aorta"] + 1.3, BLOOD_LEFT + flesh)
    canvas.fill(airway - 1.6, 35.0 + flesh)
    canvas.fill(airway, AIR + 5.0 + canvas.texture(5, 0))


def _paint_bones(canvas: Canvas, p: anatomy.Patient, inner: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Spine, ribs with cartilages, sternum, shoulder blades and collar bones; returns the bones' cover."""
    x, y, z = canvas.x, canvas.y, canvas.z
    canvas.fill(np.maximum(anatomy.rib_necks(x, y, z) + 2.5, inner), MUSCLE - 5.0 + canvas.texture(9, 9, 6))
    spine = anatomy.vertebrae(p, x, y, z)
    canvas.fill(spine["disc"], DISC + canvas.texture(8, 6))
    rib, cartilage = anatomy.ribs(p, inner, angle, z)
    canvas.fill(cartilage, CARTILAGE + canvas.texture(12, 14))
    whole = np.zeros_like(inner)
    for distance, cortex_mm, inside in (
        (spine["arch"], 1.7, MARROW + 130.0),
        (spine["body"], 0.9, SPONGY),
        (rib, 1.2, MARROW),
        (anatomy.sternum(p, x, y, z), 1.1, SPONGY - 10.0),
        (anatomy.shoulder_blades(inner, angle, z), 1.2, MARROW),
        (tube(np.abs(x), y, z, *anatomy.CLAVICLE), 1.6, MARROW),
    ):
        whole = np.maximum(whole, canvas.fill(distance, CORTEX + canvas.texture(0, 60)))
        canvas.fill(distance + cortex_mm, inside + canvas.texture(18, 24, 12))
    canvas.fill(spine["canal"], -60.0 + canvas.texture(8, 0))
    canvas.fill(spine["canal"] + 2.0, 18.0 + canvas.texture(8, 0))
    cord = superellipse(x, y - float(anatomy.spine_middle(z)) - 21.5, 5.5, 4.2, 2.0)
    canvas.fill(cord, 42.0 + canvas.texture(8, 0))
    return whole * (spine["canal"] > 0)
