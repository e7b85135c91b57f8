"""Scans of the small problems, in closed form, and the stationary images that they see."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class HartleyMask:
    """Masked Fourier samples of real images in real form: Re F x - Im F x, an orthonormal transform.

    With a mask symmetric under negation of the frequency this is the complex masked transform up to a rotation of real
    and imaginary parts. Its singular vectors are the Hartley waves: `to_spectral` and `from_spectral` give them.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self.in_shape = self.out_shape = tuple(mask.shape)
        self.singular_values = mask

    def forward(self, x: Tensor) -> Tensor:
        return hartley(x) * self.mask

    def adjoint(self, y: Tensor) -> Tensor:
        return hartley(y * self.mask)

    def to_spectral(self, x: Tensor) -> Tensor:
        return hartley(x)

    def from_spectral(self, c: Tensor) -> Tensor:
        return hartley(c)

    def data_to_spectral(self, y: Tensor) -> Tensor:
        return y * self.mask


class Blur:
    """Periodic Gaussian blur of ``width`` pixels."""

    def __init__(self, width: float, size: int) -> None:
        frequency = torch.fft.fftfreq(size)
        self.gain = torch.exp(-2 * math.pi**2 * width**2 * (frequency[:, None] ** 2 + frequency**2))
        self.in_shape = self.out_shape = (size, size)
        self.singular_values = self.gain

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.ifft2(self.gain * torch.fft.fft2(x)).real

    adjoint = forward

    def to_spectral(self, x: Tensor) -> Tensor:
        return hartley(x)

    from_spectral = data_to_spectral = to_spectral


class PixelMask:
    """Some pixels of an image, those where ``mask`` (rows, columns) is 1: inpainting."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = self.singular_values = mask
        self.in_shape = self.out_shape = tuple(mask.shape)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask

    adjoint = forward

    def to_spectral(self, x: Tensor) -> Tensor:
        return x

    from_spectral = data_to_spectral = to_spectral


class LogPoisson:
    """Counts y ~ Poisson(B exp(u)) of the log image u: misfit and gradient, ``matrix`` B (readings, pixels)."""

    def __init__(self, matrix: Tensor, counts: Tensor) -> None:
        self.matrix, self.counts = matrix, counts

    def misfit(self, x: Tensor) -> Tensor:
        expected = x.flatten(1).exp() @ self.matrix.T
        return (expected - self.counts * expected.log()).sum(1)

    def gradient(self, x: Tensor) -> Tensor:
        activity = x.flatten(1).exp()
        expected = activity @ self.matrix.T
        return (activity * ((1 - self.counts / expected) @ self.matrix)).reshape(x.shape)


def hartley(x: Tensor) -> Tensor:
    """Orthonormal 2D Hartley transform, its own inverse."""
    transformed = torch.fft.fft2(x, norm="ortho")
    return transformed.real - transformed.imag


def power_law(size: int, power: float = 3.0, knee: float = 2.0, std: float = 0.5) -> Tensor:
    """S(k) ~ (k^2 + knee^2)^(-power / 2), k in waves an image, scaled to pixel standard deviation ``std``."""
    k = torch.fft.fftfreq(size) * size
    spectrum = (k[:, None] ** 2 + k**2 + knee**2) ** (-power / 2)
    return spectrum * std**2 / spectrum.mean()
