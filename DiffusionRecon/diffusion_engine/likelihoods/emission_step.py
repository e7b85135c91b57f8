"""What emission counts say of an image that is known to lie near another one: its best estimate, and draws of it.

    exp(-precision |z - a|^2 / 2) Poisson(y | A z + b),   z >= 0

Anchored EM finds the maximum: with e = z A'(y / (A z + b)) and s = A'1, the surrogate of EM is separable, and each
pixel moves to the positive root of

    precision z^2 + (s - precision a) z - e = 0,

which raises the objective at every iteration and needs no step length; with precision 0 it is expectation maximisation
alone. Hamiltonian moves with reflection at 0 draw from the density, exactly once the chain has mixed. Sources: De
Pierro, doi:10.1109/42.370409; for diffusion priors, Singh et al., arXiv:2308.14190.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.hamiltonian import Chain, hamiltonian_move
from ..sampling.noise import Noise
from .ordered_subsets import OrderedSubsets, correction
from .poisson import PoissonEmission

LEAST_STEP, MOST_STEP, FIRST_STEP = 0.001, 1.0, 0.5
"""Of Hamiltonian moves, in units of the preconditioner's widths."""


def anchored_em(
    ordered: OrderedSubsets, anchor: Tensor, precision: Tensor | float, *, start: Tensor, iterations: int = 5
) -> Tensor:
    """Towards the image of the largest density near ``anchor``: (batch, rows, columns), at least 0.

    ``precision``: 1 / variance of the anchor, at least 0, a number or broadcastable to the images; ``start``: above 0
    where activity may be, as EM leaves 0 only if the anchor pulls. More than one subset, each with its share of the
    anchor, is faster and no longer monotone. Raises ValueError for a negative precision or start.
    """
    weight = torch.as_tensor(precision, dtype=anchor.dtype, device=anchor.device)
    if not bool((torch.isfinite(weight) & (weight >= 0)).all()):
        raise ValueError("expected a finite precision of 0 or more for the anchor, found others: give 1 / variance")
    if bool((start < 0).any()):
        raise ValueError("expected a start of 0 or more, found negative pixels: raise them to a small "
                         "positive activity")
    share = weight / len(ordered)
    z = start
    for _ in range(iterations):
        for part, own in ordered:
            z = _positive_root(share, own - share * anchor, z * correction(part, z), z)
    return z


def anchored_misfit(likelihood: PoissonEmission, anchor: Tensor, precision: Tensor | float, z: Tensor) -> Tensor:
    """Half the deviance plus precision |z - a|^2 / 2 of each image, (batch,): what :func:`anchored_em` lowers."""
    return likelihood.misfit(z) + (precision * (z - anchor).square() / 2).flatten(1).sum(1)


def _positive_root(a: Tensor, b: Tensor, e: Tensor, unseen: Tensor) -> Tensor:
    """z >= 0 of a z^2 + b z = e with a, e >= 0, without cancellation; ``unseen`` where a = b = 0."""
    root = (b.square() + 4 * a * e).sqrt()
    above = 2 * e / (b + root).where(b + root > 0, 1.0)
    below = (root - b) / (2 * a).where(a > 0, 1.0)
    z = torch.where(b > 0, above, below)
    return torch.where((a == 0) & (b == 0), unseen, z)


@dataclass(frozen=True, eq=False)
class EmissionDraw:
    """A draw: ``image`` (batch, rows, columns), the ``step`` of each chain for the next, and the share ``accepted``."""

    image: Tensor
    step: Tensor
    accepted: Tensor


def emission_draw(
    likelihood: PoissonEmission, anchor: Tensor, variance: float, *, start: Tensor, noise: Noise,
    step: Tensor | None = None, moves: int = 8, leaps: int = 8, adapt: bool = True, nonnegative: bool = True,
) -> EmissionDraw:
    """Hamiltonian moves on exp(-|z - a|^2 / (2 variance)) Poisson(y | A z + b) over z >= 0, from ``start``.

    The density is the exact one, also for few counts, where b is at least the likelihood's floor (below it, that of
    its parabola). Coordinates are scaled by c = (1 / variance + A'(A 1 / m))^(-1/2) with m at the anchor, which bounds
    the curvature by 1. ``start``: the last z of a Gibbs sampler leaves its distribution exact for any number of
    ``moves``; any other image is forgotten only as the chain mixes. ``step``: (batch,), of the last call; ``adapt``:
    towards 80 % accepted, to be switched off while draws count. ``nonnegative``: False drops the condition z >= 0, with
    the likelihood continued by its parabola. Where air fills most of an image of 128 x 128 the reflections shorten the
    steps about tenfold; a split Gibbs sampler whose prior is that of images of at least 0 has the same limit without
    them. Raises ValueError for a variance that is not positive.
    """
    if not variance > 0:
        raise ValueError(f"expected a variance above 0 around the anchor, found {variance}: correct it")
    at = anchor.clamp_min(0)
    rows = likelihood.operator.forward(torch.ones_like(at))
    known = likelihood.operator.adjoint(likelihood.curvature(at) * rows).clamp_min(0)
    scale = (1 / variance + known).rsqrt()

    def potential(w: Tensor) -> Tensor:
        z = scale * w
        return likelihood.misfit(z) + (z - anchor).square().flatten(1).sum(1) / (2 * variance)

    def slope(w: Tensor) -> Tensor:
        z = scale * w
        return scale * (likelihood.gradient(z) + (z - anchor) / variance)

    # Energy errors of a trajectory grow as pixels h^4, and as pixels h^2 where it is reflected.
    first = 1.5 * start[0].numel() ** -0.5 if nonnegative else 1.2 * start[0].numel() ** -0.25
    size = torch.full_like(start[:, 0, 0], min(first, FIRST_STEP)) if step is None else step
    size = size.clamp(LEAST_STEP, MOST_STEP)
    begin = start.clamp_min(0) if nonnegative else start
    chain = Chain(begin / scale, size, torch.zeros_like(size, dtype=torch.bool))
    accepted = torch.zeros_like(size)
    for _ in range(moves):
        chain = hamiltonian_move(chain, potential, slope, leaps, noise, adapt, nonnegative)
        accepted = accepted + chain.accepted
    return EmissionDraw(scale * chain.position, chain.step, accepted / moves)
