"""A schematic head as MR sees it: scalp, skull, fluid, grey and white matter, ventricles, deep nuclei, a lesion.

Values are those of a T1-weighted image in arbitrary units (fat brightest, then white matter, grey matter, fluid, bone).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..volume import Volume
from .shapes import smooth_step

SCALP, SKULL, FLUID, GREY, WHITE, NUCLEI, LESION, MUSCLE = 900.0, 60.0, 150.0, 480.0, 700.0, 560.0, 330.0, 420.0
"""Arbitrary units; bone and air are nearly black."""
HALF_WIDTH_MM, HALF_LENGTH_MM, HALF_HEIGHT_MM = 76.0, 94.0, 82.0
"""Of the head at its widest, to the skin."""
LAYERS_MM = (0.0, 4.5, 11.0, 14.0, 17.5)
"""Depths below the skin where scalp, skull, fluid and cortex begin, and white matter."""
FOLD_MM = 9.0
"""Depth that the folds of the cortex reach."""
LESION_MM = 7.0
"""Radius of the lesion in the left hemisphere."""


def synthetic_brain(
    shape: tuple[int, int, int] = (8, 256, 256), spacing_mm: tuple[float, float, float] = (5.0, 0.9, 0.9),
    seed: int = 0,
) -> tuple[Volume, dict[str, np.ndarray]]:
    """A head in arbitrary units on a grid of ``shape`` (slices, rows, columns) and ``spacing_mm`` (slice, row, column).

    The anatomy is defined in mm around the grid's centre, in the middle of the ventricles: it is the same on every
    grid. Folds of the cortex, the texture of tissue and a shading of 15 % differ between seeds. Returns the volume
    (float32, standard axial) and masks of its shape, 0 and 1: "head", "brain", "white", "fluid", "lesion". Raises
    ValueError for a shape or spacing that is not positive.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"expected a positive shape (slices, rows, columns), found {shape}: correct it")
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(f"expected positive spacings (slice, row, column) in mm, found {spacing_mm}: correct them")
    z, y, x = ((np.arange(n, dtype=np.float32) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True))
    array = np.empty(shape, np.float32)
    masks = {name: np.zeros(shape, np.uint8) for name in ("head", "brain", "white", "fluid", "lesion")}
    waves = _waves(seed)
    edge = 0.5 * max(spacing_mm[1:])
    for k, height in enumerate(z):
        array[k], parts = _slice(y[:, None], x[None, :], float(height), edge, waves)
        for name, part in parts.items():
            masks[name][k] = part
        rng = np.random.default_rng((seed, 3, k))
        texture = ndimage.gaussian_filter(rng.standard_normal(shape[1:]).astype(np.float32), 0.6 / edge)
        array[k] *= 1 + 0.02 * texture / max(float(texture.std()), 1e-6)
        array[k] *= 1 + 0.15 * (0.6 * y[:, None] / HALF_LENGTH_MM - 0.4 * x[None, :] / HALF_WIDTH_MM)
    matrix = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])
    matrix[:3, 3] = (-x[0], -y[0], z[0])
    return Volume(np.maximum(array, 0.0), matrix, "a.u."), masks


def _waves(seed: int) -> np.ndarray:
    """Directions (1/mm) and phases of the waves whose sum folds the cortex: (waves, 4)."""
    rng = np.random.default_rng((seed, 2))
    direction = rng.standard_normal((14, 3))
    direction *= (2 * np.pi / rng.uniform(13, 26, 14) / np.linalg.norm(direction, axis=1))[:, None]
    return np.concatenate([direction, rng.uniform(0, 2 * np.pi, (14, 1))], 1)


def _ellipse(y: np.ndarray, x: np.ndarray, half_y: float, half_x: float) -> np.ndarray:
    """About the distance to an ellipse around the origin, mm, negative inside."""
    radius = np.sqrt((y / half_y) ** 2 + (x / half_x) ** 2)
    return (radius - 1) * min(half_y, half_x)


def _slice(
    y: np.ndarray, x: np.ndarray, z: float, edge: float, waves: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One axial slice, and which pixels belong to a part; ``edge``: half the width of a soft edge, mm."""
    lower = np.sqrt(max(1 - (z / HALF_HEIGHT_MM) ** 2, 0.05))
    # Narrower towards the forehead.
    wide = HALF_WIDTH_MM * lower * (1 + 0.12 * np.tanh(y / 60.0))
    skin = _ellipse(y, x * (HALF_WIDTH_MM * lower) / wide, HALF_LENGTH_MM * lower, HALF_WIDTH_MM * lower)
    depth = -skin
    folds = sum(
        np.cos(wave[0] * x + wave[1] * y + wave[2] * z + wave[3]) for wave in waves
    ) / np.sqrt(len(waves) / 2)
    sulcus = np.clip(folds - 0.55, 0, None) * FOLD_MM
    fissure = 2.2 - np.abs(x) - 0.12 * np.clip(depth - 60, 0, None)
    tissue = depth - LAYERS_MM[3] - sulcus
    inside = [depth, depth - LAYERS_MM[1], depth - LAYERS_MM[2], np.minimum(tissue, -fissure)]
    white = np.minimum(depth - LAYERS_MM[4] - 1.25 * sulcus - 1.2 - 1.2 * np.sin(folds), -fissure - 2.0)
    ventricles = np.maximum(_ellipse(y - 2.0, np.abs(x) - 9.0 - 0.12 * np.abs(y), 30.0, 5.5), abs(z) - 18.0)
    nuclei = _ellipse(y - 4.0, np.abs(x) - 25.0, 17.0, 8.0) + 0.35 * abs(z)
    lesion = np.sqrt((y - 26.0) ** 2 + (x - 36.0) ** 2 + (z - 3.0) ** 2) - LESION_MM
    image = np.zeros(np.broadcast(y, x).shape, np.float32)

    def paint(distance: np.ndarray, value: float) -> np.ndarray:
        nonlocal image
        share = smooth_step(-edge, edge, distance)
        image = image * (1 - share) + value * share
        return share > 0.5

    head = paint(inside[0], SCALP)
    paint(inside[1], SKULL)
    fluid = paint(inside[2], FLUID)
    grey = paint(inside[3], GREY)
    matter = paint(white, WHITE)
    deep = paint(-nuclei, NUCLEI) & grey
    hollow = paint(-ventricles, FLUID)
    spot = paint(-lesion, LESION)
    return image, {
        "head": head, "brain": grey & ~hollow, "white": matter & ~deep & ~hollow & ~spot,
        "fluid": (fluid & ~grey) | hollow, "lesion": spot,
    }
