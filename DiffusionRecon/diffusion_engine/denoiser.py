"""The denoiser contract D(x; sigma), and the EDM preconditioning that turns a network into one."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Denoiser(Protocol):
    """Estimate of the clean image: D(x; sigma) ~ E[clean | x = clean + sigma * noise].

    ``x``: (batch, channels, rows, columns) in network units, or volumes (batch, channels, slices, rows, columns);
    ``sigma``: a scalar tensor or one value an image, same units; ``condition``: what the prior needs beside the image,
    such as the position channels of :func:`positions` (2, rows, columns). Returns a tensor of the shape of ``x``.
    """

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor: ...


def as_column(sigma: Tensor, x: Tensor) -> Tensor:
    """``sigma`` as (batch, 1, 1, 1), so that it broadcasts against the images ``x``."""
    return sigma.to(x).reshape(-1, *([1] * (x.ndim - 1)))


class EDMDenoiser(nn.Module):
    """D(x; s) = c_skip x + c_out F(c_in x; c_noise) with the coefficients of Karras et al.

    c_skip = d^2 / (s^2 + d^2), c_out = s d / sqrt(s^2 + d^2), c_in = 1 / sqrt(s^2 + d^2), c_noise = ln(s) / 4,
    where d = ``sigma_data`` is the standard deviation of clean images in network units.
    Source: arXiv:2206.00364, table 1.
    """

    def __init__(self, network: nn.Module, sigma_data: float = 0.5) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s = as_column(sigma, x)
        d = self.sigma_data
        norm = (s**2 + d**2).sqrt()
        noise_level = (s.flatten().log() / 4).expand(x.shape[0])
        inner = x / norm
        if condition is not None:
            planes = condition.to(inner).expand(x.shape[0], *condition.shape[1 - x.ndim :])
            inner = torch.cat([inner, planes], dim=1)
        lacking = getattr(self.network, "inputs", 0) - inner.shape[1]
        further, conditions = (getattr(self.network, name, 0) for name in ("further_planes", "conditions"))
        if x.ndim == 4 and lacking > 0 and lacking in (conditions, further + conditions):
            # A slice alone, or without its condition: the planes of its neighbours, or of the condition, are zero.
            inner = F.pad(inner, (0, 0, 0, 0, 0, lacking))
        raw = self.network(inner, noise_level)
        return x * (d / norm) ** 2 + raw.to(x.dtype) * (s * d / norm)

    def with_network(self, network: nn.Module) -> EDMDenoiser:
        """The same preconditioning around another network, such as an adapted one."""
        return EDMDenoiser(network, self.sigma_data)


def positions(
    rows: int, columns: int, pixel_mm: tuple[float, float], centre_mm: tuple[float, float] = (0.0, 0.0)
) -> Tensor:
    """Position channels (2, rows, columns): distance from the image centre, y then x, in units of 200 mm.

    ``pixel_mm``: spacing along rows and columns; ``centre_mm``: offset of the image's centre from the
    patient axis, y then x. In millimetres rather than image widths, so that any matrix size and crop works.
    """
    y = (torch.arange(rows) - (rows - 1) / 2) * pixel_mm[0] + centre_mm[0]
    x = (torch.arange(columns) - (columns - 1) / 2) * pixel_mm[1] + centre_mm[1]
    return torch.stack(torch.meshgrid(y, x, indexing="ij")) / 200.0


def told_start(place: Tensor, images: Tensor) -> Tensor:
    """Positions (2, rows, columns) of each image, and the image (batch, rows, columns): (batch, 3, rows, columns)."""
    return torch.cat((place.to(images).expand(len(images), *place.shape), images[:, None]), 1)


def mirrored_positions(place: Tensor) -> Tensor:
    """Planes (..., planes, rows, columns) of the left-right reversed image, positions first: what was at x is at -x."""
    reverse = place.flip(-1)
    reverse.select(-3, 1).neg_()
    return reverse
