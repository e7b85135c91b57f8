"""A page of pictures: what became of lesions, one a row: truth, classical image, mean, spread, maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.lesion_rows import CROP_MM
from PIL import Image, ImageDraw, ImageFont

TILE, LEFT, TOP = 200, 190, 24
HALF_WINDOW, SPREAD = 150.0, 60.0
"""Images: this much to either side of the lesion's surroundings; spread: from 0 to this, in the unit of the images."""


def chosen(rows: Sequence[dict[str, Any]], count: int = 6) -> list[dict[str, Any]]:
    """The lesions that the data show most clearly among those that are lost, then those that are kept least."""
    lost = sorted((row for row in rows if row["contrast_kept"] <= 0.5), key=lambda row: -row["signal"])
    others = sorted((row for row in rows if row["contrast_kept"] > 0.5), key=lambda row: row["contrast_kept"])
    return (lost + others)[:count]


def page(
    rows: Sequence[dict[str, Any]], crops: Sequence[np.ndarray], classical: str, maps: Sequence[str], unit: str,
    place: Path,
) -> None:
    """Write the page as PNG; ``crops``: (images, rows, columns) of each row, as :mod:`.lesion_rows` makes them."""
    names = ["truth", classical, "mean", f"spread, 0 to {SPREAD:g} {unit}", *maps]
    size = (LEFT + TILE * len(names), TOP + TILE * len(rows))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for n, name in enumerate(names):
        draw.text((LEFT + n * TILE + 6, 5), name, "black", font)
    for k, (row, crop) in enumerate(zip(rows, crops, strict=True)):
        lines = (
            f"{row['tissue']}, {row['diameter_mm']:g} mm, {row['contrast']:+g} {unit}",
            f"{row['preset']}, {row['views']} views", row["noise"],
            f"signal {row['signal']:.1f} sd", f"kept: mean {row['contrast_kept']:.2f},",
            f"{classical} {row[f'contrast_kept_{classical}']:.2f}", f"coverage inside {row['coverage_inside']:.2f}",
            *(f"warned, {name}: {'yes' if row[f'warned_{name}'] else 'no'}" for name in maps), f"{CROP_MM:g} mm wide",
        )
        draw.text((6, TOP + k * TILE + 6), "\n".join(lines), "black", font)
        level = float(np.nanmedian(crop[0]))
        for n, image in enumerate(crop):
            tile = coloured(image) if n > 3 else grey(image, *((0, SPREAD) if n == 3 else window(level)))
            picture = Image.fromarray(tile).resize((TILE - 4, TILE - 4), Image.Resampling.NEAREST)
            sheet.paste(picture, (LEFT + n * TILE, TOP + k * TILE))
    sheet.save(place)


def window(level: float) -> tuple[float, float]:
    """Black and white around a level."""
    return level - HALF_WINDOW, level + HALF_WINDOW


def grey(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """(rows, columns, 3) bytes; what is beyond the image is light blue."""
    level = np.clip((image - low) / (high - low) * 255, 0, 255)
    return _with_beyond(np.stack([level] * 3, -1), image)


def coloured(image: np.ndarray) -> np.ndarray:
    """A map over its threshold: red above, blue below, as strong as it is beyond half of the threshold; 1 is marked."""
    strength = np.clip((np.abs(image) - 0.5) / 1.5, 0, 1) * 255
    zero = np.zeros_like(strength)
    shown = np.where((image > 0)[..., None], np.stack([strength, zero, zero], -1), np.stack([zero, zero, strength], -1))
    return _with_beyond(np.where((np.abs(image) > 1)[..., None], shown + np.array((0, 90, 0)), shown), image)


def _with_beyond(colours: np.ndarray, image: np.ndarray) -> np.ndarray:
    beyond = np.isnan(image)[..., None]
    return np.where(beyond, (200, 220, 240), np.clip(np.where(beyond, 0, colours), 0, 255)).astype(np.uint8)
