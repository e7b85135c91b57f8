"""Reconstructions of linear complex data without a prior: zero-filled and conjugate-gradient SENSE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..likelihoods.conjugate_gradient import conjugate_gradient_steps, ratio
from ..likelihoods.gaussian import GaussianLikelihood, ScaledOperator
from ..physics.operator import LinearOperator, Rows, normal

TOLERANCE = 1e-4
"""Of the gradient, in parts of its start: below it rounding grows in what was not measured."""


def zero_filled(likelihood: GaussianLikelihood) -> Tensor:
    """A' y: the coils' images of the data with zeros elsewhere, combined by their maps: (batch, rows, columns)."""
    return likelihood.operator.adjoint(likelihood.data)


def cg_sense_steps(
    likelihood: GaussianLikelihood, *, iterations: int = 20, tolerance: float = TOLERANCE
) -> Iterator[Tensor]:
    """Conjugate gradients on A' V^-1 A x = A' V^-1 y, from x = 0.

    Nothing is added that keeps noise small: stopping early is all its regularisation. The error against the truth falls
    for some iterations and then grows, the sooner the more data are missing and the noisier they are; the likelihood's
    residual tells when the data are met. An image whose gradient is ``tolerance`` of its start goes no further. Yields
    an iterate (batch, rows, columns) a step, the last is the result.
    Sources: Pruessmann et al., doi:10.1002/mrm.1241; Qu et al. on stopping, doi:10.1002/mrm.20648.
    """
    scaled = scaled_problem(likelihood)
    yield from conjugate_gradient_steps(
        lambda x: normal(likelihood.operator, x, scaled.variance), scaled.adjoint, iterations, tolerance
    )


class ScaledProblem(NamedTuple):
    """|W (A x - y)|^2 / 2 with W'W = v0 / V, v0 the least variance, so that equal noise has weight 1.

    ``variance``: V / v0; ``adjoint``: b = A' W'W y; ``largest``: max |b|, of each image (batch, 1, 1).
    """

    variance: Tensor
    adjoint: Tensor
    largest: Tensor


def scaled_problem(likelihood: GaussianLikelihood) -> ScaledProblem:
    """The data term that weights of penalties are relative to."""
    own = likelihood.variance.ndim == likelihood.data.ndim
    axes = tuple(range(1 if own else 0, likelihood.variance.ndim))  # images of their own variance have their own v0
    variance = likelihood.variance / (likelihood.variance.amin(axes, keepdim=True) if axes else likelihood.variance)
    adjoint = likelihood.operator.adjoint(likelihood.data / variance)
    return ScaledProblem(variance, adjoint, adjoint.abs().amax((-2, -1), keepdim=True))


@runtime_checkable
class BoundedOperator(Protocol):
    """An operator that knows a bound of |A|^2, of each image or of all: (images or 1, 1, 1)."""

    @property
    def squared_norm(self) -> Tensor: ...


def eigenvalue_bound(operator: LinearOperator) -> Tensor:
    """What no eigenvalue of A' W'W A exceeds, for each image or for all: (images or 1, 1, 1).

    The operator's own bound of |A|^2, as no weight exceeds 1; of scaled operators and of some views the same from the
    whole. Raises ValueError for an operator that knows none.
    """
    if isinstance(operator, ScaledOperator):
        return eigenvalue_bound(operator.operator) * operator.scale**2
    if isinstance(operator, Rows):
        return eigenvalue_bound(operator.operator)
    if not isinstance(operator, BoundedOperator):
        raise ValueError(f"expected an operator with a bound of its norm, found {type(operator).__name__}")
    return operator.squared_norm


def ratio_of(x: Tensor, size: Tensor) -> Tensor:
    """x / size, 0 where the size is 0."""
    return x * ratio(torch.ones_like(size), size)
