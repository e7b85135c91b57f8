"""Small k-spaces for tests: discs seen by a few smooth coils."""

from __future__ import annotations

import numpy as np


def disc_image(rows: int = 24, columns: int = 32) -> np.ndarray:
    """A complex image (rows, columns) without symmetry: an ellipse, a brighter spot off its middle, a smooth phase."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    magnitude = 1.0 * ((x / 0.7) ** 2 + (y / 0.8) ** 2 < 1) + 0.6 * ((x - 0.2) ** 2 + (y + 0.3) ** 2 < 0.04)
    return magnitude * np.exp(1j * (0.4 * x + 0.3 * y**2))


def smooth_maps(coils: int, rows: int = 24, columns: int = 32) -> np.ndarray:
    """Coil sensitivities (coils, rows, columns): a wide spot each, around the object, with a phase of its own."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    turns = 2 * np.pi * np.arange(coils)[:, None, None] / coils
    return np.exp(-((x - np.cos(turns)) ** 2) / 2 - (y - np.sin(turns)) ** 2 / 2 + 1j * turns)


def centred_fft(x: np.ndarray) -> np.ndarray:
    """Orthonormal 2D Fourier transform of the last two axes, origins at index size // 2."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x, axes), norm="ortho"), axes)


def samples(
    slices: int = 1, coils: int = 3, rows: int = 24, columns: int = 32, noise: float = 0.01, seed: int = 0
) -> np.ndarray:
    """Fully sampled k-space (slices, coils, rows, columns), complex64, noise of std ``noise`` a real number."""
    image, maps = disc_image(rows, columns), smooth_maps(coils, rows, columns)
    stack = np.stack([maps * image * (1 + 0.2 * n) for n in range(slices)])
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((2, slices, coils, rows, columns))
    return (centred_fft(stack) + noise * (drawn[0] + 1j * drawn[1])).astype(np.complex64)


def line_mask(rows: int, columns: int, step: int = 2, centre: int = 6) -> np.ndarray:
    """True in every ``step``-th line and the ``centre`` lines in the middle: (rows, columns)."""
    lines = np.zeros(rows, bool)
    lines[::step] = True
    lines[rows // 2 - centre // 2 : rows // 2 + (centre + 1) // 2] = True
    return np.repeat(lines[:, None], columns, 1)
