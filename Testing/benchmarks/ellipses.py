"""Random ellipses as training slices: a prior of these has seen edges and plateaus, and no anatomy at all."""

from __future__ import annotations

import numpy as np
from diffusion_engine.training.data import TrainingSlices

SIZE, PIXEL_MM = 256, 1.5
BODY_MM = 180.0
"""Half width of the disc that the ellipses lie in."""


def random_ellipses(generator: np.random.Generator, size: int = SIZE, pixel_mm: float = PIXEL_MM) -> np.ndarray:
    """One slice (size, size) in network units: air of -1, and the sum of 15 to 60 ellipses, clipped to -1..1.5."""
    axis = (np.arange(size) - (size - 1) / 2) * pixel_mm
    y, x = np.meshgrid(axis, axis, indexing="ij")
    image = np.full((size, size), -1.0)
    for n in range(int(generator.integers(15, 61))):
        radius = BODY_MM * 0.7 * np.sqrt(generator.random()) * (n > 0)
        turn, place = generator.uniform(0, np.pi), generator.uniform(0, 2 * np.pi)
        first, second = generator.uniform(90, 170, 2) if n == 0 else np.exp(generator.uniform(0.7, 4.2, 2))
        value = generator.uniform(0.7, 1.1) if n == 0 else generator.uniform(-0.5, 0.5)
        across, along = x - radius * np.cos(place), y - radius * np.sin(place)
        u = across * np.cos(turn) + along * np.sin(turn)
        v = along * np.cos(turn) - across * np.sin(turn)
        # The edge of an ellipse lies between pixels: a ramp of one pixel, as averaging over a pixel gives.
        distance = (1 - np.sqrt((u / first) ** 2 + (v / second) ** 2)) * min(first, second)
        image += value * np.clip(distance / pixel_mm + 0.5, 0, 1)
    return np.clip(image, -1.0, 1.5)


def ellipse_slices(count: int, seed: int = 0) -> TrainingSlices:
    """``count`` slices of a seed."""
    generator = np.random.default_rng(seed)
    values = np.stack([random_ellipses(generator) for _ in range(count)]).astype(np.float16)
    return TrainingSlices("random ellipses", values, np.full(count, PIXEL_MM))
