"""Classical denoisers of white Gaussian noise, to compare a prior with: local Wiener, total variation, BM3D."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..likelihoods.gaussian import GaussianLikelihood
from .tv import tv

TV_WEIGHTS = (0.35, 0.5, 0.8, 1.2, 1.8)
"""Weights of TV in units of 1 / noise level; the best for each image is taken."""
TV_ITERATIONS = 120


@dataclass(frozen=True)
class Identity:
    """A x = x, for images (rows, columns)."""

    in_shape: tuple[int, ...]

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.in_shape

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y


def wiener(noisy: Tensor, sigma: float, width: int = 3) -> Tensor:
    """m + max(v - s^2, 0) / v (y - m), m and v mean and variance over ``width`` x ``width`` pixels: (batch, r, c).

    Source: Lee, doi:10.1109/TPAMI.1980.4766994.
    """
    images = F.pad(noisy[:, None], (width // 2,) * 4, mode="reflect")
    mean = F.avg_pool2d(images, width, 1)[:, 0]
    variance = (F.avg_pool2d(images.square(), width, 1)[:, 0] - mean.square()).clamp_min(1e-12)
    return mean + (1 - sigma**2 / variance).clamp_min(0) * (noisy - mean)


def tv_oracle(noisy: Tensor, sigma: float, truth: Tensor) -> Tensor:
    """The strongest TV image: argmin_x |x - y|^2 / (2 s^2) + w TV(x), the best w of :data:`TV_WEIGHTS` / s.

    ``truth``, which tells the best: (batch, rows, columns), as ``noisy``.
    """
    count, tried = len(noisy), len(TV_WEIGHTS)
    likelihood = GaussianLikelihood(
        Identity(tuple(noisy.shape[1:])), noisy.repeat(tried, 1, 1), torch.tensor(sigma**2).to(noisy)
    )
    weight = torch.tensor(TV_WEIGHTS).repeat_interleave(count) / sigma
    # Here a step of the image is as long as one of its dual (sigma): the pace of tomography does not apply.
    found = tv(
        likelihood, weight=weight, iterations=TV_ITERATIONS, start=likelihood.data, nonnegative=False, pace=sigma
    )
    error = (found - truth.repeat(tried, 1, 1)).square().mean((-2, -1)).reshape(tried, count)
    return found.reshape(tried, *noisy.shape)[error.argmin(0), torch.arange(count)]


def bm3d(noisy: Tensor, sigma: float) -> Tensor | None:
    """BM3D by the package of that name, which is no dependency: None where it is not installed.

    Source: Dabov et al., doi:10.1109/TIP.2007.901238.
    """
    try:
        package = importlib.import_module("bm3d")
    except ImportError:
        return None
    return torch.stack([torch.from_numpy(package.bm3d(y.double().numpy(), sigma)).to(noisy) for y in noisy])
