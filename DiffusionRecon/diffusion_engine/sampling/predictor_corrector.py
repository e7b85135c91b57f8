"""Predictor and corrector of variance-exploding diffusion, in coordinates x = clean + sigma * noise.

With the score s = (D(x; sigma) - x) / sigma^2 and standard normal z,

    predictor  x' = x + (sigma^2 - sigma'^2) s + sqrt(sigma^2 - sigma'^2) z      (reverse diffusion)
    corrector  x' = x + a s + sqrt(2 a) z,  a = 2 (snr |z| / |s|)^2 an image     (Langevin)

The rule for a expects a score of about |z| / sigma, as images have about which only the noise is unlikely. Where the
prior is smooth on the scale of sigma the score is smaller, and the rule would throw the state far beyond the noise
level; a is therefore at most sigma^2 / 4.

Source: arXiv:2011.13456, algorithms 2 and 4.
"""

from __future__ import annotations

from torch import Tensor


def predict(x: Tensor, estimate: Tensor, sigma: float, sigma_next: float, noise: Tensor) -> Tensor:
    """The reverse diffusion step to ``sigma_next``; into 0 it is the denoiser's ``estimate`` itself."""
    if sigma_next == 0:
        return estimate
    removed = sigma**2 - sigma_next**2
    return x + (removed / sigma**2) * (estimate - x) + removed**0.5 * noise


def correct(x: Tensor, estimate: Tensor, sigma: float, noise: Tensor, snr: float = 0.16) -> Tensor:
    """One Langevin step of each image (batch, rows, columns); an image whose score is zero stays."""
    score = (estimate - x) / sigma**2
    strength = score.abs().square().sum((-2, -1), keepdim=True)
    length = 2 * snr**2 * noise.abs().square().sum((-2, -1), keepdim=True) / strength.clamp_min(1e-30)
    length = length.clamp_max(sigma**2 / 4).where(strength > 0, 0.0)
    return x + length * score + (2 * length).sqrt() * noise
