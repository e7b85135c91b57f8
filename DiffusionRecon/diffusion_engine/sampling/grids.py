"""Noise levels of a run, from the first to zero."""

from __future__ import annotations

import torch
from torch import Tensor


def poly_grid(sigma_max: float, sigma_min: float, steps: int, rho: float = 7.0) -> Tensor:
    """sigma_i = (max^(1/rho) + i / (steps - 1) (min^(1/rho) - max^(1/rho)))^rho, then 0: (steps + 1,) float64.

    Source: arXiv:2206.00364, eq. 5. Raises ValueError unless sigma_max > sigma_min > 0 and steps >= 2.
    """
    _check(sigma_max, sigma_min, steps)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    levels = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])


def geometric_grid(sigma_max: float, sigma_min: float, steps: int) -> Tensor:
    """sigma_i = max (min / max)^(i / (steps - 1)), then 0: (steps + 1,) float64.

    The levels of variance-exploding diffusion. Source: arXiv:1907.05600; arXiv:2011.13456, appendix C.
    Raises ValueError as :func:`poly_grid`.
    """
    _check(sigma_max, sigma_min, steps)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    return torch.cat([sigma_max * (sigma_min / sigma_max) ** ramp, torch.zeros(1, dtype=torch.float64)])


def _check(sigma_max: float, sigma_min: float, steps: int) -> None:
    if not sigma_max > sigma_min > 0 or steps < 2:
        raise ValueError(
            f"a noise grid needs sigma_max > sigma_min > 0 and 2 steps or more; found {sigma_max:g}, {sigma_min:g}, "
            f"{steps}"
        )
