"""The conditional mean under an expensive covariance, to an accuracy asked for: minimal residuals over all directions.

    x + C A' w,  (V + A C A') w = y - A x

A whitened residual r leaves the error C A' V^-1/2 M^-1 r in the image, M = I + V^-1/2 A C A' V^-1/2. With a cheap
``approximation`` in place of C this error is a search direction that the iteration computes anyway. So the error of the
present solution is estimated before another product with C is spent (measured: to 30 % where C is uneven).

Source: generalised conjugate residuals, doi:10.1137/0720023, preconditioned from the right and flexibly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..physics.operator import LinearOperator
from .conjugate_gradient import conjugate_gradient, item_dot, ratio

Covariance = Callable[[Tensor], Tensor]
"""C v of images (batch, rows, columns), each with a covariance of its own."""

LEAST, SMALL = 2, 1e-3
"""At least so many products are taken, unless the residual falls to this share: the choice between images far apart
is a common shift of many pixels, which is small in each of them."""


@dataclass(frozen=True)
class SolveSettings:
    """Accuracy of a system with an expensive covariance: ``products`` with it at most; inner iterations of scans only.

    Raises ValueError for fewer than one product.
    """

    products: int = 3
    tolerance: float = 1e-3
    inner_iterations: int | Tensor = 15
    inner_tolerance: float = 1e-2

    def __post_init__(self) -> None:
        if self.products < 1:
            raise ValueError(f"expected 1 product with the Jacobian or more, found {self.products}: change the option")


@dataclass(frozen=True, eq=False)
class Solved:
    """Images (batch, rows, columns), the ``products`` with C that they took, and the largest ``error`` left in them.

    ``error``: root mean square over an image, estimated, in the unit of the images.
    """

    image: Tensor
    products: int
    error: float


def minimal_residual_mean(
    operator: LinearOperator, data: Tensor, variance: Tensor, x: Tensor, covariance: Covariance,
    approximation: Covariance, settings: SolveSettings, allowed: float,
) -> Solved:
    """x + C A' w of each image, until its estimated error is at most ``allowed``, or after settings.products.

    ``data`` and noise ``variance`` as in :class:`.gaussian.GaussianLikelihood`; at least LEAST products. An image that
    is done stays as it is while others of the batch go on.
    """
    whiten = variance.rsqrt()

    def approximate(v: Tensor) -> Tensor:
        return v + whiten * operator.forward(approximation(operator.adjoint(whiten * v)))

    residual = whiten * (data - operator.forward(x))
    floor = item_dot(residual, residual).flatten() * SMALL**2
    kept: list[tuple[Tensor, Tensor]] = []
    while True:
        towards = conjugate_gradient(
            approximate, residual, settings.inner_iterations, settings.inner_tolerance, item_dot
        )
        error = _size(approximation(operator.adjoint(whiten * towards)))
        unfinished = error > allowed
        if len(kept) < LEAST:
            unfinished = unfinished | (item_dot(residual, residual).flatten() > floor)
        if len(kept) == settings.products or not bool(unfinished.any()):
            return Solved(x, len(kept), float(error.max()))
        lifted = covariance(operator.adjoint(whiten * towards))
        image = towards + whiten * operator.forward(lifted)
        for raised, seen in kept:
            share = ratio(item_dot(image, seen), item_dot(seen, seen))
            lifted, image = lifted - _beside(share, x) * raised, image - share * seen
        kept.append((lifted, image))
        step = ratio(item_dot(image, residual), item_dot(image, image)) * _beside(unfinished, residual)
        x = x + _beside(step, x) * lifted
        residual = residual - step * image


def _beside(scalars: Tensor, x: Tensor) -> Tensor:
    """One scalar an item, shaped to broadcast against ``x``."""
    return scalars.reshape(-1, *([1] * (x.ndim - 1)))


def _size(x: Tensor) -> Tensor:
    """Root mean square of each image: (batch,)."""
    return (item_dot(x, x).flatten() / x[0].numel()).sqrt()
