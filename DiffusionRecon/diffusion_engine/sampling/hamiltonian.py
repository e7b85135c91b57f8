"""Hamiltonian Monte Carlo on a batch of images, each with a step size of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .noise import Noise

WANTED_ACCEPTANCE = 0.8


@dataclass(frozen=True, eq=False)
class Chain:
    """State of the chains: positions (batch, ...), step sizes (batch,), and which of the last moves were accepted."""

    position: Tensor
    step: Tensor
    accepted: Tensor


def hamiltonian_move(
    chain: Chain, potential: Callable[[Tensor], Tensor], gradient: Callable[[Tensor], Tensor], leaps: int, noise: Noise,
    adapt: bool = True, nonnegative: bool = False,
) -> Chain:
    """One move that leaves exp(-U) unchanged: leapfrog along random momenta, then Metropolis' rule for each chain.

    ``potential``: U of each position, (batch,); ``gradient``: its gradient. ``adapt``: steps grow by 2 % on acceptance
    and shrink so that about 80 % are accepted; a run whose draws count must end without. ``nonnegative``: the density
    is 0 below 0, where trajectories are reflected, coordinate by coordinate, with no loss of exactness. Sources:
    doi:10.1016/0370-2693(87)91197-X; reflection, arXiv:1506.03159 (Afshar and Domke).
    """
    shape = (-1, *([1] * (chain.position.ndim - 1)))
    step = chain.step.reshape(shape)
    momentum = noise.normal(chain.position)
    before = potential(chain.position) + 0.5 * momentum.flatten(1).square().sum(1)
    position = chain.position
    momentum = momentum - 0.5 * step * gradient(position)
    for leap in range(leaps):
        position = position + step * momentum
        if nonnegative:
            momentum = torch.where(position < 0, -momentum, momentum)
            position = position.abs()
        momentum = momentum - (step if leap + 1 < leaps else 0.5 * step) * gradient(position)
    after = potential(position) + 0.5 * momentum.flatten(1).square().sum(1)
    # A trajectory that leaves the numbers behind has after = inf or nan: it is not accepted.
    accepted = torch.log(noise.uniform(before)) < before - after
    kept = torch.where(accepted.reshape(shape), position, chain.position)
    size = chain.step
    if adapt:
        shrink = 1.02 ** (-WANTED_ACCEPTANCE / (1 - WANTED_ACCEPTANCE))
        size = torch.where(accepted, size * 1.02, size * shrink)
    return Chain(kept, size, accepted)
