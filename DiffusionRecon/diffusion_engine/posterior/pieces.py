"""Regions of a size that can be looked at: connected parts of a mask, the large ones split at their own peaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

LARGEST_MM = 30.0
"""Diameter of the largest region. What is connected over more (a lung, the edges of all bones) says nothing about a
place: of it only the surroundings of its peaks are regions."""

BLOCK_MM = 3.0
"""Peaks are looked for in averages over blocks of this edge, in which the noise of single voxels does not count."""

PROMINENCE = 0.25
"""A peak of its own stands out from its neighbour by this part of the threshold."""

PEAK_SHARE = 0.5
"""A peak's region goes down to this part of its height."""


def components(mask: np.ndarray) -> np.ndarray:
    """Numbers of the parts connected by faces, int64; noise joins up more easily over edges and corners."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    return np.asarray(sitk.GetArrayFromImage(sitk.ConnectedComponent(image, False)).astype(np.int64))


def pieces(
    mask: np.ndarray, half_width: np.ndarray, draws: Sequence[np.ndarray], factor: float,
    spacing_mm: tuple[float, float, float], threshold: float,
) -> np.ndarray:  # fmt: skip
    """Numbers of the regions of a mask, int64 from 1 on and 0 outside: connected by faces, none above LARGEST_MM.

    A part whose sphere of equal volume is wider than LARGEST_MM is split by a watershed of the spread at the scale of
    a structure (:func:`block_spread`); of each basin there remain the voxels within LARGEST_MM / 2 of its peak whose
    spread is at least PEAK_SHARE of the peak's. All arrays (slices, rows, columns); ``half_width`` and ``threshold``
    in the image's unit; ``spacing_mm`` in the order of the axes.
    """
    parts = components(mask)
    largest = np.pi / 6 * LARGEST_MM**3 / float(np.prod(spacing_mm))
    large = np.flatnonzero(np.bincount(parts.ravel())[1:] > largest) + 1
    if not large.size:
        return parts
    blocks = tuple(min(max(1, round(BLOCK_MM / each)), length) for each, length in zip(spacing_mm, mask.shape))
    spread = block_spread(half_width, draws, factor, blocks)
    # Basins of the upside-down map; a basin that is shallower than the level belongs to its neighbour's.
    image = sitk.GetImageFromArray((spread.max() - spread).astype(np.float32))
    basins = sitk.GetArrayFromImage(sitk.MorphologicalWatershed(image, PROMINENCE * threshold, False, False))
    place = np.nonzero(np.isin(parts, large))
    block = tuple(index // size for index, size in zip(place, blocks))
    height = spread[block]
    _, piece = np.unique(np.stack([parts[place], basins[block]]), axis=1, return_inverse=True)
    piece = np.ravel(piece)
    order = np.lexsort((-height, piece))
    first = order[np.searchsorted(piece[order], np.arange(piece.max() + 1))]  # the highest of each piece
    peak = np.stack([index[first] for index in place])[:, piece]
    distance = np.sqrt(sum(((at - to) * step) ** 2 for at, to, step in zip(place, peak, spacing_mm)))
    kept = (distance <= LARGEST_MM / 2) & (height >= PEAK_SHARE * height[first][piece])
    labels = np.where(np.isin(parts, large), 0, parts)
    labels[tuple(index[kept] for index in place)] = parts.max() + 1 + piece[kept]
    return _connected(labels)


def block_spread(
    half_width: np.ndarray, draws: Sequence[np.ndarray], factor: float, blocks: tuple[int, int, int]
) -> np.ndarray:
    """Half width of the averages over blocks of voxels, float64: ``factor`` x their standard deviation over the draws.

    What differs from draw to draw voxel by voxel averages out, a structure that only some of them have does not. With
    fewer than two draws: the average of the voxels' half widths. ``blocks``: voxels of a block along each axis; the
    last ones may be smaller.
    """
    if len(draws) < 2:
        return _averages(half_width, blocks)
    return factor * np.std([_averages(draw, blocks) for draw in draws], axis=0, ddof=1)


def _averages(array: np.ndarray, blocks: tuple[int, int, int]) -> np.ndarray:
    averages = np.asarray(array, np.float64)
    for axis, size in enumerate(blocks):
        starts = np.arange(0, averages.shape[axis], size)
        counts = np.diff(np.append(starts, averages.shape[axis]))
        shape = [-1 if each == axis else 1 for each in range(3)]
        averages = np.add.reduceat(averages, starts, axis=axis) / counts.reshape(shape)
    return averages


def _connected(labels: np.ndarray) -> np.ndarray:
    """Numbers of the parts that are connected by faces within one label each; 0 stays 0."""
    image = sitk.GetImageFromArray(labels.astype(np.float64))
    inside = sitk.GetImageFromArray((labels > 0).astype(np.uint8))
    numbers = sitk.GetArrayFromImage(sitk.ScalarConnectedComponent(image, inside, 0.0, False)).astype(np.int64)
    numbers[labels == 0] = 0
    _, compact = np.unique(numbers, return_inverse=True)
    return np.asarray(compact.reshape(labels.shape) + (0 if (labels == 0).any() else 1))
