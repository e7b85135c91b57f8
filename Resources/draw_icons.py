"""Draws the extension's and the module's icon (128 x 128 PNG): a disc that comes out of noise, sparse rays across it.

Run from anywhere: `python Resources/draw_icons.py`; writes Resources/DiffusionPriors.png and the module's icon.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

SIZE, SUPERSAMPLING = 128, 4
ROOT = Path(__file__).resolve().parents[1]
TARGETS = {
    ROOT / "Resources" / "DiffusionPriors.png": 3,
    ROOT / "DiffusionRecon" / "Resources" / "Icons" / "DiffusionRecon.png": 5,
}
NIGHT, WARM, WHITE = np.array([24, 20, 52.0]), np.array([245, 160, 60.0]), np.array([250, 248, 240.0])


def icon(rays: int) -> np.ndarray:
    """(SIZE, SIZE, 4) uint8: a round badge; its left half is noise, its right half the clean section of a chest."""
    count = SIZE * SUPERSAMPLING
    y, x = np.mgrid[-1 : 1 : count * 1j, -1 : 1 : count * 1j]
    section = np.full((count, count), 0.08)
    section[(x / 0.80) ** 2 + (y / 0.60) ** 2 < 1] = 0.75
    for side in (-0.36, 0.36):
        section[((x - side) / 0.26) ** 2 + ((y + 0.02) / 0.38) ** 2 < 1] = 0.22
    section[x**2 + (y - 0.36) ** 2 < 0.11**2] = 1.0
    section[(x - 0.40) ** 2 + (y + 0.08) ** 2 < 0.075**2] = 0.95
    grain = np.random.default_rng(1).random((32, 32)).repeat(count // 32, 0).repeat(count // 32, 1)
    noisy = np.clip(0.5 - 1.1 * x, 0, 1)  # all noise at the left edge, none from the middle of the right half on
    value = (1 - noisy) * section + noisy * (0.35 * section + 0.65 * grain)
    colour = NIGHT + value[..., None] * (WHITE - NIGHT)
    for angle in np.linspace(0, np.pi, rays, endpoint=False) + 0.35:
        near = np.abs(x * np.sin(angle) - y * np.cos(angle)) < 0.012
        colour[near] = 0.35 * colour[near] + 0.65 * WARM
    radius = np.hypot(x, y)
    colour[radius > 0.93] = WARM
    rgba = np.dstack([colour, 255.0 * (radius < 0.99)])
    return rgba.reshape(SIZE, SUPERSAMPLING, SIZE, SUPERSAMPLING, 4).mean((1, 3)).round().astype(np.uint8)


def main() -> None:
    """Write both icons."""
    for path, rays in TARGETS.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(icon(rays), isVector=True), str(path))


if __name__ == "__main__":
    main()
