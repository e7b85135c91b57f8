"""Fewer coils that hold nearly the same data: the leading singular vectors of the coils."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MOST_COILS = 12
"""Virtual coils kept of an array that has more."""


class CoilCompression(NamedTuple):
    """V of v = V y: (virtual coils, coils), complex, rows orthonormal; the share of the data's energy that v keeps."""

    matrix: Tensor
    energy: float


def coil_compression(kspace: Tensor, coils: int = MOST_COILS) -> CoilCompression:
    """v = U' y with the ``coils`` leading left singular vectors U of the data, coils by samples.

    ``kspace``: (slices, coils, rows, columns), complex, 0 where not measured; whiten it first, so that equal noise of
    the coils stays equal noise of the virtual ones. Energy kept: the sum of the leading squared singular values over
    that of all. One matrix for all slices. Each row's largest entry is real and positive, so that the same data give
    the same coils. An array of no more coils is turned, and keeps all.
    Raises ValueError for data that are not complex, not finite or zero throughout, or fewer than one virtual coil.
    Source: Huang et al., doi:10.1016/j.mri.2007.04.010.
    """
    if kspace.ndim != 4 or not kspace.is_complex():
        raise ValueError(
            f"expected complex k-space (slices, coils, rows, columns), found {kspace.dtype} of {tuple(kspace.shape)}"
        )
    if coils < 1:
        raise ValueError(f"expected at least one virtual coil, found {coils}")
    data = kspace.movedim(1, 0).flatten(1).to(torch.complex128)
    if not bool(torch.isfinite(torch.view_as_real(data)).all()):
        raise ValueError("the k-space holds NaN or infinite values: repair or remove those samples")
    squares, vectors = torch.linalg.eigh(data @ data.mH)
    if not float(squares[-1]) > 0:
        raise ValueError("the k-space is zero throughout: no coils can be told apart")
    kept = vectors.flip(-1)[:, :coils].mH
    largest = kept.gather(1, kept.abs().argmax(1, keepdim=True))
    matrix = kept * (largest.conj() / largest.abs())
    squares = squares.flip(-1).clamp_min(0)
    return CoilCompression(matrix.to(kspace.dtype), float(squares[:coils].sum() / squares.sum()))


def mixed(matrix: Tensor, values: Tensor) -> Tensor:
    """The data, maps or coil images V y of new coils: ``matrix`` (new, coils), ``values`` (..., coils, rows, columns).

    Of compression V, or of whitening W; the noise covariance becomes V C V'.
    """
    return torch.einsum("vc,...crk->...vrk", matrix.to(values.dtype), values)
