"""A small object with phase before a ring of coils, for tests of MRI physics."""

from __future__ import annotations

import math

import torch
from diffusion_engine.physics.masked_fourier import centred_fft
from torch import Tensor


def ring_maps(coils: int, rows: int, columns: int, radius: float = 1.5) -> Tensor:
    """Sensitivities 1 / distance with the phase of a loop's field, sum |S|^2 = 1: (1, coils, rows, columns)."""
    y, x = _coordinates(rows, columns)
    maps = []
    for angle in torch.arange(coils, dtype=torch.float64) * (2 * math.pi / coils):
        away_x, away_y = x - radius * torch.cos(angle), y - radius * torch.sin(angle)
        maps.append(torch.polar(1 / torch.hypot(away_x, away_y), torch.atan2(away_y, away_x)))
    stacked = torch.stack(maps)
    return (stacked / stacked.abs().square().sum(0).sqrt())[None]


def head(rows: int, columns: int) -> Tensor:
    """An ellipse of 1 with four details, 0 outside, under a smooth phase: (1, rows, columns), complex128."""
    y, x = _coordinates(rows, columns)
    image = torch.zeros(rows, columns, dtype=torch.float64)
    for top, left, height, width, value in (
        (0.0, 0.0, 0.75, 0.65, 1.0), (-0.2, 0.1, 0.2, 0.15, 0.5), (0.3, -0.2, 0.12, 0.3, -0.4),
        (0.1, 0.35, 0.1, 0.1, 0.3), (0.45, 0.2, 0.05, 0.07, -0.6),
    ):
        image[((y - top) / height) ** 2 + ((x - left) / width) ** 2 < 1] += value
    return torch.polar(image, 0.4 + 0.8 * y - 0.6 * x + 0.7 * y * y + 0.5 * x * y)[None]


def scanned(image: Tensor, maps: Tensor, noise: float, seed: int = 0) -> Tensor:
    """Whole k-space of all coils, complex noise of E|n|^2 = noise^2: (slices, coils, rows, columns)."""
    kspace = centred_fft(image[:, None] * maps)
    generator = torch.Generator().manual_seed(seed)
    return kspace + noise * torch.randn(kspace.shape, generator=generator, dtype=kspace.dtype)


def _coordinates(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    y = (torch.arange(rows, dtype=torch.float64) - rows // 2) / (rows / 2)
    x = (torch.arange(columns, dtype=torch.float64) - columns // 2) / (columns / 2)
    return torch.meshgrid(y, x, indexing="ij")
