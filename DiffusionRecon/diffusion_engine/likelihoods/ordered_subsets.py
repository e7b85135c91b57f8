"""Counts in ordered subsets of their views, in the order in which neighbours differ most.

Sources: Hudson and Larkin, doi:10.1109/42.363108; order, Herman and Meyer, doi:10.1109/42.241889.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..physics.operator import view_axis
from .poisson import PoissonEmission


@dataclass(frozen=True, eq=False)
class OrderedSubsets:
    """The likelihoods of every n-th view, in an order in which neighbours differ most, and what each sees: A'1."""

    parts: tuple[PoissonEmission, ...]
    seen: tuple[Tensor, ...]

    @classmethod
    def of(cls, likelihood: PoissonEmission, count: int) -> OrderedSubsets:
        """``count`` subsets; 1 is the likelihood itself. Raises ValueError for more subsets than views."""
        views = likelihood.operator.out_shape[view_axis(likelihood.operator)]
        if not 1 <= count <= views:
            raise ValueError(f"expected 1 to {views} subsets of {views} views, found {count}: use fewer")
        order = herman_meyer(count)
        parts = tuple(likelihood.subset(slice(n, None, count)) for n in order) if count > 1 else (likelihood,)
        return cls(parts, tuple(sensitivity(part) for part in parts))

    def __iter__(self) -> Iterator[tuple[PoissonEmission, Tensor]]:
        return zip(self.parts, self.seen, strict=True)

    def __len__(self) -> int:
        return len(self.parts)


def correction(likelihood: PoissonEmission, x: Tensor) -> Tensor:
    """A' (y / (A x + b)), 0 for bins that neither image nor background reach: what EM multiplies x by over A'1."""
    mean = likelihood.mean(x)
    ratio = torch.where(mean > 0, likelihood.data / mean, 0.0)
    # A reading where next to nothing is expected would overflow, and no pixel could answer it.
    return likelihood.operator.adjoint(ratio.clamp_max(torch.finfo(mean.dtype).max ** 0.5))


def sensitivity(likelihood: PoissonEmission) -> Tensor:
    """A'1: counts that one unit of activity in each pixel gives in all bins, (batch or less, rows, columns)."""
    return likelihood.operator.adjoint(torch.ones_like(likelihood.data))


def herman_meyer(count: int) -> list[int]:
    """The order of ``count`` subsets by the prime factors of their number: far apart whatever came before.

    Writes n = sum_k t_k prod_{j<k} p_j with digits t_k < p_k, the k-th subset being sum_k t_k prod_{j>k} p_j.
    """
    factors, rest, prime = [], count, 2
    while rest > 1:
        while rest % prime == 0:
            factors.append(prime)
            rest //= prime
        prime += 1
    order = []
    for n in range(count):
        place, left, stride = 0, n, count
        for factor in factors:
            stride //= factor
            place += (left % factor) * stride
            left //= factor
        order.append(place)
    return order
