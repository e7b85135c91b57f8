"""How like real images synthetic ones are: values of each tissue, spectrum of the noise, roughness between slices.

All are compared within the same masks, or within masks of the same kind; none of them sees anatomy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.stats import wasserstein_distance

WITHIN = 0.15
"""Relative difference up to which a statistic counts as that of real images."""
FEWEST = 200
"""Voxels of a tissue, below which its histogram says little."""
BINS = 12
"""Of the spectrum, from zero to the highest frequency along an axis."""


def inside(labels: np.ndarray, label: int, margin: int = 1) -> np.ndarray:
    """Where slices hold a label, without ``margin`` pixels at its edge, whose values are of two tissues."""
    mask = labels == label
    if margin < 1:
        return mask
    disc = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), margin)
    return np.stack([ndimage.binary_erosion(plane, disc) for plane in mask])


def tissue_rows(
    real: tuple[np.ndarray, np.ndarray], made: tuple[np.ndarray, np.ndarray], names: Sequence[str], margin: int = 1
) -> list[dict[str, Any]]:
    """Of each tissue: difference of means and ratio of deviations, and how far the histograms are apart.

    ``real``, ``made``: image and label map (slices, rows, columns) each. Rows of name, item, value: "mean difference"
    and "histogram distance" (the first Wasserstein distance: how far values must move on average) over the real
    deviation, "deviation ratio". Tissues of fewer than 200 voxels in one of both have no row.
    """
    rows = []
    for label, item in enumerate(names):
        one, other = (image[inside(labels, label, margin)].astype(np.float64) for image, labels in (real, made))
        if min(one.size, other.size) < FEWEST:
            continue
        spread = max(float(one.std()), 1e-9)
        apart = float(wasserstein_distance(_thinned(one), _thinned(other)))
        found = {
            "mean difference": (float(other.mean()) - float(one.mean())) / spread,
            "deviation ratio": float(other.std()) / spread, "histogram distance": apart / spread,
        }
        rows += [{"name": name, "item": item, "value": round(value, 4)} for name, value in found.items()]
    return rows


def noise_power(
    image: np.ndarray, mask: np.ndarray, pixel_mm: float, size: int = 24, most: int = 400
) -> tuple[np.ndarray, np.ndarray]:
    """The radial noise power spectrum of squares that lie within a mask: frequencies in 1/mm, power in unit^2 mm^2.

    NPS(f) = dx^2 / N^2 * mean |FFT(square - plane fitted to it)|^2 over squares of N x N pixels, averaged over rings of
    |f|. Squares lie side by side, ``most`` at most. Reference: ICRU report 87.
    ``image``, ``mask``: (slices, rows, columns). Raises ValueError where no square fits the mask.
    """
    rows, columns = np.mgrid[:size, :size] / (size - 1) - 0.5
    plane = np.stack([np.ones(size * size), rows.ravel(), columns.ravel()], 1)
    away = plane @ np.linalg.pinv(plane)
    total, count = np.zeros((size, size)), 0
    for values, allowed in zip(image, mask, strict=True):
        for j in range(0, values.shape[0] - size + 1, size):
            for i in range(0, values.shape[1] - size + 1, size):
                if count >= most or not allowed[j : j + size, i : i + size].all():
                    continue
                square = values[j : j + size, i : i + size].astype(np.float64).ravel()
                square = square - away @ square
                total += np.abs(np.fft.fft2(square.reshape(size, size))) ** 2
                count += 1
    if not count:
        raise ValueError(
            f"expected a region that holds squares of {size} x {size} pixels, found none: give a larger one or smaller "
            "squares"
        )
    power = total / count * pixel_mm**2 / size**2
    frequency = np.fft.fftfreq(size, pixel_mm)
    radius = np.hypot(frequency[:, None], frequency[None])
    edges = np.linspace(0, 0.5 / pixel_mm, BINS + 1)
    ring = np.digitize(radius, edges) - 1
    chosen = (ring < BINS) & (radius > 0)  # the mean was taken out
    counts = np.bincount(ring[chosen], minlength=BINS)
    sums = np.bincount(ring[chosen], power[chosen], minlength=BINS)
    filled = counts > 0
    return ((edges[:-1] + edges[1:]) / 2)[filled], sums[filled] / counts[filled]


def spectrum_rows(
    real: tuple[np.ndarray, np.ndarray], made: tuple[np.ndarray, np.ndarray], item: str = ""
) -> list[dict[str, Any]]:
    """Two :func:`noise_power` compared: ratios of deviations and of mean frequencies, made over real; within 15 %?

    deviation = sqrt(integral of NPS 2 pi f df); mean frequency = sum NPS f / sum NPS.
    """
    (f_real, p_real), (f_made, p_made) = real, made
    amount = math.sqrt(float((p_made * f_made).sum()) / float((p_real * f_real).sum()))
    tone = float((p_made * f_made).sum() / p_made.sum()) / float((p_real * f_real).sum() / p_real.sum())
    return [_ratio_row("noise deviation", item, amount), _ratio_row("mean noise frequency", item, tone)]


def roughness(image: np.ndarray, mask: np.ndarray) -> float:
    """How much neighbouring slices differ: rms of x(k+1) - x(k) over sqrt(2), where both are within the mask.

    Raises ValueError for a single slice and where no two neighbours are within the mask.
    """
    both = mask[1:] & mask[:-1]
    if not both.any():
        raise ValueError("expected neighbouring slices that share the region, found none: give a stack of slices")
    steps = np.diff(image.astype(np.float64), axis=0)[both]
    return float(np.sqrt(np.mean(steps**2) / 2))


def roughness_row(
    real: tuple[np.ndarray, np.ndarray], made: tuple[np.ndarray, np.ndarray], item: str = ""
) -> dict[str, Any]:
    """The ratio of two :func:`roughness`, made over real, of image and mask each; within 15 % or not."""
    return _ratio_row("slice roughness", item, roughness(*made) / roughness(*real))


def _ratio_row(name: str, item: str, ratio: float) -> dict[str, Any]:
    return {"name": name, "item": item, "value": round(ratio, 4), "passed": abs(ratio - 1) <= WITHIN}


def _thinned(values: np.ndarray, most: int = 20000) -> np.ndarray:
    """Evenly taken ones of the sorted values: their distribution, with less work."""
    ordered = np.sort(values)
    if ordered.size <= most:
        return ordered
    return ordered[np.linspace(0, ordered.size - 1, most).astype(int)]
