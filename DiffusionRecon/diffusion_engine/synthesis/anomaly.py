"""What a prior of healthy images would not keep: noise is added to an image and taken away again, and the two compared.

    x_s = y + s n,   x ~ p(clean | x_s),   healthy h = mean of x over draws,   difference y - h

At the stated level s everything below about s in size and contrast is forgotten and drawn anew as the prior knows it;
what is larger stays, whether healthy or not. A difference is therefore a statement at one level: too low a level keeps
a lesion, too high a one changes the anatomy. The draws' own spread tells how much of it is chance:

    z = (y - h) / sqrt(v + v0),   v: variance of the draws, v0: the least that counts

Sources: AnoDDPM, doi:10.1109/CVPRW56347.2022.00080 (partial noising); with a guided denoiser the same is a
counterfactual, arXiv:2203.04306.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..sampling.grids import poly_grid
from ..sampling.movers import multistep_estimates
from ..sampling.noise import Noise


@dataclass(frozen=True)
class AnomalySettings:
    """``sigma``: the level, in network units; ``steps`` down from it; ``draws``; ``floor``: square root of v0.

    Raises ValueError for values out of range.
    """

    sigma: float = 0.3
    steps: int = 8
    draws: int = 4
    floor: float = 0.02
    smallest: float = 0.01

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > self.smallest > 0):
            raise ValueError(f"expected a noise level above {self.smallest}, found {self.sigma}: try 0.3")
        if self.draws < 1 or self.steps < 2:
            raise ValueError(f"expected 1 draw and 2 steps or more, found {self.draws} and {self.steps}: raise them")
        if not (math.isfinite(self.floor) and self.floor > 0):
            raise ValueError(f"expected a least deviation above 0, found {self.floor}: choose one such as 0.02")


class Anomaly(NamedTuple):
    """After ``draws`` draws: the level in network units, the healthy image, the difference, its spread, and z.

    Images (slices, 1, rows, columns) in network units but z; ``spread``: standard deviation of the draws, zero for one.
    """

    sigma: float
    draws: int
    healthy: Tensor
    difference: Tensor
    spread: Tensor
    z: Tensor


def anomaly(
    denoiser: Denoiser, image: Tensor, planes: Tensor | None, settings: AnomalySettings, noise: Noise
) -> Iterator[Anomaly]:
    """The map after each draw; the last is the result. ``image``: (slices, 1, rows, columns) in network units.

    Raises ValueError for another shape and values that are not finite, FloatingPointError for a draw that is not.
    """
    if image.ndim != 4 or image.shape[1] != 1 or not image.numel():
        raise ValueError(f"expected an image (slices, 1, rows, columns), found {tuple(image.shape)}: give a stack")
    if not bool(torch.isfinite(image).all()):
        raise ValueError("expected finite values in the image, found others: repair or mask them first")
    return _anomaly(denoiser, image, planes, settings, noise)


def _anomaly(
    denoiser: Denoiser, image: Tensor, planes: Tensor | None, settings: AnomalySettings, noise: Noise
) -> Iterator[Anomaly]:
    total, squares = torch.zeros_like(image, dtype=torch.float64), torch.zeros_like(image, dtype=torch.float64)
    for number, own in noise.draws(settings.draws):
        # Deviations from the image are summed, which are small.
        away = (redrawn(denoiser, image, planes, settings, own) - image).double()
        total += away
        squares += away**2
        mean = total / number
        variance = ((squares - number * mean**2) / max(1, number - 1)).clamp_min(0)
        difference = -mean
        yield Anomaly(
            settings.sigma, number, (image + mean).to(image), difference.to(image), variance.sqrt().to(image),
            (difference / (variance + settings.floor**2).sqrt()).to(image),
        )


def redrawn(
    denoiser: Denoiser, image: Tensor, planes: Tensor | None, settings: AnomalySettings, noise: Noise
) -> Tensor:
    """One draw of p(clean | image + s n), by the diffusion from s down (DPM-Solver++, second order)."""
    levels: list[float] = poly_grid(settings.sigma, settings.smallest, settings.steps).tolist()
    x = image + settings.sigma * noise.normal(image)

    def clean_at(state: Tensor, sigma: float) -> Tensor:
        with torch.no_grad():
            return denoiser(state, torch.tensor(sigma), planes)

    for estimate in multistep_estimates(clean_at, x, levels, noise):
        drawn = estimate
    if not bool(torch.isfinite(drawn).all()):
        raise FloatingPointError("a healthy image is not finite: the model is damaged or does not fit the image")
    return drawn
