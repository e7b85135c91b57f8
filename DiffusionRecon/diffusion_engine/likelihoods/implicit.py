"""The proximal step of a likelihood as a function with a gradient, by implicit differentiation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .gaussian import GaussianLikelihood


def proximal(
    likelihood: GaussianLikelihood, x: Tensor, prior_variance: float, iterations: int = 8, tolerance: float = 1e-3
) -> Tensor:
    """:meth:`GaussianLikelihood.proximal` of ``x`` (batch, rows, columns), differentiable in ``x``.

    With M = I + g A' V^-1 A the result is M^-1 (x + g A' V^-1 y), so the gradient in ``x`` is M^-1 times the one in the
    result: another solve of the same kind, with data of zero.
    """
    result: Tensor = _Proximal.apply(x, likelihood, prior_variance, iterations, tolerance)
    return result


class _Proximal(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, likelihood: GaussianLikelihood, prior_variance: float, iterations: int, tolerance: float
    ) -> Tensor:
        ctx.likelihood, ctx.how = likelihood, (prior_variance, iterations, tolerance)
        return likelihood.proximal(x, prior_variance, iterations, tolerance)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        homogeneous = replace(ctx.likelihood, data=torch.zeros_like(ctx.likelihood.data))
        return homogeneous.proximal(slopes[0], *ctx.how), None, None, None, None
