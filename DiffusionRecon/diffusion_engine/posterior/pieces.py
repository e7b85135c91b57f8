"""Regions of a size that can be looked at: connected parts of a mask, the large ones split at their own peaks."""

from __future__ import annotations

import numpy as np

LARGEST_MM = 30.0
"""Diameter of the largest region. What is connected over more (a lung, the edges of all bones) says nothing about a
place: of it only the surroundings of its peaks are regions."""

BLOCK_MM = 3.0
"""Peaks are looked for in averages over blocks of this edge: few numbers, and fewer peaks that are noise."""

PROMINENCE = 0.25
"""A peak of its own stands out from its neighbour by this part of the threshold."""

PEAK_SHARE = 0.5
"""A peak's region goes down to this part of its height."""


def components(mask: np.ndarray) -> np.ndarray:
    """Numbers of the parts connected by faces, int64; noise joins up more easily over edges and corners."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    return np.asarray(sitk.GetArrayFromImage(sitk.ConnectedComponent(image, False)).astype(np.int64))


def pieces(
    mask: np.ndarray, half_width: np.ndarray, spacing_mm: tuple[float, float, float], threshold: float
) -> np.ndarray:
    """Numbers of the regions of a mask, int64 from 1 on and 0 outside: connected by faces, none above LARGEST_MM.

    A part whose sphere of equal volume is wider than LARGEST_MM is split by a watershed of the half width; of each
    basin there remain the voxels within LARGEST_MM / 2 of its peak whose half width is at least PEAK_SHARE of the
    peak's, averages over blocks all of them. Arrays (slices, rows, columns); ``half_width`` and ``threshold`` in the
    image's unit; ``spacing_mm`` in the order of the axes.
    """
    parts = components(mask)
    largest = np.pi / 6 * LARGEST_MM**3 / float(np.prod(spacing_mm))
    large = np.bincount(parts.ravel()) > largest
    large[0] = False
    if not large.any():
        return parts
    inside = large[parts]
    blocks = tuple(max(1, round(BLOCK_MM / each)) for each in spacing_mm)
    around = _surroundings(_averages(half_width, blocks), tuple(np.multiply(blocks, spacing_mm)), threshold)
    for axis, size in enumerate(blocks):
        around = np.repeat(around, size, axis=axis)
    around = around[tuple(slice(length) for length in mask.shape)]
    labels = np.where(inside, np.where(around > 0, parts.max() + around, 0), parts)
    return _connected(labels)


def _surroundings(height: np.ndarray, step_mm: tuple[float, ...], threshold: float) -> np.ndarray:
    """Numbers from 1 on of the peaks of a map around each of them, 0 in between: within their basins."""
    import SimpleITK as sitk

    # Basins of the upside-down map; a basin that is shallower than the level belongs to its neighbour's.
    image = sitk.GetImageFromArray((height.max() - height).astype(np.float32))
    basins = sitk.GetArrayFromImage(sitk.MorphologicalWatershed(image, PROMINENCE * threshold, False, False))
    _, basin = np.unique(basins, return_inverse=True)
    basin, flat = np.ravel(basin), height.ravel()
    order = np.lexsort((-flat, basin))
    first = order[np.searchsorted(basin[order], np.arange(basin.max() + 1))]  # the highest of each basin
    peak = first[basin]
    squares = np.zeros(len(flat))
    for at, step in zip(np.unravel_index(np.arange(len(flat)), height.shape), step_mm, strict=True):
        squares += ((at - at[peak]) * step) ** 2
    kept = (squares <= (LARGEST_MM / 2) ** 2) & (flat >= PEAK_SHARE * flat[peak])
    return np.where(kept, basin + 1, 0).reshape(height.shape)


def _averages(array: np.ndarray, blocks: tuple[int, ...]) -> np.ndarray:
    """Averages over blocks of voxels, float64; the last blocks of an axis may be smaller."""
    averages = np.asarray(array, np.float64)
    for axis, size in enumerate(blocks):
        starts = np.arange(0, averages.shape[axis], size)
        counts = np.diff(np.append(starts, averages.shape[axis]))
        shape = [-1 if each == axis else 1 for each in range(3)]
        averages = np.add.reduceat(averages, starts, axis=axis) / counts.reshape(shape)
    return averages


def _connected(labels: np.ndarray) -> np.ndarray:
    """Numbers of the parts that are connected by faces within one label each; 0 stays 0."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(labels.astype(np.int32))
    inside = sitk.GetImageFromArray((labels > 0).astype(np.uint8))
    numbers = sitk.GetArrayFromImage(sitk.ScalarConnectedComponent(image, inside, 0.0, False)).astype(np.int64)
    numbers[labels == 0] = 0
    used = np.bincount(numbers.ravel()) > 0
    used[0] = False
    return np.cumsum(used)[numbers] * (numbers > 0)
