"""Segmentations by Bernoulli noise: masks of 0 and 1 whose voxels are flipped at random, and flipped back.

    q(y_t | y_0) = B(a_t y_0 + (1 - a_t) / 2),   a_t = prod (1 - b_s), s <= t;    at the end a coin's throws
    q(y_(t-1) = 1 | y_t, y_0) = u_1 v_1 / (u_0 v_0 + u_1 v_1),
        u_k = (1 - b_t) [y_t = k] + b_t / 2,   v_k = a_(t-1) [y_0 = k] + (1 - a_(t-1)) / 2

What predicts gives p = P(y_0 = 1 | y_t, image), and a step back draws y_(t-1) from the mixture
p q(. | y_t, 1) + (1 - p) q(. | y_t, 0), so that with the true p of every voxel each step is exact. The masks of several
runs are an ensemble, see :class:`.segment.Ensemble`.

Source: BerDiff, arXiv:2304.04429, whose prediction enters the posterior as a soft y_0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..sampling.noise import Noise

Predictor = Callable[[Tensor, int, Tensor], Tensor]
"""(mask y_t of 0 and 1, step t, image) -> P(y_0 = 1), of the mask's shape."""


@dataclass(frozen=True)
class Flips:
    """``steps`` of flips whose signs' correlation a_t falls as a squared cosine (arXiv:2102.09672).

    Raises ValueError for fewer than two steps.
    """

    steps: int = 10

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"expected 2 steps or more, found {self.steps}: raise them")

    def kept(self, step: int) -> float:
        """a_t: 1 at step 0, 0 at the last."""
        return 0.0 if step == self.steps else math.cos(0.5 * math.pi * step / self.steps) ** 2

    def noise(self, step: int) -> float:
        """b_t = 1 - a_t / a_(t-1), of steps from 1 on."""
        return 1 - self.kept(step) / self.kept(step - 1)


def flipped(mask: Tensor, step: int, flips: Flips, noise: Noise) -> Tensor:
    """y_t of a mask of 0 and 1 (n, ...): a draw of q(y_t | y_0), of the same kind."""
    chance = flips.kept(step) * mask + (1 - flips.kept(step)) / 2
    return (noise.uniform(chance) < chance).to(mask)


def posterior(mask: Tensor, clean: Tensor, step: int, flips: Flips) -> Tensor:
    """q(y_(t-1) = 1 | y_t = mask, y_0 = clean) of steps from 1 on."""
    b, a = flips.noise(step), flips.kept(step - 1)
    ones = ((1 - b) * mask + b / 2) * (a * clean + (1 - a) / 2)
    zeros = ((1 - b) * (1 - mask) + b / 2) * (a * (1 - clean) + (1 - a) / 2)
    return ones / (ones + zeros)


def backward(mask: Tensor, chance: Tensor, step: int, flips: Flips) -> Tensor:
    """P(y_(t-1) = 1 | y_t = mask) where P(y_0 = 1) is ``chance``: the posteriors of both, mixed."""
    if step == 1:
        return chance
    one, none = (posterior(mask, torch.full_like(chance, value), step, flips) for value in (1.0, 0.0))
    return chance * one + (1 - chance) * none


def bernoulli_loss(chance: Tensor, mask: Tensor, clean: Tensor, step: int, flips: Flips) -> Tensor:
    """Divergence of the step back from the true posterior, plus the cross entropy of the prediction; voxels' mean.

    KL(B(q) || B(p)) of q = q(y_(t-1) = 1 | y_t, y_0) and p as in :func:`backward`; ``chance``: predicted, in (0, 1).
    """
    entropy = F.binary_cross_entropy(chance, clean)
    if step == 1:
        return entropy
    true, found = posterior(mask, clean, step, flips), backward(mask, chance, step, flips)
    divergence = true * (true / found).log() + (1 - true) * ((1 - true) / (1 - found)).log()
    return divergence.mean() + entropy


def drawn_masks(
    predictor: Predictor, image: Tensor, flips: Flips, noise: Noise
) -> Iterator[Tensor]:
    """The mask after each step back from a coin's throws, (n, 1, rows, columns) of 0 and 1; the last is the result.

    Raises ValueError for a prediction that is no chance.
    """
    mask = (noise.uniform(image) < 0.5).to(image)
    for step in range(flips.steps, 0, -1):
        with torch.no_grad():
            chance = predictor(mask, step, image)
        if chance.shape != mask.shape or not bool(((chance >= 0) & (chance <= 1)).all()):
            raise ValueError(
                f"expected chances from 0 to 1 for masks of {tuple(mask.shape)}, found others or "
                f"{tuple(chance.shape)}: the model does not fit"
            )
        mask = (noise.uniform(mask) < backward(mask, chance, step, flips)).to(mask)
        yield mask
