"""Conjugate gradients on a batch of images or data, each item with scalars of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def image_dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product Re <a, b> of each image (last two axes), shaped to broadcast against the images; real."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    return product.sum(dim=(-2, -1), keepdim=True)


def item_dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product Re <a, b> of each item of a batch (first axis) of any shape, shaped to broadcast against it."""
    return (a.conj() * b).real.sum(tuple(range(1, a.ndim)), keepdim=True)


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, and 0 where the divisor is not positive."""
    return torch.where(below > 0, above / below.clamp_min(torch.finfo(below.dtype).tiny), 0.0)


def conjugate_gradient(
    system: Callable[[Tensor], Tensor], right: Tensor, iterations: int, tolerance: float = 0.0,
    dot: Callable[[Tensor, Tensor], Tensor] = image_dot,
) -> Tensor:
    """Solve M x = b for a symmetric (complex: Hermitian) positive definite M, from x = 0.

    ``right``: (..., rows, columns), or another shape that the inner product ``dot`` takes. Each item stops on its own
    when |b - M x| < ``tolerance`` |b|; all stop after ``iterations``. Source: Hestenes and Stiefel,
    doi:10.6028/jres.049.044.
    """
    x = torch.zeros_like(right)
    for found in conjugate_gradient_steps(system, right, iterations, tolerance, dot):
        x = found
    return x


def conjugate_gradient_steps(
    system: Callable[[Tensor], Tensor], right: Tensor, iterations: int, tolerance: float = 0.0,
    dot: Callable[[Tensor, Tensor], Tensor] = image_dot,
) -> Iterator[Tensor]:
    """The iterates of :func:`conjugate_gradient`, same arguments; none where every item is done at its start."""
    x = torch.zeros_like(right)
    residual, direction = right, right
    square = dot(residual, residual)
    floor = square * tolerance**2
    for _ in range(iterations):
        active = square > floor
        if not bool(active.any()):
            break
        image = system(direction)
        step = torch.where(active, ratio(square, dot(direction, image)), 0.0)
        x = x + step * direction
        residual = residual - step * image
        new = dot(residual, residual)
        direction = residual + torch.where(active, ratio(new, square), 0.0) * direction
        square = torch.where(active, new, square)
        yield x
