"""Latent priors: an autoencoder of images and a denoiser of its latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..denoiser import Denoiser


class Autoencoder(Protocol):
    """``encode``: images (batch, channels, rows, columns) -> latents (batch, channels', r', c'); ``decode``: back."""

    def encode(self, images: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class LatentPrior:
    """An autoencoder, and ``denoiser`` D_z of its latents at noise levels in latent units.

    Solvers of the latent space take it apart. Called as a denoiser of images it is decode(D_z(encode(x); s)): exact
    where the code is linear and orthonormal, for then white noise of level s has level s among the latents too;
    for other autoencoders a rough projection, good for looking only.
    """

    autoencoder: Autoencoder
    denoiser: Denoiser

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.autoencoder.decode(self.denoiser(self.autoencoder.encode(x), sigma, condition))
