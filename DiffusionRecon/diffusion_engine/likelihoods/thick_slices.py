"""Thick slices as the measurement of thin ones: super-resolution along z.

    y_k = (x_(f k) + ... + x_(f k + f - 1)) / f + n,   A A' = I / f

Its proximal step is exact in one go: z = x + A' (y - A x) / (1 / f + v / g). Unlike other measurements it ties the
slices of a batch. Source of the task: two perpendicular models (TPDM), arXiv:2303.08440, which estimate thin slices.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .gaussian import GaussianLikelihood
from .root import Root


@dataclass(frozen=True)
class SliceMeans:
    """Means of ``factor`` slices that follow each other: (slices, rows, columns) -> (slices / factor, rows, columns).

    Raises ValueError for a factor below 1 or a stack that it does not divide.
    """

    shape: tuple[int, int]
    factor: int

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"expected thick slices of 1 thin one or more, found {self.factor}")

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.shape

    def forward(self, x: Tensor) -> Tensor:
        if len(x) % self.factor:
            raise ValueError(f"{len(x)} slices are no whole number of thick ones of {self.factor}: leave some out")
        return x.unflatten(0, (-1, self.factor)).mean(1)

    def adjoint(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(self.factor, 0) / self.factor


@dataclass(frozen=True, eq=False)
class ThickSlices(GaussianLikelihood):
    """The Gaussian likelihood of thin slices (slices, rows, columns) whose :class:`SliceMeans` are the ``data``.

    ``variance``: of a thick slice's pixel, one number for all.
    """

    def proximal(
        self, x: Tensor, prior_variance: float | Tensor | Root, iterations: int | Tensor = 8, tolerance: float = 1e-3
    ) -> Tensor:
        """argmin_z |z - x|^2 / (2 g) + sum (y - A z)^2 / (2 v), exactly; raises ValueError unless g is a number."""
        if isinstance(prior_variance, (Tensor, Root)):
            raise ValueError(
                "thick slices expect one variance of the prior for all voxels, found a map of it: use a method without "
                "local variances"
            )
        operator = self.operator
        share = 1 / getattr(operator, "factor", 1) + self.variance / prior_variance
        return x + operator.adjoint((self.data - operator.forward(x)) / share)


def thick_slices(data: Tensor, factor: int, noise_std: float) -> ThickSlices:
    """The likelihood of ``factor`` thin slices for each of ``data`` (slices, rows, columns), noise of ``noise_std``."""
    rows, columns = data.shape[-2:]
    return ThickSlices(SliceMeans((rows, columns), factor), data, data.real.new_tensor(noise_std**2))
