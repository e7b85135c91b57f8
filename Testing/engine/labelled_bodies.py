"""A small trunk with known tissues, as a CT and as a label map."""

from __future__ import annotations

import numpy as np
from diffusion_engine.synthesis.classes import AIR, BONE, FAT, LUNG, MUSCLE, SOFT, VESSEL
from diffusion_engine.volume import Volume

PIXEL_MM, SLICE_MM = 2.5, 4.0
SHAPE = (4, 112, 144)
MATRIX = np.array([[-PIXEL_MM, 0, 0, 180.0], [0, -PIXEL_MM, 0, 140.0], [0, 0, SLICE_MM, -50.0], [0, 0, 0, 1.0]])
HU = {AIR: -1000.0, LUNG: -850.0, FAT: -100.0, SOFT: 40.0, MUSCLE: 55.0, VESSEL: 300.0, BONE: 700.0}


def trunk() -> np.ndarray:
    """The true classes: fat under the skin, muscle of the wall, lungs, a vessel, the spine, gas in a stomach."""
    rows, columns = (np.arange(n) * PIXEL_MM for n in SHAPE[1:])
    y, x = rows[:, None] - 140.0, columns[None] - 180.0

    def oval(row: float, column: float, tall: float, wide: float) -> np.ndarray:
        return ((y - row) / tall) ** 2 + ((x - column) / wide) ** 2 <= 1

    plane = np.full(SHAPE[1:], AIR, np.uint8)
    for inside, label in (
        (oval(0, 0, 110, 160), FAT), (oval(0, 0, 90, 140), MUSCLE), (oval(0, 0, 76, 126), SOFT),
        (oval(-5, -70, 55, 42), LUNG), (oval(-5, 70, 55, 42), LUNG), (oval(0, 0, 16, 16), VESSEL),
        (oval(58, 0, 15, 15), BONE), (oval(-45, 0, 11, 11), AIR),
    ):
        plane[inside] = label
    return np.repeat(plane[None], SHAPE[0], 0)


def ct(noise: float = 10.0) -> Volume:
    """The trunk in HU with noise, on the thin plate of a table that it touches."""
    labels = trunk()
    image = np.vectorize(HU.get)(labels).astype(np.float32)
    spongy = labels == BONE
    image[spongy] = np.where(np.indices(SHAPE)[2][spongy] % 4 < 2, 700.0, 350.0)
    image[:, 101, 20:124] = 0.0
    image += np.random.default_rng(0).normal(0, noise, SHAPE).astype(np.float32)
    return Volume(image, MATRIX, "HU")


def label_volume() -> Volume:
    return Volume(trunk(), MATRIX, "label")
