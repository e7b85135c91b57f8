"""Total variation by the preconditioned primal-dual algorithm, with a given weight or one from the noise level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..likelihoods.gaussian import GaussianLikelihood


def gradient(x: Tensor) -> Tensor:
    """Forward differences along rows and columns, zero at the far edge: (..., r, c) -> (..., 2, r, c)."""
    g = torch.zeros((*x.shape[:-2], 2, *x.shape[-2:]), dtype=x.dtype, device=x.device)
    torch.sub(x[..., 1:, :], x[..., :-1, :], out=g[..., 0, :-1, :])
    torch.sub(x[..., :, 1:], x[..., :, :-1], out=g[..., 1, :, :-1])
    return g


def gradient_adjoint(g: Tensor) -> Tensor:
    """Adjoint of :func:`gradient`: (..., 2, r, c) -> (..., r, c)."""
    x = torch.zeros_like(g[..., 0, :, :])
    x[..., 1:, :] += g[..., 0, :-1, :]
    x[..., :-1, :] -= g[..., 0, :-1, :]
    x[..., :, 1:] += g[..., 1, :, :-1]
    x[..., :, :-1] -= g[..., 1, :, :-1]
    return x


def tv(likelihood: GaussianLikelihood, **options: Any) -> Tensor:
    """The last iterate of :func:`tv_steps`, same arguments."""
    last = None
    for x in tv_steps(likelihood, **options):
        last = x
    if last is None:
        raise ValueError("TV needs at least one iteration: raise the number of iterations")
    return last


def tv_steps(
    likelihood: GaussianLikelihood, *, weight: Tensor | None = None, iterations: int = 300, start: Tensor | None = None,
    nonnegative: bool = True, target: float = 1.0, pace: float = 0.03,
) -> Iterator[Tensor]:
    """min |W(Ax - y)|^2 / 2 + weight TV(x), or, without a weight, min TV(x) subject to |W(Ax - y)|^2 <= target m.

    The second form is the discrepancy principle: the weight with which the residual equals the noise.
    W = 1 / standard deviation of the noise; m readings of some weight an image; ``weight``: one value an image,
    in 1 / unit of x.
    Isotropic TV, x >= 0 if ``nonnegative``. ``pace``: ratio of primal to dual step, small because images of about 1
    meet duals of about 1 only after many rays. Where readings differ in weight, each has a dual step of its own: with
    one for all, those of little weight would need thousands of iterations.
    Yields an iterate (batch, rows, columns) a step, the last is the result.
    Sources: Chambolle and Pock, doi:10.1007/s10851-010-0251-1; step lengths, doi:10.1109/ICCV.2011.6126441.
    """
    operator, data = likelihood.operator, likelihood.data
    whitening = likelihood.variance.rsqrt()
    ones = torch.ones(tuple(operator.in_shape), dtype=data.dtype, device=data.device)
    whitened_ones = torch.ones(tuple(operator.out_shape), dtype=data.dtype, device=data.device) * whitening
    seen = operator.adjoint(whitened_ones)
    # The whitened operator is scaled so that its columns weigh about as much as those of the gradient (4).
    # Each image has its own scale, so that its result does not depend on the others of the batch.
    balance = 4.0 / seen.mean((-2, -1), keepdim=True)
    scale = whitening * balance
    tau = pace / (balance * seen + 4.0)
    step = _dual_step(pace * (scale * operator.forward(ones)), whitening)
    target_data = scale * data
    readings = (whitening > 0).expand_as(data).sum((-2, -1), keepdim=True)  # those with a weight
    radius = balance * (target * readings) ** 0.5
    x = data.new_zeros((*data.shape[:-2], *operator.in_shape)) if start is None else start
    p, q, ahead = torch.zeros_like(data), gradient(torch.zeros_like(x)), x
    for _ in range(iterations):
        p = p + step * (scale * operator.forward(ahead) - target_data)
        if weight is None:
            p = _discrepancy(p, step, radius)
        else:
            p = p / (1 + step * balance**2 * weight.to(p).reshape(-1, 1, 1))
        q = q + (0.5 / pace) * gradient(ahead)
        q = q / q.square().sum(-3, keepdim=True).sqrt().clamp_min(1.0)
        new = x - tau * (operator.adjoint(scale * p) + gradient_adjoint(q))
        if nonnegative:
            new = new.clamp_min(0)
        ahead, x = 2 * new - x, new
        yield x


def _dual_step(rows: Tensor, whitening: Tensor) -> Tensor:
    """1 / ``rows``, the sums of each row of the operator: their largest for all of an image whose weights are equal."""
    largest = rows.amax((-2, -1), keepdim=True)
    weights = whitening.expand_as(rows)
    least = torch.where(weights > 0, weights, torch.inf).amin((-2, -1), keepdim=True)
    uneven = weights.amax((-2, -1), keepdim=True) > least
    if not bool(uneven.any()):
        return 1.0 / largest
    # A ray that misses the image, or has no weight, has no row of its own.
    return 1.0 / torch.where(uneven & (rows > 0), rows, largest)


def _discrepancy(p: Tensor, step: Tensor, radius: Tensor, iterations: int = 8) -> Tensor:
    """The dual variable after its step: that of the ball |u| <= ``radius`` around the scaled data.

    p (1 - 1 / (1 + l / step)) with the multiplier l >= 0 for which |p / (step + l)| = radius, 0 inside of the ball;
    found by Newton's method on 1 / |p / (step + l)|, which is concave in l and straight where all steps are equal.
    """
    length = p.square().sum((-2, -1), keepdim=True).sqrt().clamp_min(1e-30)
    if step.shape[-2:] == (1, 1):
        return p * (1 - step * radius / length).clamp_min(0)
    multiplier = (length / radius - step.amax((-2, -1), keepdim=True)).clamp_min(0)
    for _ in range(iterations):
        away = p / (step + multiplier)
        norm = away.square().sum((-2, -1), keepdim=True).sqrt().clamp_min(1e-10)
        slope = (away.square() / (step + multiplier)).sum((-2, -1), keepdim=True) / norm**3
        multiplier = (multiplier + (1 / radius - 1 / norm) / slope.clamp_min(1e-30)).clamp_min(0)
    return p * multiplier / (step + multiplier)
