"""Stack blending: a denoiser of three slices becomes one of any number of slices (DiffusionBlend++).

Even calls cut the stack into triplets of neighbours (i, i + 1, i + 2) from a random offset; odd calls jump: the slices
i, i + 3, i + 6, ... form three stacks of their own, each cut in the same way. Over the calls of a run every slice meets
different companions, near and far, so that no seam stays. At the ends, where a triplet would leave the stack, it is
moved inwards, and only the slices that no other triplet covers are taken from it: every slice is estimated once a call.

Source: DiffusionBlend, arXiv:2406.10211.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ..priors.card import STACK
from ..priors.neighbours import StackDenoiser as NeighbourStack
from ..sampling.noise import Noise

JUMP = 3
"""Distance of the slices of a triplet in the calls that jump."""

Triplet = tuple[tuple[int, int, int], tuple[int, ...]]
"""The three slices that are given, and which of these three places are taken."""


class StackDenoiser(Protocol):
    """Clean triplets: D(x (stacks, 3, rows, columns), sigma, condition, gap) of the shape of x.

    ``gap``: slices from one of the three to the next, 1 or :data:`JUMP`; a prior that knows one spacing ignores it.
    """

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None, gap: int = 1) -> Tensor: ...


def triplets(slices: Sequence[int], offset: int) -> list[Triplet]:
    """Triplets of neighbours that cover ``slices`` once, from place ``offset`` (0 to 2) on.

    Fewer than three slices: the last one is given again. Raises ValueError without slices or for another offset.
    """
    count = len(slices)
    if count < 1 or not 0 <= offset < STACK:
        raise ValueError(f"expected 1 slice or more and an offset from 0 to 2, found {count} and {offset}")
    found: list[Triplet] = []
    first = min(offset, count)
    edges = ([0] if first > 0 else []) + list(range(first, count, STACK))
    for n, begin in enumerate(edges):
        end = edges[n + 1] if n + 1 < len(edges) else count
        low = max(0, min(begin, count - STACK))
        given = tuple(slices[min(low + k, count - 1)] for k in range(STACK))
        found.append(((given[0], given[1], given[2]), tuple(range(begin - low, end - low))))
    return found


def covering(count: int, gap: int, offsets: Sequence[int]) -> list[Triplet]:
    """Triplets with ``gap`` between their slices that cover 0 to ``count`` - 1 once; one of ``offsets`` a stack."""
    return [
        triplet for rest, offset in zip(range(gap), offsets, strict=True)
        for triplet in triplets(range(rest, count, gap), offset)
    ]


class StackBlend:
    """The denoiser of volumes D(x (slices, 1, rows, columns), sigma, condition) made of a denoiser of triplets.

    ``noise``: of the offsets. Calls alternate between neighbours and jumps, so use a new one for every draw. A
    stack of fewer than 9 slices is too short to jump in. Raises ValueError where x is not a stack of single channels.
    """

    def __init__(self, denoiser: StackDenoiser, noise: Noise) -> None:
        self.denoiser, self.noise, self.calls = denoiser, noise, 0

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if x.ndim != 4 or x.shape[1] != 1:
            raise ValueError(f"stack blending expects (slices, 1, rows, columns), found {tuple(x.shape)}")
        if sigma.numel() != 1:
            raise ValueError(f"stack blending expects one noise level for all slices, found {sigma.numel()}")
        gap = JUMP if self.calls % 2 == 1 and x.shape[0] >= STACK * JUMP else 1
        self.calls += 1
        offsets = self.noise.common().integers(STACK, size=gap).tolist()
        blend = covering(x.shape[0], gap, offsets)
        given = torch.tensor([slices for slices, _ in blend], device=x.device)
        clean = self.denoiser(x[given, 0], sigma, condition, gap)
        result = torch.empty_like(x)
        for n, (slices, taken) in enumerate(blend):
            for place in taken:
                result[slices[place], 0] = clean[n, place]
        return result


class WanderingStack:
    """A :class:`priors.neighbours.StackDenoiser` that looks at neighbours and, in every other call, jumps instead."""

    def __init__(self, stack: NeighbourStack) -> None:
        self.stack, self.calls = stack, 0

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        spacing = JUMP if self.calls % 2 == 1 else 1
        self.calls += 1
        return replace(self.stack, spacing=spacing)(x, sigma, condition)
