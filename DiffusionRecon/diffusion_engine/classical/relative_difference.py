"""Penalised likelihood of emission counts with the relative difference prior, by BSREM.

    min_x>=0  sum(m - y ln m) + weight R(x)
    R = sum over pairs w_jk (x_j - x_k)^2 / (x_j + x_k + gamma |x_j - x_k| + e)

The penalty grows with the relative difference of neighbours, as the noise of EM images does, and spares edges that are
large by gamma. Sources: Nuyts et al., doi:10.1109/TNS.2002.998681; BSREM, Ahn and Fessler, doi:10.1109/TMI.2003.812251.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..likelihoods.ordered_subsets import OrderedSubsets, correction
from ..likelihoods.poisson import PoissonEmission
from .osem import uniform_start

Offset = tuple[int, int, int]
IN_PLANE: tuple[Offset, ...] = ((0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, -1))
"""Steps (slices, rows, columns) to half of the eight neighbours: each pair counts once."""
ALONG_Z: tuple[Offset, ...] = ((1, 0, 0),)
IN_VOLUME: tuple[Offset, ...] = tuple(
    (k, j, i) for k, j, i in itertools.product((-1, 0, 1), repeat=3) if (k, j, i) > (0, 0, 0)
)
"""Half of the 26 neighbours."""


@dataclass(frozen=True, eq=False)
class RelativeDifference:
    """R(x) of images (slices, rows, columns) that are at least 0, with its derivatives.

    ``epsilon`` > 0, in units of x: below it differences are penalised by their square; ``gamma`` >= 0: how much less
    large relative differences cost; ``offsets``: which neighbours, weighed by the inverse of their distance in pixels;
    ``kappa``: (slices, rows, columns), each pair is weighed by kappa_j kappa_k, for an even resolution (see
    :func:`certainty`). R is in units of x.
    """

    epsilon: float
    gamma: float = 2.0
    offsets: tuple[Offset, ...] = IN_PLANE
    kappa: Tensor | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"expected an epsilon above 0, found {self.epsilon}: take about a hundredth of the "
                             "activity")
        if not (math.isfinite(self.gamma) and self.gamma >= 0):
            raise ValueError(f"expected a gamma of 0 or more, found {self.gamma}: 2 is usual")

    def value(self, x: Tensor) -> Tensor:
        """R of each slice, (slices,); a pair across slices counts half in each."""
        total = x.new_zeros(len(x))
        for first, second, weight in self._pairs(x):
            a, b = x[first], x[second]
            share = weight * (a - b) ** 2 / (a + b + self.gamma * (a - b).abs() + self.epsilon) / 2
            for side in (first, second):
                total[side[0]] = total[side[0]] + share.sum((-2, -1))
        return total

    def gradient(self, x: Tensor) -> Tensor:
        """dR / dx_j = sum_k w_jk d (gamma |d| + x_j + 3 x_k + 2 e) / (x_j + x_k + gamma |d| + e)^2, d = x_j - x_k."""
        result = torch.zeros_like(x)
        for first, second, weight in self._pairs(x):
            a, b = x[first], x[second]
            difference = a - b
            bent = self.gamma * difference.abs()
            scaled = weight * difference / (a + b + bent + self.epsilon) ** 2
            result[first] += scaled * (bent + a + 3 * b + 2 * self.epsilon)
            result[second] -= scaled * (bent + b + 3 * a + 2 * self.epsilon)
        return result

    def curvature(self, x: Tensor) -> Tensor:
        """d2R / dx_j^2 = sum_k 2 w_jk (2 x_k + e)^2 / (x_j + x_k + gamma |d| + e)^3, at least 0."""
        result = torch.zeros_like(x)
        for first, second, weight in self._pairs(x):
            a, b = x[first], x[second]
            scaled = 2 * weight / (a + b + self.gamma * (a - b).abs() + self.epsilon) ** 3
            result[first] += scaled * (2 * b + self.epsilon) ** 2
            result[second] += scaled * (2 * a + self.epsilon) ** 2
        return result

    def _pairs(self, x: Tensor) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], Tensor | float]]:
        for step in self.offsets:
            first = tuple(slice(max(-n, 0), size - max(n, 0)) for n, size in zip(step, x.shape, strict=True))
            second = tuple(slice(max(n, 0), size + min(n, 0)) for n, size in zip(step, x.shape, strict=True))
            weight: Tensor | float = 1 / math.sqrt(sum(n * n for n in step))
            if self.kappa is not None:
                weight = weight * self.kappa[first] * self.kappa[second]
            yield first, second, weight


def certainty(likelihood: PoissonEmission, at: Tensor) -> Tensor:
    """kappa = sqrt(A' (A 1 / m)) at an image, over its mean where the activity is: how well pixels are known.

    The mean of a slice is weighed by the image ``at``: air around the patient, well known and of any width, would
    change what a weight means. With the penalty weighed by it, resolution hardly depends on the place. Source: Fessler
    and Rogers, doi:10.1109/83.535846, in the form of Tsai et al., doi:10.1109/TMI.2019.2913889.
    """
    ones = torch.ones_like(at)
    rows = likelihood.operator.forward(ones)
    known = likelihood.operator.adjoint(likelihood.curvature(at) * rows).clamp_min(0).sqrt()
    activity = at.clamp_min(0)
    total = activity.sum((-2, -1), keepdim=True)
    mean = (known * activity).sum((-2, -1), keepdim=True) / total
    return known / torch.where(total > 0, mean, known.mean((-2, -1), keepdim=True))


def relative_difference_steps(
    likelihood: PoissonEmission, prior: RelativeDifference, *, weight: Tensor | float, subsets: int = 10,
    iterations: int = 30, relaxation: float = 0.1, start: Tensor | None = None,
) -> Iterator[Tensor]:
    """The iterates (slices, rows, columns) of BSREM, one after each pass through all subsets, x >= 0.

    x <- max(x + a_n D (A_s' (y_s / m_s - 1) - weight / subsets dR), 0) for each subset s, with D = subsets x / (A'1 + 2
    weight x d2R), kept above a thousandth of the slice's mean so that no pixel is caught at 0, and a_n = 1 /
    (1 + ``relaxation`` n): steps that shrink so that the subsets' disagreement dies out. D and a_n only set the pace,
    not the result. ``weight``: one number or one of each slice, in 1 / unit of x; ``start``: :func:`uniform_start`
    unless given, an early OSEM image is better.
    """
    if not relaxation >= 0:
        raise ValueError(f"expected a relaxation of 0 or more, found {relaxation}: 0.1 is usual")
    beta = torch.as_tensor(weight, dtype=likelihood.data.dtype, device=likelihood.data.device)
    if not bool((torch.isfinite(beta) & (beta >= 0)).all()):
        raise ValueError("expected penalty weights of 0 or more, found others: correct them")
    beta = beta.reshape(-1, 1, 1) if beta.ndim == 1 else beta
    ordered = OrderedSubsets.of(likelihood, subsets)
    whole = torch.stack(ordered.seen).sum(0)
    x = uniform_start(likelihood) if start is None else start
    least = 1e-3 * x.mean((-2, -1), keepdim=True)
    for n in range(iterations):
        pace = subsets / (1 + relaxation * n)
        for part, own in ordered:
            slope = correction(part, x) - own - beta / subsets * prior.gradient(x)
            reach = x.clamp_min(least)
            scale = whole + 2 * beta * reach * prior.curvature(x)
            step = torch.where(scale > 0, pace * reach * slope / scale, 0.0)
            x = (x + step).clamp_min(0)
        yield x


def penalised_misfit(
    likelihood: PoissonEmission, prior: RelativeDifference, weight: Tensor | float, x: Tensor
) -> Tensor:
    """Half the deviance plus weight R of each slice: what :func:`relative_difference_steps` minimises, (slices,)."""
    return likelihood.misfit(x) + weight * prior.value(x)
