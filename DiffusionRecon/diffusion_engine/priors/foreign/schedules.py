"""Noise schedules of published networks: from the noise level sigma to the time that a network was trained with.

A variance-preserving state x_t = sqrt(abar) x_0 + sqrt(1 - abar) z is the image x_0 with noise of standard deviation
sigma = sqrt((1 - abar) / abar), once divided by sqrt(abar).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")


class LevelError(ValueError):
    """A noise level outside of what a network was trained for."""


class Schedule(Protocol):
    """``time(sigma)``: the network's time for noise levels of any shape, same shape, float64."""

    def time(self, sigma: Tensor) -> Tensor: ...


def make_betas(kind: str, steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Noise increments beta of each step: (steps,) float64.

    "linear": beta rises linearly from ``first`` to ``last`` (arXiv:2006.11239); "scaled_linear": its square root does;
    "squaredcos_cap_v2": abar = cos((t + 0.008) / 1.008 pi / 2)^2, beta at most 0.999 (arXiv:2102.09672), which uses
    neither. Raises ValueError for another kind.
    """
    if kind == "linear":
        return torch.linspace(first, last, steps, dtype=torch.float64)
    if kind == "scaled_linear":
        return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2
    if kind == "squaredcos_cap_v2":
        t = torch.arange(steps + 1, dtype=torch.float64) / steps
        bar = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - bar[1:] / bar[:-1]).clamp_max(0.999)
    raise ValueError(f"no noise schedule named '{kind}': choose from {BETAS}, or give the betas themselves")


@dataclass(frozen=True, eq=False)
class DiscreteSchedule:
    """Steps t = 0, 1, ... with rising noise levels; level between two steps: the nearest, or interpolated in ln sigma.

    ``sigmas``: (steps,) rising, positive. A level below the first gets time 0 (the image then has almost no noise); one
    more than 1 % above the last raises ValueError, because the network was not trained for it.
    """

    sigmas: Tensor
    interpolate: bool = True

    def __post_init__(self) -> None:
        s = self.sigmas
        if s.ndim != 1 or len(s) < 2 or not bool((s[0] > 0) & (s[1:] > s[:-1]).all()):
            raise ValueError("the levels of a noise schedule must be positive and rise from step to step")

    @staticmethod
    def from_betas(betas: Tensor, interpolate: bool = True) -> DiscreteSchedule:
        """sigma_t = sqrt((1 - abar_t) / abar_t), abar_t = prod_{s <= t} (1 - beta_s); raises outside 0 < beta < 1."""
        betas = betas.double()
        if not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError("the betas of a noise schedule must lie between 0 and 1")
        bar = (1 - betas).cumprod(0)
        return DiscreteSchedule(((1 - bar) / bar).sqrt(), interpolate)

    def time(self, sigma: Tensor) -> Tensor:
        check_level(sigma, float(self.sigmas[-1]))
        known = self.sigmas.to(device=sigma.device, dtype=torch.float64).log()
        level = sigma.double().log().clamp(known[0], known[-1]).contiguous()
        above = torch.searchsorted(known, level).clamp(1, len(known) - 1)
        time = above - 1 + (level - known[above - 1]) / (known[above] - known[above - 1])
        return time if self.interpolate else time.round()


@dataclass(frozen=True)
class ContinuousVP:
    """The VP diffusion with beta(t) = b0 + t (b1 - b0), 0 < t <= 1: sigma^2 = exp(b0 t + t^2 (b1 - b0) / 2) - 1.

    ``scale``: what the network's time is in units of t (999 in score_sde code). Source: arXiv:2011.13456, eq. 32.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    scale: float = 999.0

    def time(self, sigma: Tensor) -> Tensor:
        slope = self.beta_max - self.beta_min
        check_level(sigma, math.sqrt(math.expm1(self.beta_min + slope / 2)))
        exponent = torch.log1p(sigma.double() ** 2)
        # The stable root of slope t^2 / 2 + b0 t - exponent = 0.
        root = (self.beta_min**2 + 2 * slope * exponent).sqrt()
        return self.scale * 2 * exponent / (self.beta_min + root)


@dataclass(frozen=True)
class LogTime:
    """Networks told the logarithm of the noise level: time = ln(sigma / unit), for levels up to ``largest``."""

    unit: float = 1.0
    largest: float = math.inf

    def time(self, sigma: Tensor) -> Tensor:
        check_level(sigma, self.largest)
        return (sigma.double() / self.unit).log()


def check_level(sigma: Tensor, largest: float) -> None:
    """Raise LevelError for a noise level that is not positive, or more than 1 % above what a network has seen."""
    if not bool(((sigma > 0) & (sigma <= 1.01 * largest)).all()):
        raise LevelError(
            f"this prior was trained for noise levels up to {largest:.4g}, found {sigma.max():.4g}: "
            "start at a positive level within its range"
        )
