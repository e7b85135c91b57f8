"""Known nodules for phantoms, and a reader without opinions: one blob detector, the same for every image.

Detector: differences of Gaussians of a few radii r, G(r / sqrt 2) - G(1.6 r / sqrt 2), averaged over the region alone
(lungs or soft tissue, known from the phantom, less EDGE_MM) so that its walls do not respond, and scaled so that a disc
of radius r answers with its contrast. A blob is a local maximum of an answer that reaches THRESHOLD times the robust
noise (1.4826 median absolute deviation) of that answer over the region in that same image, and FLOOR_HU at least; of
blobs within each other's radius the clearest stays. A nodule is found where a blob lies within its radius (REACH_MM at
least) of its centre. A blob is invented where the reference answers, at the same scale and within the same reach, with
less than half of it; other blobs are anatomy, mostly vessels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

RADII_MM = (2.0, 3.5, 6.0, 10.0)
RATIO = 1.6
PEAK = math.exp(-1 / RATIO**2) - math.exp(-1)
"""Answer of the difference of Gaussians at the centre of a disc of its radius and unit contrast."""
THRESHOLD, FLOOR_HU, REACH_MM = 5.0, 25.0, 3.0
EDGE_MM = 3.0
"""Left out at the edge of a region: a wall that is only blurred lies there, and would be read as a row of blobs."""
RING_MM = (1.5, 6.0)
"""The ring around a nodule: distances from its edge."""
DIAMETER_MM, LUNG_HU, SOFT_HU = (4.0, 20.0), (50.0, 800.0), (50.0, 300.0)


@dataclass(frozen=True)
class Disc:
    """A nodule in a slice: centre (row, column) in mm from the middle of the first pixel, radius in mm, HU added."""

    region: str
    row_mm: float
    column_mm: float
    radius_mm: float
    contrast: float

    def distance(self, shape: tuple[int, int], pixel_mm: float, first_mm: float = 0.0) -> np.ndarray:
        """Distance of every pixel's middle to the centre, mm; ``first_mm``: place of the first pixel's middle."""
        rows, columns = (np.arange(n) * pixel_mm + first_mm for n in shape)
        return np.hypot(rows[:, None] - self.row_mm, columns[None] - self.column_mm)


@dataclass(frozen=True)
class Blob:
    """What the detector found: place in mm as of Disc, index of its scale, answer in HU, answer over threshold."""

    row_mm: float
    column_mm: float
    scale: int
    answer: float
    score: float

    @property
    def reach_mm(self) -> float:
        return max(RADII_MM[self.scale], REACH_MM)


def place_discs(
    regions: dict[str, np.ndarray], avoid: np.ndarray, pixel_mm: float, counts: dict[str, int],
    generator: np.random.Generator,
) -> list[Disc]:
    """Nodules at random places of the regions, the largest first; one that fits nowhere is left out.

    Diameter and contrast are uniform in their logarithms. A nodule keeps 2 mm from the region's edge, 1 mm from
    ``avoid`` (vessels), and its ring out of other nodules.
    """
    placed: list[Disc] = []
    for name, region in regions.items():
        inside = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] * pixel_mm
        clear = ndimage.distance_transform_edt(~avoid) * pixel_mm if avoid.any() else np.full(region.shape, np.inf)
        contrasts = LUNG_HU if name == "lungs" else SOFT_HU
        sizes = np.exp(generator.uniform(*np.log(DIAMETER_MM), counts[name])) / 2
        for radius in sorted(sizes.tolist(), reverse=True):
            contrast = float(np.exp(generator.uniform(*np.log(contrasts))))
            free = (inside > radius + 2) & (clear > radius + 1)
            for other in placed:
                free &= other.distance(free.shape, pixel_mm) > radius + other.radius_mm + RING_MM[1]
            places = np.argwhere(free)
            if len(places):
                row, column = places[generator.integers(len(places))] * pixel_mm
                placed.append(Disc(name, float(row), float(column), float(radius), contrast))
    return placed


def add_discs(image: np.ndarray, discs: Sequence[Disc], pixel_mm: float) -> np.ndarray:
    """The image (rows, columns) with the nodules added, their edges as soft as a pixel."""
    result = image.astype(np.float32, copy=True)
    for disc in discs:
        away = disc.distance(image.shape, pixel_mm) - disc.radius_mm
        result += np.float32(disc.contrast) * np.clip(0.5 - away / pixel_mm, 0, 1).astype(np.float32)
    return result


def interior(region: np.ndarray, pixel_mm: float) -> np.ndarray:
    """The region without EDGE_MM at its edge."""
    return ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] * pixel_mm > EDGE_MM


def answers(image: np.ndarray, region: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Contrast in HU of a disc of each radius around every pixel, (scales, rows, columns); 0 outside the region."""
    weight = region.astype(np.float64)
    result = np.zeros((len(RADII_MM), *image.shape))
    for n, radius in enumerate(RADII_MM):
        narrow, wide = (_average(image, weight, radius / math.sqrt(2) / pixel_mm * f) for f in (1.0, RATIO))
        result[n][region] = ((narrow - wide) / PEAK)[region]
    return result


def _average(image: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average over the weighted pixels alone."""
    return ndimage.gaussian_filter(image * weight, sigma) / np.maximum(ndimage.gaussian_filter(weight, sigma), 1e-6)


def blobs(answer: np.ndarray, region: np.ndarray, pixel_mm: float, first_mm: float = 0.0) -> list[Blob]:
    """The blobs of the :func:`answers` of an image, the clearest first."""
    values = answer[:, region]
    noise = 1.4826 * np.median(np.abs(values - np.median(values, 1, keepdims=True)), 1)
    thresholds = np.maximum(THRESHOLD * noise, FLOOR_HU)
    score = (answer / thresholds[:, None, None]).max(0)
    scale = (answer / thresholds[:, None, None]).argmax(0)
    peaks = np.argwhere((score >= 1) & region & (score == ndimage.maximum_filter(score, 3)))
    found: list[Blob] = []
    for j, i in sorted(peaks.tolist(), key=lambda p: -score[p[0], p[1]]):
        n = int(scale[j, i])
        blob = Blob(j * pixel_mm + first_mm, i * pixel_mm + first_mm, n, float(answer[n, j, i]), float(score[j, i]))
        if all(apart(blob, other) > max(RADII_MM[n], RADII_MM[other.scale]) for other in found):
            found.append(blob)
    return found


def apart(first: Blob | Disc, second: Blob | Disc) -> float:
    """Distance of two centres, mm."""
    return math.hypot(first.row_mm - second.row_mm, first.column_mm - second.column_mm)


def shown(disc: Disc, found: Sequence[Blob]) -> bool:
    """Whether a nodule is among the blobs."""
    return any(apart(disc, blob) <= max(disc.radius_mm, REACH_MM) for blob in found)


def is_invented(blob: Blob, reference: np.ndarray, pixel_mm: float, first_mm: float = 0.0) -> bool:
    """Whether the :func:`answers` of the reference hold less than half of a blob around its place."""
    place = Disc("", blob.row_mm, blob.column_mm, 0.0, 0.0)
    near = place.distance(reference.shape[1:], pixel_mm, first_mm) <= blob.reach_mm
    return float(reference[blob.scale][near].max()) < blob.answer / 2


@dataclass(frozen=True, eq=False)
class Parts:
    """Masks of a nodule, of the ring around it, and of both with what lies between."""

    core: np.ndarray
    ring: np.ndarray
    near: np.ndarray


def parts(
    disc: Disc, region: np.ndarray, others: Sequence[Disc], pixel_mm: float, first_mm: float = 0.0
) -> Parts:
    """Where to measure a nodule: the ring inside the region, everything outside other nodules."""
    away = disc.distance(region.shape, pixel_mm, first_mm) - disc.radius_mm
    free = np.ones_like(region)
    for other in others:
        if other != disc:
            free &= other.distance(region.shape, pixel_mm, first_mm) > other.radius_mm + pixel_mm
    ring = (away > RING_MM[0]) & (away <= RING_MM[1]) & region & free
    return Parts((away <= 0) | (away == away.min()), ring, (away <= RING_MM[1]) & free)


def contrast(image: np.ndarray, at: Parts) -> float:
    """Mean in the nodule minus mean in the ring, in the image's unit."""
    return float(image[at.core].mean() - image[at.ring].mean())


def half_size(image: np.ndarray, at: Parts) -> int:
    """Pixels above the middle between ring and nodule that hang together with the nodule, not beyond its ring."""
    level = image[at.ring].mean() + contrast(image, at) / 2
    labels, _ = ndimage.label((image > level) & at.near)
    own = np.unique(labels[at.core])
    return int(np.isin(labels, own[own > 0]).sum())


def agreeing_places(draws: Sequence[Sequence[Blob]]) -> list[tuple[Blob, int]]:
    """Places where draws show a blob, each by its clearest blob, with the number of draws that show it."""
    everything = sorted(((blob, n) for n, found in enumerate(draws) for blob in found), key=lambda b: -b[0].score)
    places: list[tuple[Blob, set[int]]] = []
    for blob, n in everything:
        for centre, who in places:
            if apart(blob, centre) <= max(blob.reach_mm, centre.reach_mm):
                who.add(n)
                break
        else:
            places.append((blob, {n}))
    return [(blob, len(who)) for blob, who in places]
