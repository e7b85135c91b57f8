"""A prior of axial slices applied to a stack: position channels, and pixel sizes that the prior knows."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .card import PriorCard


def working_pixel(pixel_mm: float, card: PriorCard) -> float:
    """The pixel size nearest to ``pixel_mm`` that the prior was trained on (2 % beyond its range is allowed)."""
    low, high = card.pixel_mm
    if low * 0.98 <= pixel_mm <= high * 1.02:
        return pixel_mm
    return min(max(pixel_mm, low), high)


def working_pixels(pixel_mm: tuple[float, float], card: PriorCard) -> tuple[float, float]:
    """Pixel sizes (rows, columns) for the prior: :func:`working_pixel` of each, of the finer for pixels not square.

    Priors are trained on square pixels, to 2 %: on others they would see bodies that are too wide.
    """
    tall, wide = pixel_mm
    if abs(tall / wide - 1) > 0.02:
        tall = wide = min(tall, wide)
    return working_pixel(tall, card), working_pixel(wide, card)


def same_frequencies(images: Tensor, size: int, axis: int) -> Tensor:
    """Complex images on another number of pixels along an axis (-2 or -1) of the same field of view, edge to edge.

        y_j = 1/n sum_k exp(2 pi i k (j + 1/2) / m) sum_i exp(-2 pi i k (i + 1/2) / n) x_i,   -p/2 <= k < p/2

    for n pixels x and m = ``size`` pixels y, p = min(n, m): values stay as large, and no shared frequency changes.
    """
    count = images.shape[axis]
    fewer = min(count, size)
    k = torch.arange(fewer, device=images.device) - fewer // 2
    back, shape = math.pi * k * (1 / size - 1 / count), [1] * (-axis - 1)
    kept = torch.fft.fft(images, dim=axis).index_select(axis, k % count)
    kept = kept * torch.polar(torch.ones_like(back), back).reshape(-1, *shape)
    whole = [*images.shape]
    whole[axis] = size
    spectrum = images.new_zeros(whole).index_copy_(axis, k % size, kept.to(images.dtype))
    return torch.fft.ifft(spectrum, dim=axis) * (size / count)


def resample(images: Tensor, rows: int, columns: int) -> Tensor:
    """(batch, r, c) -> (batch, rows, columns) over the same field of view: linear, averaging along what shrinks.

    Complex images, whose data are their frequencies, keep those that both grids have, see :func:`same_frequencies`.
    """
    if images.shape[-2:] == (rows, columns):
        return images
    if images.is_complex():
        return same_frequencies(same_frequencies(images, rows, -2), columns, -1)
    # Along an axis that does not shrink, antialiasing is plain linear interpolation.
    shrinks = rows < images.shape[-2] or columns < images.shape[-1]
    size = (rows, columns)
    return F.interpolate(images[:, None], size, mode="bilinear", align_corners=False, antialias=shrinks)[:, 0]
