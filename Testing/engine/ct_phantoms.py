"""Objects whose line integrals are known exactly."""

from __future__ import annotations

import numpy as np
import torch
from diffusion_engine.physics.ct import CTGeometry
from diffusion_engine.physics.ct_geometry import ray_lines


def disc_sinogram(geometry: CTGeometry, x_mm: float, y_mm: float, radius_mm: float, value: float) -> torch.Tensor:
    """Exact line integrals of a disc: value times the chord 2 sqrt(r^2 - distance^2)."""
    point, direction = ray_lines(geometry)
    to_point = point - np.array((x_mm, y_mm))
    distance = to_point[..., 0] * direction[..., 1] - to_point[..., 1] * direction[..., 0]
    return torch.from_numpy(2 * value * np.sqrt(np.clip(radius_mm**2 - distance**2, 0, None)))
