"""Denoisers that are told label maps or images, guided: how strongly what is told counts.

    D_w(x; s) = D(x; s) + w (D(x; s | told) - D(x; s)),      w = 1: as learnt; above 1: more than that; 0: not at all

Source: classifier-free guidance, arXiv:2207.12598, whose weight is w - 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..priors.card import PriorCard
from ..priors.channels import one_hot
from ..priors.conditions import MASK, Condition, condition_from_card

POSITIONS = 2


@dataclass(frozen=True, eq=False)
class Guided:
    """D_w of slices or of a stack of them, by a denoiser whose last planes are told.

    x: (slices, channels, rows, columns); condition: planes (slices, 2 + told, rows, columns), positions first.
    ``weight`` w: a finite number of 0 or more. Two calls a step, one for w = 0 and 1. Raises ValueError for another
    weight, and for planes that tell nothing.
    """

    denoiser: Denoiser
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"expected a weight of guidance from 0 on, such as 1.5, found {self.weight}: correct it")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is None or condition.shape[-3] <= POSITIONS:
            raise ValueError("guidance needs planes that tell something beside the position: give label maps or images")
        if self.weight == 1:
            return self.denoiser(x, sigma, condition)
        untold = torch.cat(
            [condition[..., :POSITIONS, :, :], torch.zeros_like(condition[..., POSITIONS:, :, :])], dim=-3
        )
        plain = self.denoiser(x, sigma, untold)
        if self.weight == 0:
            return plain
        return plain + self.weight * (self.denoiser(x, sigma, condition) - plain)


def condition_of(card: PriorCard, kind: str) -> Condition:
    """What the prior of a card is told, of this kind; raises ValueError for another prior."""
    condition = condition_from_card(card.condition)
    if condition is None or condition.kind != kind:
        found = "nothing" if condition is None else f"a condition for '{condition.kind}'"
        raise ValueError(f"expected a model that is told a condition for '{kind}', found that {card.name} is told "
                         f"{found}: choose another model")
    return condition


def planes_of_labels(place: Tensor, labels: Tensor, condition: Condition) -> Tensor:
    """Planes (slices, 2 + classes, rows, columns) of a stack: positions (2, rows, columns), then its label map.

    ``labels``: (slices, rows, columns), 255 where nothing is known. Raises ValueError for a condition that is no mask,
    an empty label map, another size, and values without a class.
    """
    if condition.kind != MASK:
        raise ValueError(f"expected a model of label maps, found one told a condition for '{condition.kind}'")
    if labels.ndim != 3 or labels.numel() == 0 or labels.shape[1:] != place.shape[-2:]:
        raise ValueError(
            f"expected a label map (slices, rows, columns) of {tuple(place.shape[-2:])} pixels a slice, found "
            f"{tuple(labels.shape)}: resample it to the image"
        )
    told = one_hot(labels, len(condition.classes))
    return torch.cat([place.expand(len(labels), *place.shape[-3:]).to(told), told], dim=1)


def planes_of_images(place: Tensor, given: Tensor) -> Tensor:
    """Planes (slices, 3, rows, columns) of a stack: positions (2, rows, columns), then an image in network units.

    ``given``: (slices, 1, rows, columns). Raises ValueError for another shape and values that are not finite.
    """
    if given.ndim != 4 or given.shape[1] != 1 or given.numel() == 0 or given.shape[2:] != place.shape[-2:]:
        raise ValueError(
            f"expected images (slices, 1, rows, columns) of {tuple(place.shape[-2:])} pixels, found "
            f"{tuple(given.shape)}: resample them first"
        )
    if not bool(torch.isfinite(given).all()):
        raise ValueError("expected finite values in the image that is given, found others: repair or mask them first")
    return torch.cat([place.expand(len(given), *place.shape[-3:]).to(given), given], dim=1)
