"""Bridges between two kinds of images: the noise begins at the image there is, not at nothing.

    x_n | x_0, x_1 ~ N(w x_0 + (1 - w) x_1, f b / (f + b)),   w = b / (f + b)

x_0 the wanted image, x_1 the given one, f_n and b_n the variances gathered from either end up to step n. From a
prediction of x_0 a step back draws

    x_(n-1) ~ N((a x_0 + f' x_n) / (a + f'), f' a / (a + f')),   a = f_n - f_(n-1),   f' = f_(n-1)

What predicts is a function of the state, the step and the given image, such as a network trained with
:func:`bridge_loss`. Told the given image too, it keeps which image belongs to which.

Sources: I2SB, arXiv:2302.05872; the given image as a condition, arXiv:2311.06978.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.noise import Noise

Predictor = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(state, its deviation sqrt(f_n) as one number an image, given image) -> the wanted image."""


@dataclass(frozen=True)
class Bridge:
    """``steps`` of noise that grows and shrinks alike from both ends; ``variance``: f + b, in squared network units.

    Raises ValueError for fewer than two steps and a variance that is not positive.
    """

    steps: int = 50
    variance: float = 0.25

    def __post_init__(self) -> None:
        if self.steps < 2 or not (math.isfinite(self.variance) and self.variance > 0):
            raise ValueError(
                f"expected 2 steps or more and a variance above 0, found {self.steps} and {self.variance}: correct them"
            )

    @property
    def forward(self) -> Tensor:
        """f_n from the wanted image on, (steps + 1,) float64, from 0 to the variance; b_n is the rest.

        The rate rises to the middle and falls again, as the square of a straight line from 1/5 to 1.
        """
        away = (torch.arange(self.steps, dtype=torch.float64) + 0.5) / self.steps
        rate = (0.2 + 0.8 * (1 - (2 * away - 1).abs())) ** 2
        gathered = torch.cat([torch.zeros(1, dtype=torch.float64), rate.cumsum(0)])
        return gathered / gathered[-1] * self.variance


def between(wanted: Tensor, given: Tensor, step: Tensor, bridge: Bridge, noise: Tensor) -> Tensor:
    """States x_n of pairs (n, 1, rows, columns) at their ``step`` (n,), 0 to ``steps``; ``noise``: standard normal."""
    f = bridge.forward[step].reshape(-1, 1, 1, 1).to(wanted)
    share = 1 - f / bridge.variance
    return share * wanted + (1 - share) * given + (f * share).sqrt() * noise


def bridge_loss(
    predictor: Predictor, wanted: Tensor, given: Tensor, step: Tensor, bridge: Bridge, noise: Tensor
) -> Tensor:
    """Mean of |prediction - x_0|^2 / f_n over pairs at steps of 1 and more: that of (x_n - x_0) / sqrt(f_n)."""
    if bool((step < 1).any()) or bool((step > bridge.steps).any()):
        raise ValueError(f"expected steps from 1 to {bridge.steps}, found {step.tolist()}: at 0 nothing is learnt")
    f = bridge.forward[step].to(wanted)
    found = predictor(between(wanted, given, step, bridge, noise), f.sqrt(), given)
    return ((found - wanted).square().flatten(1).mean(1) / f).mean()


def bridged(
    predictor: Predictor, given: Tensor, bridge: Bridge, noise: Noise, random: bool = True
) -> Iterator[Tensor]:
    """The predicted image after each step from ``given`` (n, 1, rows, columns); the last is the result.

    ``random``: False for the mean of every step, a flow that always ends alike. Raises ValueError for values that are
    not finite, FloatingPointError for a prediction that is not.
    """
    if not bool(torch.isfinite(given).all()):
        raise ValueError("expected finite values in the image that is given, found others: repair or mask them first")
    return _bridged(predictor, given, bridge, noise, random)


def _bridged(predictor: Predictor, given: Tensor, bridge: Bridge, noise: Noise, random: bool) -> Iterator[Tensor]:
    forward = bridge.forward.tolist()
    x = given
    for step in range(bridge.steps, 0, -1):
        f, earlier = forward[step], forward[step - 1]
        with torch.no_grad():
            wanted = predictor(x, torch.full((len(x),), f**0.5).to(x), given)
        if not bool(torch.isfinite(wanted).all()):
            raise FloatingPointError("a predicted image is not finite: the model is damaged or does not fit the image")
        yield wanted
        if random:
            gap = f - earlier
            x = (gap * wanted + earlier * x) / f
            x = x + (earlier * gap / f) ** 0.5 * noise.normal(x) if earlier > 0 else x
        else:
            share = 1 - earlier / bridge.variance
            x = share * wanted + (1 - share) * given
