"""One slice of the synthetic chest: tissues painted over each other, from the table to the bones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import anatomy, tree
from .shapes import cover, ellipsoid, smooth_step, superellipse, tube
from .texture import Noise

AIR, FAT, MUSCLE, SKIN, CARTILAGE = -1000.0, -102.0, 55.0, 25.0, 115.0
BLOOD_LEFT, BLOOD_RIGHT, MYOCARDIUM, LIVER, SPLEEN = 150.0, 135.0, 92.0, 92.0, 108.0
CORTEX, MARROW, TRABECULAR, DISC = 820.0, 210.0, 190.0, 85.0

Ball = tuple[float, float, float, float, float, bool]
"""A nodule: x, y, z, radius (mm), HU, and whether it is ground glass."""


@dataclass(frozen=True)
class Plane:
    """A slice: pixel centres ``x`` and ``y``, its height ``z``, and ``pixel_mm`` (row, column), all in mm."""

    x: np.ndarray
    y: np.ndarray
    z: float
    pixel_mm: tuple[float, float]

    @property
    def edge_mm(self) -> float:
        """Width of the soft edges: one pixel."""
        return float(np.sqrt(self.pixel_mm[0] * self.pixel_mm[1]))

    def noise(self, seed: int, channel: int, cell_mm: tuple[float, float, float]) -> np.ndarray:
        """Unit noise on the slice's pixels."""
        return Noise(seed, channel, cell_mm).plane(self.z, self.y, self.x, self.pixel_mm)


class Canvas:
    """A slice being painted: ``hu`` (rows, columns)."""

    def __init__(self, plane: Plane) -> None:
        self.hu = np.full((len(plane.y), len(plane.x)), AIR, np.float32)
        self.edge_mm = plane.edge_mm

    def paint(self, part: np.ndarray, value: np.ndarray | float) -> None:
        """Lay ``value`` over the part (0 to 1) of each pixel."""
        self.hu += part * (value - self.hu)

    def fill(self, distance: np.ndarray, value: np.ndarray | float) -> np.ndarray:
        """Paint a solid by its distance; returns its cover."""
        part = cover(distance, self.edge_mm)
        self.paint(part, value)
        return part


def paint_slice(
    plane: Plane,
    p: anatomy.Patient,
    arteries: tree.Tubes,
    veins: tree.Tubes,
    bronchi: tree.Tubes,
    balls: Sequence[Ball],
    seed: int,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """HU (rows, columns) float32 of a slice, and its masks as small integers."""
    canvas = Canvas(plane)
    x, y, z = plane.x[None, :], plane.y[:, None], plane.z
    fine = plane.noise(seed, 10, (1.2, 0.9, 0.9))
    grain = plane.noise(seed, 11, (3.0, 2.4, 2.4))
    coarse = plane.noise(seed, 12, (12.0, 9.0, 9.0))
    outline = anatomy.body(p, x, y, z) + 1.5 * plane.noise(seed, 13, (40.0, 35.0, 35.0))
    inner = anatomy.cage(p, x, y, z) + 1.0 * plane.noise(seed, 14, (30.0, 25.0, 25.0))
    middle = (float(anatomy.CAGE_FRONT(z)) + float(anatomy.CAGE_BACK(z))) / 2 * p.depth
    angle = np.arctan2(np.abs(x), y - middle)

    _paint_table(canvas, x, y)
    body = canvas.fill(outline, SKIN + 8 * fine)
    muscle = _paint_wall(canvas, plane, p, outline, inner, angle, fine, grain, coarse, seed)
    fat = FAT + 6 * fine + 8 * grain + 6 * coarse
    chest = canvas.fill(inner, fat)

    parts = {**anatomy.heart(p, x, y, z), **anatomy.great_vessels(x, y, z)}
    below = anatomy.abdomen(p, x, y, z)
    airway = anatomy.airways(x, y, z)
    between = anatomy.mediastinum(x, y, z, parts, airway) + 0.8 * coarse
    liver = _paint_abdomen(canvas, x, y, z, below, inner, fine, grain, coarse)
    lung_distance = anatomy.lungs(p, x, y, z, between, below, inner)
    lung, vessel, labels = _paint_lungs(
        canvas, plane, lung_distance, arteries, veins, bronchi, balls, fine, grain, coarse
    )
    _paint_organs(canvas, x, y, z, parts, airway, fine, grain, chest)
    bone = _paint_bones(canvas, plane, p, inner, angle, fine, grain, coarse)

    lung_only = (lung > 0.5) & (bone < 0.5)
    side = np.where(x < 0, 1, 2).astype(np.uint8)
    return canvas.hu, {
        "body": (body > 0.5).astype(np.uint8),
        "lungs": lung_only * side,
        "heart": (cover(parts["heart"], plane.edge_mm) * chest > 0.5).astype(np.uint8),
        "bone": (bone > 0.5).astype(np.uint8),
        "muscle": ((muscle > 0.5) & (bone < 0.05) & (inner > 0)).astype(np.uint8),
        "liver": (liver > 0.5).astype(np.uint8),
        "vessels": (vessel > 0.5).astype(np.uint8),
        "nodules": labels,
    }


def _paint_table(canvas: Canvas, x: np.ndarray, y: np.ndarray) -> None:
    """A thin curved shell of carbon fibre on foam under the patient."""
    top = 133.0 - x**2 / 1500.0
    canvas.fill(np.maximum(np.maximum(top - y, y - top - 24.0), np.abs(x) - 212.0), -955.0)
    canvas.fill(np.maximum(np.abs(y - top) - 1.1, np.abs(x) - 212.0), 60.0)


def _paint_wall(
    canvas: Canvas,
    plane: Plane,
    p: anatomy.Patient,
    outline: np.ndarray,
    inner: np.ndarray,
    angle: np.ndarray,
    fine: np.ndarray,
    grain: np.ndarray,
    coarse: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Subcutaneous fat with strands, then muscle in layers with fat between; returns the muscle's cover."""
    z = plane.z
    fat = FAT + 6 * fine + 8 * grain + 5 * coarse
    strands = plane.noise(seed, 20, (14.0, 5.0, 5.0))
    fat = fat + 55.0 * np.exp(-((strands / 0.07) ** 2)) * smooth_step(0.2, 1.2, coarse + 0.8)
    canvas.fill(outline + 1.9, fat)
    uneven = plane.noise(seed, 21, (45.0, 40.0, 40.0))
    chest_fat = 0.8 * smooth_step(0.55, 0.15, np.abs(angle - 2.35)) * float(smooth_step(60.0, -20.0, z))
    side_fat = 0.5 * smooth_step(0.7, 0.1, np.abs(angle - 1.6)) * float(smooth_step(20.0, 70.0, z))
    thick = p.fat_mm * (0.85 + chest_fat + side_fat + 0.12 * uneven)
    # Fibres run along the wall: streaks long in x at the front and back, long in y at the sides.
    across = plane.noise(seed, 22, (18.0, 2.2, 13.0))
    upright = plane.noise(seed, 23, (18.0, 13.0, 2.2))
    sideways = smooth_step(0.35, 0.8, np.sin(angle) ** 2)
    streaks = across * (1 - sideways) + upright * sideways
    depth = inner + 2.0 * uneven + 1.2 * coarse
    sheets = np.zeros_like(depth)
    for place, width, strength in ((12.5, 1.3, 0.95), (22.0, 1.4, 0.8), (31.0, 1.2, 0.6)):
        open_at = smooth_step(-0.6, 0.7, uneven * np.float32(np.cos(place)) + 0.5 * coarse)
        sheets = np.maximum(sheets, strength * np.exp(-(((depth - place) / width) ** 2)) * (0.35 + 0.65 * open_at))
    mixed = np.maximum(sheets, 0.75 * smooth_step(0.9, 2.1, streaks))
    flesh = MUSCLE + 9 * fine + 7 * grain + 4 * coarse
    part = canvas.fill(outline + 1.9 + thick, flesh + mixed * (fat - flesh))
    return part * (mixed < 0.5)


def _paint_abdomen(
    canvas: Canvas,
    x: np.ndarray,
    y: np.ndarray,
    z: float,
    below: np.ndarray,
    inner: np.ndarray,
    fine: np.ndarray,
    grain: np.ndarray,
    coarse: np.ndarray,
) -> np.ndarray:
    """Diaphragm, liver, stomach with its air-fluid level, and spleen; returns the liver's cover."""
    inside = np.maximum(below, inner + 0.5)
    if float(below.min()) > canvas.edge_mm:
        return np.zeros_like(inner)
    canvas.fill(inside, MUSCLE + 8 * fine)
    canvas.fill(inside + 3.0, FAT + 6 * fine + 8 * grain)
    spleen = np.maximum(ellipsoid(x, y, z, (92, 40, -108), (32, 44, 36)), inside + 3.0)
    canvas.fill(spleen, SPLEEN + 10 * fine + 6 * grain)
    stomach = np.maximum(ellipsoid(x, y, z, (58, -14, -108), (42, 44, 44)), inside + 3.0)
    canvas.fill(stomach, 60.0 + 9 * fine)
    hollow = stomach + 4.5
    canvas.fill(hollow, 22.0 + 9 * fine + 10 * grain + 10 * coarse)
    canvas.fill(np.maximum(hollow, y + 34.0), AIR + 6 * fine)
    edge = x - 4.0 + 0.55 * y + 4.0 * coarse
    liver = np.maximum(np.maximum(edge, inside + 2.6), -superellipse(x, y - anatomy.spine_middle(z), 30.0, 26.0, 2.0))
    part = canvas.fill(liver, LIVER + 10 * fine + 7 * grain + 4 * coarse)
    for chain in _HEPATIC_VEINS:
        canvas.paint(cover(tube(x, y, z, *chain), canvas.edge_mm) * part, 128.0 + 10 * fine)
    return part


_HEPATIC_VEINS = (
    (((-20, 2, -72), (-48, -12, -84), (-85, -20, -100)), (5, 4, 2)),
    (((-20, 2, -72), (-24, -36, -84), (-30, -66, -96)), (4.5, 3.5, 2)),
    (((-20, 2, -74), (-60, 20, -92), (-95, 36, -112)), (4.5, 3.5, 1.8)),
    (((-20, 2, -72), (6, -32, -82), (22, -52, -92)), (4, 3, 1.6)),
)


def _paint_lungs(
    canvas: Canvas,
    plane: Plane,
    distance: np.ndarray,
    arteries: tree.Tubes,
    veins: tree.Tubes,
    bronchi: tree.Tubes,
    balls: Sequence[Ball],
    fine: np.ndarray,
    grain: np.ndarray,
    coarse: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parenchyma, fissures, bronchi, vessels and nodules; returns the lungs' and vessels' covers and nodule labels."""
    x, y, z = plane.x[None, :], plane.y[:, None], plane.z
    edge = plane.edge_mm
    lung = cover(distance, edge)
    # Blood sinks to the back of a patient who lies on it.
    air = -858.0 + 24.0 * smooth_step(-60.0, 90.0, y) + 16 * fine + 13 * grain + 9 * coarse
    fissure = np.minimum(
        np.abs((y - 4.0 + 0.75 * z + 5.0 * coarse) / 1.25),
        np.where((x < 0) & (y < 4.0 - 0.75 * z), np.abs(z - 2.0 + 0.06 * y + 4.0 * coarse), 1e3),
    )
    air = air + 110.0 * np.clip(0.9 - fissure, 0.0, 0.5 / max(edge, 0.5))
    canvas.paint(lung, air)
    walls = tree.draw(bronchi, z, plane.y, plane.x, edge, inflate_mm=0.9) * lung
    canvas.paint(walls, -20.0)
    canvas.paint(tree.draw(bronchi, z, plane.y, plane.x, edge) * lung, AIR + 30.0)
    vessel = np.maximum(
        tree.draw(arteries, z, plane.y, plane.x, edge), tree.draw(veins, z, plane.y, plane.x, edge)
    ) * cover(distance - 1.0, edge)
    canvas.paint(vessel, 75.0 + 10 * fine)
    labels = np.zeros(canvas.hu.shape, np.uint8)
    for n, (cx, cy, cz, radius, hu, hazy) in enumerate(balls):
        part = cover(ellipsoid(x, y, z, (cx, cy, cz), (radius, radius, radius)), max(edge, 2.0 if hazy else 0.0))
        haze = np.maximum(canvas.hu, hu + 14 * fine + 20 * grain) if hazy else hu + 10 * fine
        canvas.paint(part, haze)
        labels[part > 0.5] = n + 1
    return lung, vessel, labels


def _paint_organs(
    canvas: Canvas,
    x: np.ndarray,
    y: np.ndarray,
    z: float,
    parts: dict[str, np.ndarray],
    airway: np.ndarray,
    fine: np.ndarray,
    grain: np.ndarray,
    chest: np.ndarray,
) -> None:
    """Oesophagus, heart with its chambers, great vessels, trachea and main bronchi."""
    flesh = 8 * fine + 5 * grain
    gullet = tube(x, y, z, *anatomy.OESOPHAGUS)
    canvas.fill(gullet, 48.0 + flesh)
    canvas.fill(gullet + 5.2, -180.0)
    canvas.paint(cover(parts["heart"] - 1.6, canvas.edge_mm) * chest, FAT + 20 + flesh)
    canvas.paint(cover(parts["heart"], canvas.edge_mm) * chest, MYOCARDIUM + flesh)
    for name, value in (
        ("left", BLOOD_LEFT),
        ("right", BLOOD_RIGHT),
        ("atrium_right", BLOOD_RIGHT),
        ("atrium_left", BLOOD_LEFT),
    ):
        canvas.paint(cover(parts[name], canvas.edge_mm) * chest, value + flesh)
    canvas.fill(parts["veins"], BLOOD_RIGHT + flesh)
    canvas.fill(parts["lung_veins"], BLOOD_LEFT + flesh)
    canvas.fill(parts["pulmonary"], BLOOD_RIGHT + 8 + flesh)
    canvas.fill(parts["aorta"], 45.0 + flesh)
    canvas.fill(parts["aorta"] + 1.3, BLOOD_LEFT + flesh)
    canvas.fill(airway - 1.6, 35.0 + flesh)
    canvas.fill(airway, AIR + 5.0 + 5 * fine)


def _paint_bones(
    canvas: Canvas,
    plane: Plane,
    p: anatomy.Patient,
    inner: np.ndarray,
    angle: np.ndarray,
    fine: np.ndarray,
    grain: np.ndarray,
    coarse: np.ndarray,
) -> np.ndarray:
    """Spine, ribs with cartilages, sternum, shoulder blades and collar bones; returns the bones' cover."""
    x, y, z = plane.x[None, :], plane.y[:, None], plane.z
    spongy = 24 * fine + 34 * grain + 18 * coarse
    back = anatomy.vertebrae(p, x, y, z)
    canvas.fill(back["disc"], DISC + 8 * fine + 6 * grain)
    rib, cartilage = anatomy.ribs(p, inner, angle, z)
    canvas.fill(cartilage, CARTILAGE + 12 * fine + 14 * grain)
    whole = np.zeros_like(inner)
    for distance, cortex_mm, inside in (
        (back["arch"], 1.7, MARROW + 130.0),
        (back["body"], 0.9, TRABECULAR),
        (rib, 1.2, MARROW),
        (anatomy.sternum(p, x, y, z), 1.1, TRABECULAR - 40.0),
        (anatomy.shoulder_blades(inner, angle, z), 1.2, MARROW),
        (tube(np.abs(x), y, z, *anatomy.CLAVICLE), 1.6, MARROW),
    ):
        whole = np.maximum(whole, canvas.fill(distance, CORTEX + 60 * grain))
        canvas.fill(distance + cortex_mm, inside + spongy)
    canvas.fill(back["canal"], -60.0 + 8 * fine)
    canvas.fill(back["canal"] + 2.0, 18.0 + 8 * fine)
    cord = superellipse(x, y - float(anatomy.spine_middle(z)) - 21.5, 5.5, 4.2, 2.0)
    canvas.fill(cord, 42.0 + 8 * fine)
    return whole * (back["canal"] > 0)
