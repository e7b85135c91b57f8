"""What a solver that follows gradients asks of a likelihood, linear or not."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..physics.operator import LinearOperator


class SmoothLikelihood(Protocol):
    """The least that a solver asks of a noise model: -log p(y | x) up to a constant, and its gradient.

    ``x``: (batch, rows, columns); ``misfit`` returns (batch,), ``gradient`` the shape of ``x``.
    """

    def misfit(self, x: Tensor) -> Tensor: ...

    def gradient(self, x: Tensor) -> Tensor: ...


class Likelihood(SmoothLikelihood, Protocol):
    """-log p(y | x) up to a constant, of images x (batch, rows, columns).

    ``misfit`` (batch,) is zero where x explains the data exactly and about half the number of readings where noise
    alone remains; ``gradient`` is its derivative; ``curvature`` holds weights w, in the shape of the data, such that
    A' diag(w) A is its (expected) Hessian; ``subset`` is the likelihood of some views.
    """

    @property
    def operator(self) -> LinearOperator: ...

    @property
    def data(self) -> Tensor: ...

    def curvature(self, x: Tensor) -> Tensor: ...

    def residual_ratio(self, x: Tensor) -> Tensor: ...

    def subset(self, index: slice | Tensor) -> Likelihood: ...


def weighted_readings(likelihood: Likelihood, x: Tensor) -> Tensor:
    """How many readings of each image have a weight at ``x``, (batch, 1, 1): what was not measured has none."""
    return (likelihood.curvature(x) > 0).flatten(1).sum(1)[:, None, None]


def stiffness(likelihood: Likelihood, x: Tensor, iterations: int = 12) -> Tensor:
    """Largest eigenvalue of the Hessian A' diag(w) A at ``x`` for each image, (batch, 1, 1), by power iteration.

    Deterministic: starts from a constant image, which positive operators change little. It is the unit of step lengths,
    so that an error of a few per cent does no harm.
    """
    weights, operator = likelihood.curvature(x), likelihood.operator
    vector = x.new_ones(x.shape)
    value = vector.new_ones((*x.shape[:-2], 1, 1)).real
    for _ in range(iterations):
        vector = vector / vector.abs().square().sum((-2, -1), keepdim=True).sqrt()
        vector = operator.adjoint(weights * operator.forward(vector))
        value = vector.abs().square().sum((-2, -1), keepdim=True).sqrt()
        if not bool((value > 0).all()):
            raise ValueError("the measurement does not see a constant image: check that the geometry meets the grid")
    return value
