"""Small emission scans for tests."""

from __future__ import annotations

import math

import torch
from diffusion_engine.likelihoods.poisson import PoissonEmission
from diffusion_engine.physics.ct import ImageGrid, view_angles
from diffusion_engine.physics.pet import EmissionProjector, emission_geometry, emission_lines
from torch import Tensor

ROWS, COLUMNS, ANGLES, BINS = 12, 10, 12, 18
GRID = ImageGrid(ROWS, COLUMNS, (4.0, 4.0))


def operator(slices: int = 2, dead: bool = True) -> EmissionProjector:
    """Different factors in each slice, one dead bin and one dead view among them."""
    lines = emission_lines(emission_geometry(view_angles(ANGLES, math.pi), BINS, 4.0), GRID, dtype=torch.float64)
    factors = 0.02 + 0.04 * torch.rand(slices, ANGLES, BINS, generator=seeded(1), dtype=torch.float64)
    if dead:
        factors[:, 3, 8] = 0.0
        factors[:, 7] = 0.0
    return EmissionProjector(lines, factors, GRID.pixel_mm, 6.0)


def activity(slices: int = 2) -> Tensor:
    """Warm images with a hot and a cold block, 0 at the border."""
    x = torch.zeros(slices, ROWS, COLUMNS, dtype=torch.float64)
    x[:, 2:10, 2:8] = 20.0
    x[:, 3:5, 3:5] = 90.0
    x[:, 6:8, 5:7] = 2.0
    return x


def scan(slices: int = 2, background: float = 3.0, noise: bool = True, dead: bool = True) -> PoissonEmission:
    own = operator(slices, dead)
    mean = own.forward(activity(slices)) + background
    counts = torch.poisson(mean, generator=seeded(2)) if noise else mean
    return PoissonEmission(own, counts, torch.full_like(counts, background))


def dense(own: EmissionProjector) -> Tensor:
    """The matrices of each slice (slices, angles * bins, rows * columns), made of points."""
    points = torch.eye(ROWS * COLUMNS, dtype=torch.float64).reshape(-1, 1, ROWS, COLUMNS)
    seen = own.forward(points.expand(-1, len(own.factors), -1, -1))
    return seen.flatten(2).permute(1, 2, 0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
