"""Maximum likelihood of emission counts by expectation maximisation, with and without ordered subsets.

    x <- x / (A'1) * A' (y / (A x + b))

Each iteration raises the Poisson likelihood (MLEM); with the views of a subset alone it is nearly as good at a fraction
of the cost (OSEM), without converging. All weights of A must be at least 0. Images stay at least 0, and where no bin
sees a pixel it stays as it was. Early iterates are smooth and late ones noisy: the iteration and the filter after it
are what the result is regularised by; the filter is :func:`physics.pet.smoothed`. Sources: Shepp and Vardi,
doi:10.1109/TMI.1982.4307558; Hudson and Larkin, doi:10.1109/42.363108.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..likelihoods.ordered_subsets import OrderedSubsets, correction, sensitivity
from ..likelihoods.poisson import PoissonEmission


def mlem_steps(likelihood: PoissonEmission, *, iterations: int = 50, start: Tensor | None = None) -> Iterator[Tensor]:
    """The iterates (batch, rows, columns) of MLEM: :func:`osem_steps` with one subset."""
    return osem_steps(likelihood, subsets=1, iterations=iterations, start=start)


def osem_steps(
    likelihood: PoissonEmission, *, subsets: int = 10, iterations: int = 4, start: Tensor | None = None
) -> Iterator[Tensor]:
    """The iterates (batch, rows, columns) of OSEM, one after each pass through all subsets.

    ``subsets``: of every n-th view, taken in Herman and Meyer's order; ``start``: the first image, at least 0 (0 stays
    0), :func:`uniform_start` unless given. Raises ValueError for more subsets than views or a start that is negative.
    """
    ordered = OrderedSubsets.of(likelihood, subsets)
    x = uniform_start(likelihood) if start is None else start
    if bool((x < 0).any()):
        raise ValueError("expected a start of 0 or more, found negative pixels: raise them to a small "
                         "positive activity")
    for _ in range(iterations):
        for part, weight in ordered:
            x = torch.where(weight > 0, x * correction(part, x) / weight, x)
        yield x


def uniform_start(likelihood: PoissonEmission) -> Tensor:
    """The even image that gives as many counts as were measured beyond the background, where any bin sees it.

    At least a hundredth of what all counts would give, so that noise in the background leaves a positive start.
    """
    seen = sensitivity(likelihood)
    even = (seen > 0).to(seen)
    expected = likelihood.operator.forward(even).sum((-2, -1), keepdim=True)
    if not bool((expected > 0).all()):
        raise ValueError("expected bins that see the image, found a slice without: check normalisation and geometry")
    counts = likelihood.data.sum((-2, -1), keepdim=True)
    background = likelihood.background.expand_as(likelihood.data).sum((-2, -1), keepdim=True)
    return even * torch.maximum(counts - background, 0.01 * counts) / expected
