"""What every CT projector shares: shapes, checks, and gradients through the explicit transpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .ct_geometry import CTGeometry, ImageGrid


class Projector:
    """y = A x and its transpose; a subclass gives the two products, ``_forward`` and ``_adjoint``."""

    _forward: Callable[[Tensor], Tensor]
    _adjoint: Callable[[Tensor], Tensor]

    def __init__(self, geometry: CTGeometry, grid: ImageGrid, device: torch.device, dtype: torch.dtype,
                 interpolation: str) -> None:
        self.geometry, self.grid, self.device, self.dtype = geometry, grid, device, dtype
        self.interpolation = interpolation
        self.in_shape = (grid.rows, grid.columns)
        self.out_shape = (geometry.views, geometry.detector_count)

    def forward(self, x: Tensor) -> Tensor:
        """Line integrals of images x (..., rows, columns): 1/mm in, none out.

        Raises ValueError on a wrong shape, dtype or device.
        """
        check_argument(x, self.in_shape, self.dtype, self.device)
        return LinearMap.apply(x, self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        """A' y for data y (..., views, detectors). Raises ValueError on a wrong shape, dtype or device."""
        check_argument(y, self.out_shape, self.dtype, self.device)
        return LinearMap.apply(y, self._adjoint, self._forward)

    def subset(self, index: slice | Tensor) -> Projector:
        """The projector of some views, of the same kind."""
        chosen = np.asarray(self.geometry.angles_rad)[index if isinstance(index, slice) else index.cpu().numpy()]
        geometry = replace(self.geometry, angles_rad=tuple(chosen.tolist()))
        return type(self)(geometry, self.grid, self.device, self.dtype, self.interpolation)


class LinearMap(torch.autograd.Function):
    """A linear map whose gradient is its given transpose: autograd never walks through the sparse product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, apply: Callable[[Tensor], Tensor],
                transpose: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.maps = (apply, transpose)
        return apply(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        apply, transpose = ctx.maps
        return LinearMap.apply(gradients[0], transpose, apply), None, None


def check_argument(x: Tensor, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
    """Refuse an array of another trailing shape, dtype or device than the projector's, in one sentence."""
    if x.ndim < 2 or tuple(x.shape[-2:]) != shape:
        raise ValueError(f"The projector expected an array of shape (..., {shape[0]}, {shape[1]}), found "
                         f"{tuple(x.shape)}: use the geometry and grid that the array was made with.")
    if x.dtype != dtype or x.device.type != device.type:
        raise ValueError(f"The projector works in {dtype} on {device}, found {x.dtype} on {x.device}: convert the "
                         "array or make the projector with that dtype and device.")
