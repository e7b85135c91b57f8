"""CT of stacks of slices in two dimensions: geometry, image grid and the projector pair.

``forward`` maps attenuation images in 1/mm to line integrals, ``adjoint`` is the transpose of the same
discretisation (see joseph.py). Two implementations stand behind the one contract of operator.py.
"""

from __future__ import annotations

from collections import OrderedDict

import torch

from .ct_geometry import CTGeometry, ImageGrid, fan_geometry, parallel_geometry, view_angles
from .ct_matrix import MatrixProjector
from .ct_on_the_fly import OnTheFlyProjector
from .joseph import TAPS, count_entries
from .operator import LinearOperator

__all__ = [
    "RECONSTRUCTION", "CTGeometry", "ImageGrid", "fan_geometry", "make_projector", "parallel_geometry", "view_angles",
]

RECONSTRUCTION = "cubic"
"""The interpolation of every reconstruction's projector; scans are simulated by the linear one on finer pixels."""

_CACHE_BYTES = 2_500_000_000
_cache: OrderedDict[tuple[object, ...], MatrixProjector] = OrderedDict()


def matrix_bytes(geometry: CTGeometry, grid: ImageGrid, dtype: torch.dtype = torch.float32,
                 interpolation: str = "linear") -> int:
    """Estimated size of the system matrix and its transpose: value and 4-byte index of every non-zero, twice."""
    value = torch.finfo(dtype).bits // 8
    return int(2 * (value + 4) * count_entries(geometry, grid, interpolation).sum())


def make_projector(geometry: CTGeometry, grid: ImageGrid, *, device: str | torch.device = "cpu",
                   dtype: torch.dtype = torch.float32, memory_cap_bytes: int = 2_000_000_000,
                   implementation: str = "auto", interpolation: str = "linear") -> LinearOperator:
    """The projector of one geometry and grid: ``matrix`` (stored, few views) or ``on_the_fly`` (bounded memory).

    ``auto`` stores the matrix where its estimated size is at most ``memory_cap_bytes``. Matrices are kept for the
    next call, the least recently used leaving first. ``interpolation``: linear, or cubic, which is nearer to real
    readings of pixels that are averages (see joseph.py) and twice the work. Raises ValueError for an unknown
    implementation, interpolation or dtype, a source that passes through the grid, or a geometry none of whose rays
    meets the grid.
    """
    if implementation not in ("auto", "matrix", "on_the_fly"):
        raise ValueError(f"Expected implementation auto, matrix or on_the_fly, found {implementation!r}.")
    if interpolation not in TAPS:
        raise ValueError(f"Expected interpolation linear or cubic, found {interpolation!r}.")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"Expected a projector dtype of float32 or float64, found {dtype}.")
    sid = geometry.source_to_isocentre_mm
    if sid is not None and grid.reach_mm >= sid:
        raise ValueError(f"The grid reaches {grid.reach_mm:.1f} mm from the isocentre but the source circles at "
                         f"{sid:.1f} mm: use a smaller grid or correct source_to_isocentre_mm.")
    needed = matrix_bytes(geometry, grid, dtype, interpolation)
    if needed == 0:
        raise ValueError("No ray of this geometry meets the image grid: check detector_offset_mm, detector_spacing_mm "
                         "and the grid's centre, all in mm.")
    device = torch.device(device)
    if implementation == "on_the_fly" or (implementation == "auto" and needed > memory_cap_bytes):
        return OnTheFlyProjector(geometry, grid, device, dtype, interpolation)
    return _matrix_projector(geometry, grid, device, dtype, interpolation)


def _matrix_projector(geometry: CTGeometry, grid: ImageGrid, device: torch.device, dtype: torch.dtype,
                      interpolation: str) -> MatrixProjector:
    key = (geometry, grid, str(device), dtype, interpolation)
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    projector = MatrixProjector(geometry, grid, device, dtype, interpolation)
    _cache[key] = projector
    while len(_cache) > 1 and sum(p.bytes for p in _cache.values()) > _CACHE_BYTES:
        _cache.popitem(last=False)
    return projector
