"""The contract of a linear measurement operator."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class LinearOperator(Protocol):
    """y = A x, with its true adjoint: <A x, y> = <x, A' y> for the very same discretisation.

    ``in_shape`` and ``out_shape`` are the trailing dimensions of image and data; every leading dimension is
    a batch. Nothing is written in place; the result has the dtype and device of the argument.
    """

    @property
    def in_shape(self) -> tuple[int, ...]: ...

    @property
    def out_shape(self) -> tuple[int, ...]: ...

    def forward(self, x: Tensor) -> Tensor: ...

    def adjoint(self, y: Tensor) -> Tensor: ...
