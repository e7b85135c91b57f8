"""Exact denoisers of Gaussian and Gaussian-mixture images: priors whose posterior is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .denoiser import as_column


@dataclass(frozen=True, eq=False)
class GaussianDenoiser:
    """D(x; s) = m + S / (S + s^2) (x - m) per frequency: clean images ~ N(m, F' diag(S) F), stationary.

    ``mean``: (rows, columns); ``spectrum``: S >= 0, (rows, columns), variance of each coefficient of the
    orthonormal 2D Fourier transform, symmetric under negation of the frequency. White images: S constant.
    Raises ValueError for a negative spectrum. Source: Wiener filter; arXiv:2206.00364, appendix B.
    """

    mean: Tensor
    spectrum: Tensor

    def __post_init__(self) -> None:
        if bool((self.spectrum < 0).any()):
            raise ValueError("the power spectrum of a Gaussian prior must not be negative")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s = as_column(sigma, x)
        gain = self.spectrum / (self.spectrum + s**2)
        return self.mean + torch.fft.ifft2(gain * torch.fft.fft2(x - self.mean)).real


@dataclass(frozen=True, eq=False)
class MixtureDenoiser:
    """Mixture of white Gaussians: clean ~ sum_k w_k N(m_k, v_k I).

    D(x; s) = sum_k r_k (m_k + v_k / (v_k + s^2) (x - m_k)), r_k ~ w_k N(x; m_k, (v_k + s^2) I).
    ``means``: (components, rows, columns); ``variances`` and ``weights``: (components,), positive.
    """

    means: Tensor
    variances: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        if not bool((self.variances > 0).all()) or not bool((self.weights > 0).all()):
            raise ValueError("variances and weights of a mixture prior must be positive")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s = sigma.to(x).reshape(-1, 1, 1, 1, 1)
        total = self.variances.reshape(1, -1, 1, 1, 1) + s**2
        means = self.means[None, :, None]
        away = x[:, None] - means
        size = x[0].numel()
        score = -0.5 * (away**2 / total).flatten(2).sum(-1) - 0.5 * size * total.flatten(1).log()
        share = torch.softmax(score + self.weights.log(), dim=1)[..., None, None, None]
        gain = self.variances.reshape(1, -1, 1, 1, 1) / total
        return (share * (means + gain * away)).sum(1)
