"""The CT projector without a stored matrix: weights are made for a few views, used and dropped, on any device."""

from __future__ import annotations

import scipy.sparse
import torch
from torch import Tensor

from .ct_geometry import CTGeometry, ImageGrid
from .ct_matrix import joseph_matrix
from .joseph import TAPS, index_rays, joseph_entries
from .projector import Projector

_CHUNK_ENTRIES = 4_000_000  # weights alive at a time; about 40 bytes each while they are made


class OnTheFlyProjector(Projector):
    """y = A x with the same weights as MatrixProjector, in memory that does not grow with the number of views.

    forward maps (..., rows, columns) in 1/mm to (..., views, detectors), adjoint is its transpose; both are
    differentiable to any order.
    """

    def __init__(self, geometry: CTGeometry, grid: ImageGrid, device: torch.device, dtype: torch.dtype,
                 interpolation: str = "linear") -> None:
        super().__init__(geometry, grid, device, dtype, interpolation)
        self._by_scipy = device.type == "cpu"  # its products beat torch's scattered sums there
        width = TAPS[interpolation] * max(grid.rows, grid.columns) * geometry.detector_count
        step = max(1, _CHUNK_ENTRIES // width)
        self._chunks = [slice(v, min(v + step, geometry.views)) for v in range(0, geometry.views, step)]

    def _forward(self, x: Tensor) -> Tensor:
        pixels = x.reshape(-1, self.grid.rows * self.grid.columns).t().contiguous()
        parts = []
        for views in self._chunks:
            if self._by_scipy:
                parts.append(torch.from_numpy(self._matrix(views) @ pixels.numpy()))
            else:
                index, weight = self._entries(views)
                parts.append(torch.nn.functional.embedding_bag(index, pixels, mode="sum", per_sample_weights=weight))
        return torch.cat(parts).t().contiguous().reshape(*x.shape[:-2], *self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        count = self.geometry.detector_count
        data = y.reshape(-1, self.geometry.views * count).t().contiguous()
        image = data.new_zeros((self.grid.rows * self.grid.columns, data.shape[1]))
        for views in self._chunks:
            part = data[views.start * count:views.stop * count]
            if self._by_scipy:
                image += torch.from_numpy(self._matrix(views).T @ part.numpy())
            else:
                index, weight = self._entries(views)
                for column in range(data.shape[1]):  # one slice at a time: the products need the weights' memory again
                    image[:, column].index_add_(0, index.flatten(), (weight * part[:, column, None]).flatten())
        return image.t().contiguous().reshape(*y.shape[:-2], *self.in_shape)

    def _matrix(self, views: slice) -> scipy.sparse.csr_matrix:
        return joseph_matrix(self.geometry, self.grid, self.dtype, views, self.interpolation)

    def _entries(self, views: slice) -> tuple[Tensor, Tensor]:
        # positions need float64, which Apple's GPUs lack: make the weights on the CPU there
        maker = torch.device("cpu") if self.device.type == "mps" else self.device
        rays = index_rays(self.geometry, self.grid, views)
        index, weight = joseph_entries(rays, self.grid, self.dtype, maker, self.interpolation)
        return index.to(self.device), weight.to(self.device)
