"""Pixels of MR images and k-space: another matrix for the same field of view, or the same stack turned upright.

The origin of a centred transform is the pixel of index size // 2, in image and k-space alike, half a pixel or none away
from the middle of the field of view.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ...physics.grid import ImageGrid
from ...physics.masked_fourier import centred_fft, centred_ifft


def resized(values: Tensor, size: int, axis: int) -> Tensor:
    """Entries around the one of index n // 2 along an axis, cut or filled up with zeros to ``size``."""
    count = values.shape[axis]
    first = count // 2 - size // 2
    if first >= 0:
        return values.narrow(axis, first, size)
    shape = list(values.shape)
    shape[axis] = size
    out = values.new_zeros(shape)
    out.narrow(axis, -first, count).copy_(values)
    return out


def middle_of(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """:func:`resized` along rows and columns."""
    return resized(resized(values, shape[0], -2), shape[1], -1)


def on_matrix(kspace: Tensor, shape: tuple[int, int]) -> Tensor:
    """k-space of the same images on another matrix of the same field of view; image values stay as large.

    As the transform is orthonormal, values grow by the root of the ratio of the numbers of pixels.
    """
    ratio = shape[0] * shape[1] / (kspace.shape[-2] * kspace.shape[-1])
    return middle_of(kspace, shape) * math.sqrt(ratio)


def recentred(kspace: Tensor, fine: tuple[int, int]) -> Tensor:
    """Data of a matrix whose pixels cover the same field of view as those of ``fine`` did, edge to edge.

    On another matrix the origin lies elsewhere in the field: k-space gets the linear phase of that shift.
    """
    for axis, other in ((-2, fine[0]), (-1, fine[1])):
        count = kspace.shape[axis]
        # Where the origin lies after the middle of the field, in parts of the field.
        shift = _origin(count) - _origin(other)
        frequency = torch.arange(count, dtype=torch.float64, device=kspace.device) - count // 2
        ramp = torch.polar(torch.ones_like(frequency), 2 * math.pi * frequency * shift).to(kspace.dtype)
        kspace = kspace * ramp.reshape(-1, *([1] * (-axis - 1)))
    return kspace


def carried(kspace: Tensor, shape: tuple[int, int]) -> Tensor:
    """:func:`on_matrix`, then :func:`recentred`: the samples of the same images on pixels of another size.

    Their noise grows with them: its variance by the ratio of the numbers of pixels, :func:`grown`.
    """
    own = (int(kspace.shape[-2]), int(kspace.shape[-1]))
    return kspace if own == shape else recentred(on_matrix(kspace, shape), own)


def grown(old: tuple[int, int], new: tuple[int, int]) -> float:
    """What the variance of a sample is multiplied by where :func:`carried` brings it from one matrix to another."""
    return new[0] * new[1] / (old[0] * old[1])


def _origin(count: int) -> float:
    return (count // 2 + 0.5) / count - 0.5


def flipped(kspace: Tensor, axes: Iterable[int]) -> Tensor:
    """k-space (..., rows, columns) of the images with the pixels of some ``axes`` (1: rows, 2: columns) reversed."""
    axes = [axis - 3 for axis in axes]
    return centred_fft(centred_ifft(kspace).flip(axes)) if axes else kspace


def flipped_mask(mask: np.ndarray, axes: Iterable[int]) -> np.ndarray:
    """The samples of :func:`flipped`: frequency f becomes -f, the entry i becomes (2 (n // 2) - i) mod n."""
    for axis in (axis - 3 for axis in axes):
        count = mask.shape[axis]
        mask = np.take(mask, (2 * (count // 2) - np.arange(count)) % count, axis=axis)
    return mask


def rescaled_matrix(ijk_to_ras: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """The place of images that were ``old`` (rows, columns) and are ``new`` by :func:`on_matrix`; origins coincide."""
    matrix = np.array(ijk_to_ras, float)
    matrix[:3, 3] += matrix[:3, 0] * (old[1] // 2) + matrix[:3, 1] * (old[0] // 2)
    matrix[:3, 0] *= old[1] / new[1]
    matrix[:3, 1] *= old[0] / new[0]
    matrix[:3, 3] -= matrix[:3, 0] * (new[1] // 2) + matrix[:3, 1] * (new[0] // 2)
    return matrix


def padded_matrix(ijk_to_ras: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """The place of images that :func:`middle_of` brought from ``old`` (rows, columns) to ``new``."""
    matrix = np.array(ijk_to_ras, float)
    matrix[:3, 3] += matrix[:3, 0] * (old[1] // 2 - new[1] // 2) + matrix[:3, 1] * (old[0] // 2 - new[0] // 2)
    return matrix


def flipped_matrix(ijk_to_ras: np.ndarray, shape: tuple[int, int], axes: Iterable[int]) -> np.ndarray:
    """The place of images (rows, columns) whose pixels along some ``axes`` (1: rows, 2: columns) are reversed."""
    matrix = np.array(ijk_to_ras, float)
    for axis in axes:
        column = 2 - axis
        matrix[:3, 3] += matrix[:3, column] * (shape[axis - 1] - 1)
        matrix[:3, column] *= -1
    return matrix


def grid_of(shape: tuple[int, int], ijk_to_ras: np.ndarray) -> ImageGrid:
    """The pixels of a slice; its middle is taken for the patient's axis."""
    wide, tall = np.linalg.norm(ijk_to_ras[:3, :2], axis=0)
    return ImageGrid(*shape, (float(tall), float(wide)))
