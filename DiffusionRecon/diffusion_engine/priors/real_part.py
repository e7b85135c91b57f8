"""A network of real images for complex ones whose smooth phase was taken out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser, as_column


@dataclass(frozen=True, eq=False)
class RealPart:
    """The network judges the real part; what is left in the imaginary one is normal, of deviation t:

        D(x; sigma) = D(Re x; sigma / sqrt(2)) + i Im x t^2 / (t^2 + sigma^2 / 2).

    t = ``imaginary_std``, network units; complex noise of variance sigma^2 has half of it in either part. Real images
    pass to the ``denoiser`` as they are.
    """

    denoiser: Denoiser
    imaginary_std: float

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if not x.is_complex():
            return self.denoiser(x, sigma, condition)
        half = sigma / math.sqrt(2)
        share = self.imaginary_std**2 / (self.imaginary_std**2 + as_column(half, x.real) ** 2)
        return torch.complex(self.denoiser(x.real, half, condition), x.imag * share)


def for_images(denoiser: Denoiser, imaginary_std: float | None) -> Denoiser:
    """The denoiser itself, or its :class:`RealPart` where a spread of the imaginary part is known."""
    return denoiser if imaginary_std is None else RealPart(denoiser, imaginary_std)
