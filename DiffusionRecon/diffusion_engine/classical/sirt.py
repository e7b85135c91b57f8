"""Simultaneous iterative reconstruction (SIRT)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..physics.operator import LinearOperator


def sirt(
    operator: LinearOperator, data: Tensor, iterations: int = 100, start: Tensor | None = None, nonnegative: bool = True
) -> Tensor:
    """x <- max(x + C A' R (y - A x), 0), R = 1 / (A 1), C = 1 / (A' 1).

    ``data``: (..., *out_shape); returns (..., rows, columns). Source: Gilbert, doi:10.1016/0022-5193(72)90180-4.
    """
    lead = data.shape[: data.ndim - len(operator.out_shape)]
    x = data.new_zeros((*lead, *operator.in_shape)) if start is None else start
    rows, columns = row_column_weights(operator, data)
    for _ in range(iterations):
        x = x + columns * operator.adjoint(rows * (data - operator.forward(x)))
        if nonnegative:
            x = x.clamp_min(0)
    return x


def row_column_weights(operator: LinearOperator, like: Tensor) -> tuple[Tensor, Tensor]:
    """(1 / A 1, 1 / A' 1), zero where a ray misses the image or a pixel is never seen."""
    through = operator.forward(torch.ones(tuple(operator.in_shape), dtype=like.dtype, device=like.device))
    seen = operator.adjoint(torch.ones(tuple(operator.out_shape), dtype=like.dtype, device=like.device))
    return _inverse(through), _inverse(seen)


def _inverse(x: Tensor) -> Tensor:
    small = x.max() * 1e-6
    return torch.where(x > small, 1 / x.clamp_min(torch.finfo(x.dtype).tiny), 0.0)
