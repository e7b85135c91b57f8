"""The part of the Fourier transform that a mask selects, of complex images: single-coil Cartesian MRI.

    y = M F x,   A' y = F^-1 M' y,   A A' = I

F is orthonormal and centred: the image's middle pixel (index size // 2) is its origin, and the k-space's middle entry
is the mean times sqrt(pixels). As the rows of A are orthonormal, A' is also the pseudo-inverse, and replacing the
measured entries of an image's k-space by y is x + A'(y - A x).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def centred_fft(x: Tensor) -> Tensor:
    """Orthonormal 2D Fourier transform of the last two axes, origin in the middle of image and k-space."""
    return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))


def centred_ifft(k: Tensor) -> Tensor:
    """The inverse of :func:`centred_fft`, which is its adjoint."""
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(k, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))


@dataclass(frozen=True, eq=False)
class MaskedFourier:
    """Images (..., rows, columns), real or complex, to the measured entries of their k-space (..., 1, entries).

    ``mask``: bool (rows, columns), true where measured, origin in the middle. Only measured entries are kept, in row
    order, so that a mean over the data is a mean over readings. The adjoint is that of complex images; it returns
    complex images. Raises ValueError for a mask of another type or shape, or one that measures nothing.
    """

    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool or self.mask.ndim != 2:
            raise ValueError(
                f"expected a k-space mask of type bool and shape (rows, columns), found {self.mask.dtype} of "
                f"{tuple(self.mask.shape)}: compare the weights with zero, one mask for all images"
            )
        if not bool(self.mask.any()):
            raise ValueError("the k-space mask measures nothing: at least one entry must be true")

    @property
    def in_shape(self) -> tuple[int, ...]:
        return tuple(self.mask.shape)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (1, int(self.mask.sum()))

    def forward(self, x: Tensor) -> Tensor:
        """A x: (..., 1, entries), complex."""
        return self.sample(centred_fft(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """A' y: (..., rows, columns), complex; the zero-filled image of the data."""
        return centred_ifft(self.on_grid(y))

    def sample(self, kspace: Tensor) -> Tensor:
        """The measured entries (..., 1, entries) of a whole k-space (..., rows, columns)."""
        return kspace[..., self.mask][..., None, :]

    def on_grid(self, y: Tensor) -> Tensor:
        """Data (..., 1, entries) at their places in k-space (..., rows, columns), zero elsewhere."""
        grid = y.new_zeros((*y.shape[:-2], *self.mask.shape))
        grid[..., self.mask] = y[..., 0, :]
        return grid

    @property
    def singular_values(self) -> Tensor:
        """1 where measured, 0 elsewhere: (rows, columns), in the basis of :meth:`to_spectral`."""
        return self.mask.to(torch.get_default_dtype())

    def to_spectral(self, x: Tensor) -> Tensor:
        """The image's k-space, the basis in which A is diagonal."""
        return centred_fft(x)

    def from_spectral(self, c: Tensor) -> Tensor:
        """The image of a k-space."""
        return centred_ifft(c)

    def data_to_spectral(self, y: Tensor) -> Tensor:
        """The data in that basis, equal to singular_values * to_spectral(x) when y = A x."""
        return self.on_grid(y)
