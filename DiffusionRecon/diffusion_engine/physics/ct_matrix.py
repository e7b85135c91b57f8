"""The CT projector as a sparse system matrix and its stored transpose: fastest where the views are few."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from .ct_geometry import CTGeometry, ImageGrid
from .joseph import IndexRays, index_rays, joseph_entries
from .projector import Projector

_BLOCK = 1 << 15  # crossings made at a time: larger starts torch's threads, smaller costs calls
_BAG_BATCH = 4  # from this batch on embedding_bag beats the CSR product
_BATCH = 32  # slices a product: wider rows fall out of the cache


class SparseProduct:
    """One sparse matrix of shape (rows, columns) times a dense stack of shape (columns, batch).

    On a CPU with MKL a single vector goes through torch's CSR product, everything else through embedding_bag,
    which measured faster from a batch of about four on and exists on every device.
    """

    def __init__(self, matrix: scipy.sparse.csr_matrix, device: torch.device) -> None:
        self.shape: tuple[int, int] = matrix.shape
        self._starts = torch.from_numpy(matrix.indptr).to(device)
        self._indices = torch.from_numpy(matrix.indices).to(device)
        self._values = torch.from_numpy(matrix.data).to(device)
        self._csr: Tensor | None = None
        if device.type == "cpu" and _csr_product_works():
            with warnings.catch_warnings():  # torch calls its CSR layout a beta feature, once a process
                warnings.simplefilter("ignore", UserWarning)
                self._csr = torch.sparse_csr_tensor(self._starts, self._indices, self._values, size=self.shape,
                                                    check_invariants=False)

    @property
    def bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self._starts, self._indices, self._values))

    def __call__(self, x: Tensor) -> Tensor:
        if self._csr is not None and x.shape[1] < _BAG_BATCH:
            return self._csr @ x
        return torch.nn.functional.embedding_bag(self._indices, x, self._starts, mode="sum",
                                                 per_sample_weights=self._values, include_last_offset=True)


class MatrixProjector(Projector):
    """y = A x with Joseph's weights in mm; forward (..., rows, columns) -> (..., views, detectors), and its transpose.

    Takes about 16 bytes a non-zero weight in float32, 24 in float64. Differentiable to any order.
    """

    def __init__(self, geometry: CTGeometry, grid: ImageGrid, device: torch.device, dtype: torch.dtype,
                 interpolation: str = "linear") -> None:
        super().__init__(geometry, grid, device, dtype, interpolation)
        matrix = joseph_matrix(geometry, grid, dtype, interpolation=interpolation)
        transpose = matrix.T.tocsr()
        self._matrix, self._transpose = SparseProduct(matrix, device), SparseProduct(transpose, device)

    @property
    def bytes(self) -> int:
        return self._matrix.bytes + self._transpose.bytes

    def _forward(self, x: Tensor) -> Tensor:
        return _product(self._matrix, x, self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return _product(self._transpose, y, self.in_shape)


def _product(matrix: SparseProduct, x: Tensor, shape: tuple[int, int]) -> Tensor:
    flat = x.reshape(-1, matrix.shape[1])
    result = flat.new_empty((len(flat), matrix.shape[0]))
    for start in range(0, len(flat), _BATCH):
        part = slice(start, start + _BATCH)
        result[part] = matrix(flat[part].t().contiguous()).t()
    return result.reshape(*x.shape[:-2], *shape)


@functools.cache
def _csr_product_works() -> bool:
    if not torch.backends.mkl.is_available():
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            index = torch.tensor([0, 1], dtype=torch.int32)
            matrix = torch.sparse_csr_tensor(index, index[:1], torch.ones(1), size=(1, 1))
            return bool((matrix @ torch.ones(1, 1)).item() == 1.0)
    except (RuntimeError, NotImplementedError):  # a build without the sparse product
        return False


def joseph_matrix(geometry: CTGeometry, grid: ImageGrid, dtype: torch.dtype = torch.float32,
                  views: slice = slice(None), interpolation: str = "linear") -> scipy.sparse.csr_matrix:
    """The system matrix in mm, (views * detectors, rows * columns), of the given views."""
    rays = index_rays(geometry, grid, views)
    step = max(1, _BLOCK // max(grid.rows, grid.columns))
    counts, indices, values = [], [], []
    for start in range(0, len(rays.base), step):
        part = IndexRays(*(field[start:start + step] for field in rays))
        entries = joseph_entries(part, grid, dtype, interpolation=interpolation)
        index, weight = (entry.numpy() for entry in entries)
        keep = weight != 0
        counts.append(np.count_nonzero(keep, axis=1))
        indices.append(index[keep])
        values.append(weight[keep])
    starts = np.concatenate(([0], np.cumsum(np.concatenate(counts))))
    starts = starts.astype(np.int32 if starts[-1] < 2**31 else np.int64)
    shape = (len(rays.base), grid.rows * grid.columns)
    return scipy.sparse.csr_matrix((np.concatenate(values), np.concatenate(indices), starts), shape=shape)
