"""Unconditional draws of a prior, and a sheet of them as a picture."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..sampling.grids import poly_grid
from ..sampling.movers import heun
from ..sampling.noise import Noise


def draw_samples(
    denoiser: Denoiser, shape: tuple[int, ...], place: Tensor | None, sigma: tuple[float, float], noise: Noise,
    steps: int = 18,
) -> Tensor:
    """Images of the prior alone, (batch, channels, rows, columns): Heun's rule from the largest to the smallest sigma.

    ``shape``: of the result; ``place``: the planes (channels, rows, columns). Source: arXiv:2206.00364, algorithm 1.
    Raises FloatingPointError where a draw is not finite.
    """
    levels = poly_grid(sigma[1], sigma[0], steps).tolist()
    with torch.no_grad():
        x = levels[0] * noise.normal(torch.zeros(shape))
        for level, following in pairwise(levels):
            x = heun(denoiser, x, level, following, place)
    if not bool(torch.isfinite(x).all()):
        raise FloatingPointError("a draw of the prior is not finite: its weights are damaged or its training diverged")
    return x


def write_sheet(images: Tensor, path: Path, window: tuple[float, float], columns: int = 4) -> None:
    """Images (batch, rows, columns) side by side as an 8-bit PNG; ``window``: values shown as black and white."""
    low, high = window
    grey = ((images - low) / (high - low)).clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    columns = min(columns, len(grey))
    lines = -(-len(grey) // columns)
    tall, wide = grey.shape[1] + 2, grey.shape[2] + 2
    sheet = np.full((lines * tall, columns * wide), 128, np.uint8)
    for n, image in enumerate(grey):
        top, left = n // columns * tall + 1, n % columns * wide + 1
        sheet[top : top + tall - 2, left : left + wide - 2] = image
    sitk.WriteImage(sitk.GetImageFromArray(sheet), str(path))
