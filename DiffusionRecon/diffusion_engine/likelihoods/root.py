"""A square root R of a prior's covariance C = R R', by which a data step is solved in unit coordinates.

    C = diag(g) + F* diag(h^2) F,     R u = g^(1/2) u_1 + F* h F u_2

g: the variance of pixels, each for itself; h: the amplitude spectrum of broad structure, the same all over the image
(:func:`broad_spectrum`). Where a network is sure of an image, g is next to nothing, and the data could not move it:
what the network has missed would stay lost. The second part leaves them room at the scales of lesions, at every noise
level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Root:
    """R of images (batch, rows, columns), real or complex.

    ``deviation``: g^(1/2), a number or in the shape of the images; ``broad``: h (rows, columns), None without it.
    Coordinates u are images, or (batch, 2, rows, columns) with both parts.
    """

    deviation: float | Tensor
    broad: Tensor | None = None

    def forward(self, u: Tensor) -> Tensor:
        """R u."""
        if self.broad is None:
            return self.deviation * u
        return self.deviation * u[:, 0] + filtered(u[:, 1], self.broad)

    def adjoint(self, z: Tensor) -> Tensor:
        """R' z."""
        if self.broad is None:
            return self.deviation * z
        return torch.stack([self.deviation * z, filtered(z, self.broad)], 1)

    def covariance(self, z: Tensor) -> Tensor:
        """C z = R R' z."""
        uniform = self.deviation**2 * z
        return uniform if self.broad is None else uniform + filtered(z, self.broad**2)


def broad_spectrum(shape: Sequence[int], std: float, pixels: float, like: Tensor) -> Tensor | None:
    """h of a stationary field of standard deviation ``std`` a pixel: white noise under a Gaussian window.

    h(f) = a exp(-2 pi^2 w^2 |f|^2), w = ``pixels``: standard deviation of the window in pixels, f in cycles a pixel;
    a such that the mean of h^2 is std^2. (rows, columns) for the ``shape`` (rows, columns), on the device of ``like``;
    None for a ``std`` of 0. Raises ValueError for a negative std or a window that is not positive.
    """
    if not std >= 0 or not pixels > 0:
        raise ValueError(f"expected a spread of 0 or more and a width above 0, found {std} and {pixels}: correct them")
    if std == 0:
        return None
    window = gaussian_window(shape, pixels, like)
    return std * window / window.square().mean().sqrt()


def gaussian_window(shape: Sequence[int], pixels: float, like: Tensor) -> Tensor:
    """exp(-2 pi^2 w^2 |f|^2), the spectrum of a Gaussian of standard deviation w = ``pixels`` and sum 1."""
    rows, columns = (torch.fft.fftfreq(size, device=like.device) for size in shape)
    return torch.exp(-2 * math.pi**2 * pixels**2 * (rows[:, None] ** 2 + columns**2))


def filtered(z: Tensor, spectrum: Tensor) -> Tensor:
    """F* diag(spectrum) F z of images (batch, rows, columns); the spectrum is real and even.

    One image at a time on a processor, so that none depends on those beside it by another order of rounding.
    """
    if z.device.type == "cpu" and len(z) > 1:
        return torch.cat([filtered(image, spectrum) for image in z.split(1)])
    if z.is_complex():
        return torch.fft.ifft2(spectrum * torch.fft.fft2(z))
    half = spectrum[:, : z.shape[-1] // 2 + 1]
    return torch.fft.irfft2(half * torch.fft.rfft2(z), s=z.shape[-2:])
