"""A prior of axial slices applied to a stack: position channels, and pixel sizes that the prior knows."""

from __future__ import annotations

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


def resample(images: Tensor, rows: int, columns: int) -> Tensor:
    """(batch, r, c) -> (batch, rows, columns) over the same field of view: linear, averaging along what shrinks.

    Of complex images both parts alike.
    """
    if images.shape[-2:] == (rows, columns):
        return images
    if images.is_complex():
        return torch.complex(resample(images.real, rows, columns), resample(images.imag, rows, columns))
    # Along an axis that does not shrink, antialiasing is plain linear interpolation.
    shrinks = rows < images.shape[-2] or columns < images.shape[-1]
    size = (rows, columns)
    return F.interpolate(images[:, None], size, mode="bilinear", align_corners=False, antialias=shrinks)[:, 0]
