"""A prior of axial slices applied to a stack: position channels, and pixel sizes that the prior knows."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .card import PriorCard


def working_pixel(pixel_mm: float, card: PriorCard) -> float:
    """The pixel size nearest to ``pixel_mm`` that the prior was trained on (2 % beyond its range is allowed)."""
    low, high = card.pixel_mm
    if low * 0.98 <= pixel_mm <= high * 1.02:
        return pixel_mm
    return min(max(pixel_mm, low), high)


def resample(images: Tensor, rows: int, columns: int) -> Tensor:
    """(batch, r, c) -> (batch, rows, columns) over the same field of view: linear, averaging when it shrinks."""
    if images.shape[-2:] == (rows, columns):
        return images
    shrinks = rows < images.shape[-2]
    size = (rows, columns)
    return F.interpolate(images[:, None], size, mode="bilinear", align_corners=False, antialias=shrinks)[:, 0]
