"""Exact denoisers of Gaussian and Gaussian-mixture images: priors whose posterior is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..denoiser import as_column


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


@dataclass(frozen=True, eq=False)
class DenseMixtureDenoiser:
    """Mixture of Gaussians of any covariance: clean ~ sum_k w_k N(m_k, C_k); one component is a Gaussian prior.

    D(x; s) = sum_k r_k (m_k + C_k (C_k + s^2 I)^-1 (x - m_k)), r_k ~ w_k N(x; m_k, C_k + s^2 I), from C = U diag(v) U'.
    ``means``: (components, rows, columns); ``covariances``: (components, pixels, pixels), symmetric; ``weights``:
    (components,), positive. Raises ValueError for shapes that do not match and a covariance that is not positive.
    """

    means: Tensor
    covariances: Tensor
    weights: Tensor
    values: Tensor = field(init=False, repr=False)
    vectors: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count, pixels = self.means.shape[0], self.means[0].numel()
        if tuple(self.covariances.shape) != (count, pixels, pixels) or tuple(self.weights.shape) != (count,):
            raise ValueError(
                f"a mixture of {count} images of {pixels} pixels expects covariances {(count, pixels, pixels)} and "
                f"weights {(count,)}, found {tuple(self.covariances.shape)} and {tuple(self.weights.shape)}"
            )
        values, vectors = torch.linalg.eigh(self.covariances.double())
        if not bool((values > 0).all()) or not bool((self.weights > 0).all()):
            raise ValueError("covariances and weights of a mixture prior must be positive")
        object.__setattr__(self, "values", values.to(self.means))
        object.__setattr__(self, "vectors", vectors.to(self.means))

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        turned, total = self._turned(x, sigma)
        clean = self.means.flatten(1)[:, None] + (self.values[:, None] / total * turned) @ self.vectors.mT
        share = self._shares(turned, total)
        return (share.T[..., None] * clean).sum(0).reshape(x.shape)

    def shares(self, x: Tensor, sigma: Tensor) -> Tensor:
        """r_k of images (batch, ..., rows, columns) noisy by ``sigma``: (batch, components)."""
        return self._shares(*self._turned(x, sigma))

    def _turned(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """U'(x - m) and v + s^2: (components, batch, pixels) each, the latter to be broadcast."""
        s = sigma.to(x).reshape(1, -1, 1)
        away = x.flatten(1) - self.means.flatten(1)[:, None]
        return away @ self.vectors, self.values[:, None] + s**2

    def _shares(self, turned: Tensor, total: Tensor) -> Tensor:
        score = -0.5 * (turned**2 / total + total.log()).double().sum(-1)
        return torch.softmax(score.T + self.weights.double().log(), 1).to(turned)
