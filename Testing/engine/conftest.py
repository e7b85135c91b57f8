"""What several engine tests share: a small dense operator, a chest, a tiny prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.volume import Volume
from torch import Tensor


@dataclass(frozen=True, eq=False)
class DenseOperator:
    """A matrix as a measurement operator: images (rows, columns) to data (views, detectors)."""

    matrix: Tensor
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(-2) @ self.matrix.T).unflatten(-1, self.out_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        return (y.flatten(-2) @ self.matrix).unflatten(-1, self.in_shape)


@pytest.fixture
def dense() -> Callable[..., DenseOperator]:
    """A random matrix of a given seed as an operator, float64; ``positive``: entries from 0 to 1."""

    def make(
        in_shape: tuple[int, int], out_shape: tuple[int, int], seed: int = 0, positive: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> DenseOperator:
        generator = torch.Generator().manual_seed(seed)
        size = (out_shape[0] * out_shape[1], in_shape[0] * in_shape[1])
        matrix = torch.rand(size, generator=generator) if positive else torch.randn(size, generator=generator)
        return DenseOperator(matrix.to(dtype), in_shape, out_shape)

    return make


@pytest.fixture(scope="session")
def chest() -> Volume:
    """Two slices of the synthetic chest, 96 x 96 pixels of 4 mm."""
    return synthetic_chest((2, 96, 96), (10.0, 4.0, 4.0))[0]
