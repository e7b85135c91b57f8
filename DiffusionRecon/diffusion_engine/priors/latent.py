"""Latent priors: an autoencoder of images and a denoiser of its latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

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


@dataclass(frozen=True, eq=False)
class MonaiAutoencoder:
    """MONAI's AutoencoderKL as an :class:`Autoencoder`: latents are the posterior's mean times ``scale``.

    ``scale``: what latents were multiplied with when their diffusion model was trained, often 1 / (their standard
    deviation). ``network``: monai.networks.nets.AutoencoderKL. Source: arXiv:2112.10752, section 3.1.
    """

    network: Any
    scale: float = 1.0

    def encode(self, images: Tensor) -> Tensor:
        return self.network.encode(images)[0] * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        return self.network.decode(latents / self.scale)
