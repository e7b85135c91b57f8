"""What a coil array measures of a complex image on a Cartesian grid of k-space: SENSE, slice by slice.

    y_c = M F S_c x,   A' y = sum_c conj(S_c) F^-1 M y_c,   A'A x = sum_c conj(S_c) F^-1 M F S_c x

F is the orthonormal, centred Fourier transform of :mod:`.masked_fourier`, S_c the sensitivity of coil c, M the mask.
With sum_c |S_c|^2 = 1 inside the body and 0 outside, the largest singular value of A is at most 1, and A' of a whole
k-space is the image. A 3D Cartesian acquisition is one of such problems for each place along its readout, once that
fully sampled axis is transformed. Source: Pruessmann et al., doi:10.1002/mrm.1241.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from .masked_fourier import centred_fft, centred_ifft
from .operator import LinearOperator, Rows

COIL_AXIS, ROW_AXIS, COLUMN_AXIS = -3, -2, -1
"""Axes of the data along which readings are grouped: coils, and phase-encoding lines in rows or in columns."""


@dataclass(frozen=True, eq=False)
class MultiCoilFourier:
    """Images (..., rows, columns) to the k-space of every coil (..., coils, rows, columns), 0 where not measured.

    ``maps``: complex coil sensitivities (slices or 1, coils, rows, columns); ``mask``: bool (slices or 1, rows,
    columns), true where measured, k = 0 at index size // 2. Maps or masks of more than one slice belong to images of as
    many, the last axis before the rows; :meth:`of_images` takes the same part of both. ``view_axis``: along which the
    data's views lie, ROW_AXIS for lines that are rows of k-space, COLUMN_AXIS for columns, COIL_AXIS for coils.
    One coil of sensitivity 1 is plain masked Fourier sampling: :func:`single_coil`. Results are complex, of the
    precision of the argument. Raises ValueError for other types or shapes, maps that are not finite, or a slice of
    which nothing is measured.
    """

    maps: Tensor
    mask: Tensor
    view_axis: int = ROW_AXIS

    def __post_init__(self) -> None:
        if self.maps.ndim != 4 or not self.maps.is_complex():
            raise ValueError(
                "expected complex coil sensitivities (slices or 1, coils, rows, columns), found "
                f"{self.maps.dtype} of {tuple(self.maps.shape)}: estimate them from the calibration lines"
            )
        if self.mask.ndim != 3 or self.mask.dtype != torch.bool:
            raise ValueError(
                "expected a k-space mask of type bool and shape (slices or 1, rows, columns), found "
                f"{self.mask.dtype} of {tuple(self.mask.shape)}: compare the weights with zero"
            )
        counts = {len(self.maps), len(self.mask)}
        if self.maps.shape[-2:] != self.mask.shape[-2:] or len(counts - {1}) > 1:
            raise ValueError(
                f"coil sensitivities of {tuple(self.maps.shape)} and a mask of {tuple(self.mask.shape)} do not match: "
                "expected the same rows and columns, and the same slices or 1"
            )
        if self.view_axis not in (COIL_AXIS, ROW_AXIS, COLUMN_AXIS):
            raise ValueError(f"expected views along axis -3, -2 or -1 of the data, found {self.view_axis}")
        if not bool(torch.isfinite(torch.view_as_real(self.maps)).all()):
            raise ValueError("the coil sensitivities hold NaN or infinite values: estimate them anew")
        if not bool(self.mask.flatten(1).any(-1).all()):
            raise ValueError("the k-space mask measures nothing of a slice: at least one entry of each must be true")

    @property
    def in_shape(self) -> tuple[int, ...]:
        return tuple(self.mask.shape[-2:])

    @property
    def out_shape(self) -> tuple[int, ...]:
        return tuple(self.maps.shape[-3:])

    @property
    def squared_norm(self) -> Tensor:
        """max_r sum_c |S_c(r)|^2, which |A|^2 does not exceed, as F and M do not lengthen: (slices or 1, 1, 1)."""
        return self.maps.abs().square().sum(1).amax((-2, -1), keepdim=True)

    @cached_property
    def support(self) -> Tensor:
        """Where some coil sees the image: (slices or 1, rows, columns). Outside it is 0, as in A' of any data."""
        return (self.maps != 0).any(1)

    def forward(self, x: Tensor) -> Tensor:
        """A x: (..., coils, rows, columns), complex."""
        return centred_fft(self.coil_images(x)) * self._measured

    def adjoint(self, y: Tensor) -> Tensor:
        """A' y: (..., rows, columns), complex; of data the zero-filled image, coils combined by their maps."""
        return self.combined(centred_ifft(y * self._measured))

    def normal(self, x: Tensor, variance: Tensor | None = None) -> Tensor:
        """A' V^-1 A x in two transforms without shifts of coil images: (..., rows, columns).

        ``variance``: broadcastable to the data, 1 unless given. As a circular convolution is the same wherever the
        origin is, only the weights are shifted.
        """
        weight = self._measured if variance is None else self._measured / variance
        kspace = torch.fft.fft2(self.coil_images(x), norm="ortho") * torch.fft.ifftshift(weight, dim=(-2, -1))
        return self.combined(torch.fft.ifft2(kspace, norm="ortho"))

    def coil_images(self, x: Tensor) -> Tensor:
        """S_c x: what each coil sees of the images, (..., coils, rows, columns)."""
        return x[..., None, :, :] * self._maps(x)

    def combined(self, images: Tensor) -> Tensor:
        """sum_c conj(S_c) x_c of coil images (..., coils, rows, columns): (..., rows, columns)."""
        return (images * self._maps(images).conj()).sum(COIL_AXIS)

    def put_back(self, images: Tensor, data: Tensor) -> Tensor:
        """F^-1 (M y + (1 - M) F x) of coil images x (..., coils, rows, columns) and ``data`` y of that shape."""
        return centred_ifft(torch.where(self._measured, data, centred_fft(images)))

    def variance(self, level: Tensor) -> Tensor:
        """The variance of the data: ``level``, E|n|^2 a number or of each coil; infinite where nothing is measured.

        Returns (slices or 1, coils or 1, rows, columns), as the likelihood takes it.
        """
        known = level.reshape(1, -1, 1, 1)
        return torch.where(self.mask[:, None], known, torch.full_like(known, torch.inf))

    def of_images(self, index: slice | Tensor) -> MultiCoilFourier:
        """The operator of some images: their maps and masks where each has its own."""
        maps = self.maps[index] if len(self.maps) > 1 else self.maps
        mask = self.mask[index] if len(self.mask) > 1 else self.mask
        return replace(self, maps=maps, mask=mask)

    def subset(self, index: slice | Tensor) -> LinearOperator:
        """The operator of some views: of coils at the cost of those, of lines at that of all."""
        if self.view_axis == COIL_AXIS:
            return replace(self, maps=self.maps[:, index])
        total = self.out_shape[self.view_axis]
        return Rows(self, index, len(range(total)[index]) if isinstance(index, slice) else index.numel())

    @property
    def _measured(self) -> Tensor:
        """The mask for data: without a slice axis where all slices share it."""
        return self.mask[0] if len(self.mask) == 1 else self.mask[:, None]

    def _maps(self, like: Tensor) -> Tensor:
        maps = self.maps[0] if len(self.maps) == 1 else self.maps
        return maps.to(like.dtype.to_complex())


def single_coil(mask: Tensor, view_axis: int = ROW_AXIS) -> MultiCoilFourier:
    """One coil of sensitivity 1 everywhere; ``mask``: bool (slices or 1, rows, columns)."""
    return MultiCoilFourier(torch.ones(1, 1, *mask.shape[-2:], dtype=torch.complex64), mask, view_axis)
