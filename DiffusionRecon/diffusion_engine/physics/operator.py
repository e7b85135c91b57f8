"""The contract of a linear measurement operator, and of those whose singular values are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class SpectralOperator(Protocol):
    """A linear operator A = U S V' whose singular vectors are a fast transform.

    ``to_spectral`` is V' x and ``from_spectral`` its inverse V c, both unitary; ``singular_values``: S >= 0 in the
    shape of the spectral image, zero where a coefficient is unmeasured; ``data_to_spectral``: S^+ U' y, the
    coefficients that the data stand for (noise of standard deviation s / S_i), zero where unmeasured.
    """

    @property
    def in_shape(self) -> tuple[int, ...]: ...

    @property
    def out_shape(self) -> tuple[int, ...]: ...

    @property
    def singular_values(self) -> Tensor: ...

    def forward(self, x: Tensor) -> Tensor: ...

    def adjoint(self, y: Tensor) -> Tensor: ...

    def to_spectral(self, x: Tensor) -> Tensor: ...

    def from_spectral(self, c: Tensor) -> Tensor: ...

    def data_to_spectral(self, y: Tensor) -> Tensor: ...


@runtime_checkable
class SubsetOperator(Protocol):
    """An operator that can make itself for some of its views, at a cost of those views alone."""

    def subset(self, index: slice | Tensor) -> LinearOperator: ...


@runtime_checkable
class OperatorOfImages(Protocol):
    """An operator that differs from image to image of a batch."""

    def of_images(self, index: slice | Tensor) -> LinearOperator: ...


@runtime_checkable
class NormalOperator(Protocol):
    """An operator whose A' V^-1 A costs less than its two factors; ``variance``: broadcastable to the data."""

    def normal(self, x: Tensor, variance: Tensor) -> Tensor: ...


@runtime_checkable
class BoundedSupport(Protocol):
    """An operator that knows where images can be other than 0: ``support``, bool (images or 1, rows, columns)."""

    @property
    def support(self) -> Tensor: ...


@runtime_checkable
class ChannelOperator(Protocol):
    """Channels that see the image times weights of their own, each by the same orthonormal scan, part of it measured.

    ``maps``: the weights (images or 1, channels, rows, columns); ``squared_norm``: the largest sum of their squares,
    (images or 1, 1, 1); ``put_back``: images of the channels (..., channels, rows, columns) with what was measured of
    them in place of what they would have given.
    """

    @property
    def maps(self) -> Tensor: ...

    @property
    def squared_norm(self) -> Tensor: ...

    def put_back(self, images: Tensor, data: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Rows:
    """Some views of an operator: costs as much as all of them, for operators that are not a SubsetOperator."""

    operator: LinearOperator
    index: slice | Tensor
    views: int

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.operator.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        shape = list(self.operator.out_shape)
        shape[self.view_axis] = self.views
        return tuple(shape)

    @property
    def view_axis(self) -> int:
        return view_axis(self.operator)

    def forward(self, x: Tensor) -> Tensor:
        return taken(self.operator.forward(x), self.index, self.view_axis)

    def adjoint(self, y: Tensor) -> Tensor:
        whole = y.new_zeros((*y.shape[: y.ndim - len(self.out_shape)], *self.operator.out_shape))
        whole[along(self.index, self.view_axis)] = y
        return self.operator.adjoint(whole)

    def of_images(self, index: slice | Tensor) -> Rows:
        """The same views of some images."""
        return replace(self, operator=of_images(self.operator, index))


def view_axis(operator: LinearOperator) -> int:
    """The axis of the data, from the end, along which its views lie: the operator's own, the second last unless named.

    Views are what a subset is made of: projections, spokes, coils.
    """
    return int(getattr(operator, "view_axis", -2))


def of_images(operator: LinearOperator, index: slice | Tensor) -> LinearOperator:
    """The operator of some images of the batch: itself unless it differs from image to image."""
    return operator.of_images(index) if isinstance(operator, OperatorOfImages) else operator


def normal(operator: LinearOperator, x: Tensor, variance: Tensor) -> Tensor:
    """A' V^-1 A x, by the operator's own product where it has one."""
    if isinstance(operator, NormalOperator):
        return operator.normal(x, variance)
    return operator.adjoint(operator.forward(x) / variance)


def on_support(operator: LinearOperator, x: Tensor) -> Tensor:
    """Images (..., rows, columns) within the support of the operator, or of the one it wraps; 0 outside.

    Themselves where neither knows of one.
    """
    while not isinstance(operator, BoundedSupport):
        inner = getattr(operator, "operator", None)
        if inner is None:
            return x
        operator = inner
    return x * operator.support


def along(index: slice | Tensor, axis: int) -> tuple[Any, ...]:
    """The key of ``index`` along an axis that is counted from the end."""
    return (..., index, *[slice(None)] * (-axis - 1))


def taken(values: Tensor, index: slice | Tensor, axis: int) -> Tensor:
    """Some entries of ``values`` along an axis that is counted from the end."""
    return values[along(index, axis)]


def some_views(operator: LinearOperator, index: slice | Tensor) -> LinearOperator:
    """The operator of the views ``index`` along :func:`view_axis` of the data; ValueError where there are none."""
    total = operator.out_shape[view_axis(operator)]
    count = len(range(total)[index]) if isinstance(index, slice) else index.numel()
    if count == 0:
        raise ValueError(f"the subset holds none of the {total} views: use fewer subsets")
    return operator.subset(index) if isinstance(operator, SubsetOperator) else Rows(operator, index, count)
