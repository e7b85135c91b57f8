"""Tissue classes of MR images: clusters of intensity, which have no names of tissues, only an order."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from ..orientation import upright
from ..volume import Volume, check_image

LEVELS = 256
"""Bins of the histogram that is clustered, up to its 99.9th percentile."""
ROUNDS = 200
SMOOTH_MM = 1.0
"""Standard deviation of the Gaussian, in the slice, that takes noise away before values are compared."""


def mr_class_names(clusters: int) -> tuple[str, ...]:
    """Air, then the clusters from dark to bright; a class's index is its value in label maps."""
    return ("air", *(f"tissue {n} of {clusters}, dark to bright" for n in range(1, clusters + 1)))


def mr_classes(volume: Volume, clusters: int = 4) -> Volume:
    """The class of every voxel of an MR magnitude image: 0 air outside, 1 to ``clusters`` from dark to bright, uint8.

    Outside: below the threshold of largest variance between two classes (Otsu, doi:10.1109/TSMC.1979.4310076) of the
    smoothed image's square root, so that dark tissue is not taken for air, and not enclosed in a slice.
    Inside: k-means of the smoothed values, evenly begun, so that the same image always has the same classes. Air and
    bone inside are of the darkest cluster, with all that is dark; dark tissue at the edge of the field of view is not
    told from air; a coil's shading moves borders: correct it first.
    Raises ValueError for fewer than 2 or more than 10 clusters, a single slice, an image without contrast, negative
    values, values that are not finite, and grids that are oblique or sheared.
    """
    if not 2 <= clusters <= 10:
        raise ValueError(f"expected 2 to 10 clusters, found {clusters}: choose a number between")
    check_image(volume)
    if len(volume.array) < 2:
        raise ValueError("expected a stack of two slices or more, found a single slice: give the whole volume")
    standing, turn = upright(volume)
    image = standing.array.astype(np.float32)
    if float(image.min()) < 0:
        raise ValueError(
            f"expected a magnitude image, found values down to {float(image.min()):g}: is this a CT or a phase image?"
        )
    wide, tall, _ = standing.spacing_mm
    smooth = ndimage.gaussian_filter(image, (0.0, SMOOTH_MM / tall, SMOOTH_MM / wide))
    top = float(np.percentile(smooth, 99.9))
    if not top > 0 or float(np.ptp(smooth)) < 1e-3 * top:
        raise ValueError("expected an image with tissue and air, found one value everywhere: choose another image")
    solid = smooth > otsu(np.sqrt(smooth), math.sqrt(top)) ** 2
    body = np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(plane)) for plane in solid])
    if not body.any():
        raise ValueError("expected an image with a body, found none brighter than its surroundings: check the image")
    edges = cluster_edges(smooth[body], clusters)
    labels = np.zeros(image.shape, np.uint8)
    labels[body] = 1 + np.searchsorted(edges, smooth[body]).astype(np.uint8)
    return volume.with_array(np.ascontiguousarray(turn.undo(labels)), "label")


def otsu(values: np.ndarray, top: float) -> float:
    """The threshold between 0 and ``top`` with the largest variance between the classes below and above it."""
    counts, borders = np.histogram(np.clip(values, 0, top), LEVELS, (0.0, top))
    centres = (borders[:-1] + borders[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(borders[1:][int(np.argmax(np.where(np.isfinite(between), between, -1.0)))])


def cluster_edges(values: np.ndarray, clusters: int) -> np.ndarray:
    """The ``clusters`` - 1 values between the clusters of k-means of one-dimensional values, ascending.

    Lloyd's algorithm, evenly begun between the 1st and the 99th percentile: centres m_i, edges (m_i + m_i+1) / 2.
    Raises ValueError where the values hold fewer different levels than clusters.
    """
    low, high = np.percentile(values, (1, 99))
    centres = low + (high - low) * (np.arange(clusters) + 0.5) / clusters
    for _ in range(ROUNDS):
        edges = (centres[:-1] + centres[1:]) / 2
        where = np.searchsorted(edges, values)
        counts = np.bincount(where, minlength=clusters)
        if not counts.all():
            raise ValueError(
                f"expected values for {clusters} clusters, found some of them empty: choose fewer clusters"
            )
        moved = np.bincount(where, weights=values, minlength=clusters) / counts
        if np.allclose(moved, centres, rtol=1e-6, atol=0.0):
            break
        centres = moved
    return (centres[:-1] + centres[1:]) / 2
