"""Simultaneous iterative reconstruction (SIRT), and its acceleration by ordered subsets of views (OS-SART)."""

from __future__ import annotations

from collections.abc import Sequence

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


def os_sart(
    operators: Sequence[LinearOperator], data: Sequence[Tensor], passes: int = 10, start: Tensor | None = None,
    nonnegative: bool = True,
) -> Tensor:
    """The update of :func:`sirt` with one subset of views after the other: x <- max(x + C_s A_s' R_s (y_s - A_s x), 0).

    ``operators``: A_s, one a subset, such as the projectors of every eighth view; ``data``: y_s in the same order,
    (..., *out_shape). A pass visits every subset once, costs as much as an iteration of SIRT and goes about as far as
    one a subset. Inconsistent data end in a cycle, not a point. Raises ValueError when subsets and data do not match.
    Source: Wang and Jiang, doi:10.3233/XST-2004-00094.
    """
    if not operators or len(operators) != len(data):
        raise ValueError(
            f"expected the data of each subset of views, found {len(operators)} operators and {len(data)} data: "
            "give one operator and one tensor a subset"
        )
    x = start
    for _ in range(passes):
        for operator, part in zip(operators, data, strict=True):
            x = sirt(operator, part, 1, x, nonnegative)
    if x is None:
        raise ValueError("OS-SART needs at least one pass: raise the number of passes")
    return x


def row_column_weights(operator: LinearOperator, like: Tensor) -> tuple[Tensor, Tensor]:
    """(1 / A 1, 1 / A' 1), zero where a ray misses the image or a pixel is never seen."""
    through = operator.forward(torch.ones(tuple(operator.in_shape), dtype=like.dtype, device=like.device))
    seen = operator.adjoint(torch.ones(tuple(operator.out_shape), dtype=like.dtype, device=like.device))
    return _inverse(through), _inverse(seen)


def _inverse(x: Tensor) -> Tensor:
    small = x.max() * 1e-6
    return torch.where(x > small, 1 / x.clamp_min(torch.finfo(x.dtype).tiny), 0.0)
