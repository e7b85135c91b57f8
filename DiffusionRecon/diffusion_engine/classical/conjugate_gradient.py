"""Conjugate gradients on a batch of images, each with scalars and a stop of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..physics.operator import LinearOperator


def image_dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product Re <a, b> of each image (last two axes), shaped to broadcast against the images; real."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    return product.sum(dim=(-2, -1), keepdim=True)


def conjugate_gradient(
    system: Callable[[Tensor], Tensor], right: Tensor, iterations: int, tolerance: float = 0.0
) -> Tensor:
    """Solve M x = b for a symmetric (complex: Hermitian) positive definite M, from x = 0.

    ``right``: (..., rows, columns). An image stops when |b - M x| < ``tolerance`` |b|; all stop after
    ``iterations``. Source: Hestenes and Stiefel, doi:10.6028/jres.049.044.
    """
    x = torch.zeros_like(right)
    residual, direction = right, right
    square = image_dot(residual, residual)
    floor = square * tolerance**2
    for _ in range(iterations):
        active = square > floor
        if not bool(active.any()):
            break
        image = system(direction)
        curvature = image_dot(direction, image)
        step = torch.where(active & (curvature > 0), square / curvature.clamp_min(torch.finfo(x.dtype).tiny), 0.0)
        x = x + step * direction
        residual = residual - step * image
        new = image_dot(residual, residual)
        direction = residual + torch.where(active, new / square.clamp_min(torch.finfo(x.dtype).tiny), 0.0) * direction
        square = torch.where(active, new, square)
    return x


def cgls(operator: LinearOperator, data: Tensor, iterations: int = 20) -> Tensor:
    """Least squares argmin |A x - y|^2 by conjugate gradients on A'A x = A'y; few iterations regularise.

    ``data``: (..., *out_shape); returns (..., rows, columns) in the unit of the operator's images.
    """
    return conjugate_gradient(lambda x: operator.adjoint(operator.forward(x)), operator.adjoint(data), iterations)
