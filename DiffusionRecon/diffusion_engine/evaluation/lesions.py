"""Known lesions in real images: where they may lie, how they are drawn, and where they are read.

A lesion is an ellipsoid in patient coordinates, so that it has the same place on every grid of the same patient. What
it adds to a pixel is its contrast times the share of the pixel that it covers. In slices far apart it is an ellipse in
its own slice alone; in a stack it is met by its neighbours too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..modalities.contract import Modality, Tissue, Wanted
from ..volume import Volume

SAMPLES = 8
"""Samples of a pixel one way, by which the covered share is found."""
FINE_MM, AROUND_MM = 1.5, 3.0
"""Standard deviations of the Gaussians that take noise away, and over which local mean and deviation are taken."""
EDGE_MM, APART_MM = 1.0, 10.0
"""Least distance of a lesion from the edge of its tissue, and from the next lesion."""
LEAST_PIXELS = 2.0
"""Across a lesion, in the slice that it is drawn into."""
LONGEST = 1.4
"""Largest ratio of an ellipse's axes."""
RING_MM = (2.0, 7.0)
"""The ring around a lesion: distances from what it touches."""
CORE = 0.75
"""Of the radius: what is read as the core, without the pixels that are not wholly covered."""


@dataclass(frozen=True)
class Lesion:
    """An ellipsoid of revolution about ``axis`` (a unit vector in the slice, RAS) around ``centre_mm`` (RAS).

    ``diameter_mm``: of the disc with the area of its section; ``ratio``: of that section's axes; ``contrast``: what it
    adds, in the unit of the image; ``index``: of its slice in the volume that it was placed in.
    """

    tissue: str
    index: int
    centre_mm: tuple[float, float, float]
    diameter_mm: float
    contrast: float
    ratio: float = 1.0
    axis: tuple[float, float, float] = (1.0, 0.0, 0.0)

    @property
    def radius_mm(self) -> float:
        return self.diameter_mm / 2

    @property
    def reach_mm(self) -> float:
        """Half of the longer axis."""
        return self.radius_mm * math.sqrt(self.ratio)

    def coverage(self, volume: Volume) -> np.ndarray:
        """Share of every pixel of a volume that the lesion covers, (slices, rows, columns), slices taken as thin."""
        return self.within(volume, 1.0)

    def within(self, volume: Volume, size: float) -> np.ndarray:
        """:meth:`coverage` of the ellipsoid with all its axes times ``size``."""
        shares = np.zeros(volume.array.shape, np.float32)
        matrix, reach = volume.ijk_to_ras[:3, :3], size * self.reach_mm
        centre = np.linalg.solve(volume.ijk_to_ras, [*self.centre_mm, 1.0])[:3]
        half = reach / np.array(volume.spacing_mm) + 1
        sizes = np.array(volume.array.shape[::-1])
        low = np.maximum(np.ceil(centre - half), 0).astype(int)
        high = np.minimum(np.floor(centre + half) + 1, sizes).astype(int)
        if (low >= high).any():
            return shares
        within = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
        i, j = (
            (np.arange(low[n], high[n])[:, None] + within).ravel() - centre[n] for n in (0, 1)
        )
        across = (size * self.radius_mm) ** 2 / self.ratio
        along = across * self.ratio**2
        for k in range(low[2], high[2]):
            away = [right * i[None] + down * j[:, None] + up * (k - centre[2]) for right, down, up in matrix]
            length = away[0] ** 2 + away[1] ** 2 + away[2] ** 2
            ahead = (away[0] * self.axis[0] + away[1] * self.axis[1] + away[2] * self.axis[2]) ** 2
            inside = ahead / along + (length - ahead) / across <= 1
            blocks = inside.reshape(high[1] - low[1], SAMPLES, high[0] - low[0], SAMPLES)
            shares[k, low[1] : high[1], low[0] : high[0]] = blocks.mean((1, 3))
        return shares


def region(image: np.ndarray, pixel_mm: tuple[float, float], tissue: Tissue, body: np.ndarray) -> np.ndarray:
    """Where a slice (rows, columns) holds a tissue, within its ``body``; ``pixel_mm``: of rows and columns."""
    mean, variance = local_moments(image, pixel_mm)
    return (mean >= tissue.low) & (mean <= tissue.high) & (variance <= tissue.rough**2) & body


def local_moments(image: np.ndarray, pixel_mm: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance within AROUND_MM of a slice, fine noise smoothed away."""
    fine = ndimage.gaussian_filter(image.astype(np.float64), [FINE_MM / width for width in pixel_mm])
    around = [AROUND_MM / width for width in pixel_mm]
    mean = ndimage.gaussian_filter(fine, around)
    return mean, np.maximum(ndimage.gaussian_filter(fine**2, around) - mean**2, 0)


def patient(image: np.ndarray, modality: Modality) -> np.ndarray:
    """The largest connected part of a slice that the modality takes for a body."""
    labels, count = ndimage.label(modality.trust.body(image[None])[0])
    if count == 0:
        return np.zeros(image.shape, bool)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def regions(volume: Volume, index: int, modality: Modality) -> dict[str, np.ndarray]:
    """The tissues of a slice by name, see :func:`region`."""
    image, body = volume.array[index], patient(volume.array[index], modality)
    pixel, unit = (volume.spacing_mm[1], volume.spacing_mm[0]), modality.trust.unit_of(image)
    return {tissue.name: region(image / unit, pixel, tissue, body) for tissue in modality.cases.tissues}


def placed(
    volume: Volume, index: int, wanted: Sequence[Wanted], modality: Modality, generator: np.random.Generator,
    most: int | None = None,
) -> list[Lesion]:
    """Lesions at random places of one slice, in the order in which they are ``wanted``, at most so many.

    One that fits nowhere, or is smaller than LEAST_PIXELS, is left out: it keeps EDGE_MM from the edge of its tissue,
    as far as it reaches, and APART_MM from all others. Raises ValueError for a tissue that the modality has not.
    """
    known = regions(volume, index, modality)
    unknown = sorted({want.tissue for want in wanted} - set(known))
    if unknown:
        raise ValueError(f"expected tissues out of {tuple(known)}, found {unknown}: correct the wanted lesions")
    pixel = (volume.spacing_mm[1], volume.spacing_mm[0])
    depth = {
        name: ndimage.distance_transform_edt(np.pad(mask, 1), sampling=pixel)[1:-1, 1:-1]
        for name, mask in known.items()
    }
    rows, columns = (np.arange(n) * width for n, width in zip(volume.array.shape[1:], pixel, strict=True))
    away = np.full(volume.array.shape[1:], np.inf)
    matrix, mean = volume.ijk_to_ras, local_moments(volume.array[index], pixel)[0]
    found: list[Lesion] = []
    for want in wanted:
        ratio, turn, where = generator.uniform(1, LONGEST), generator.uniform(0, math.pi), generator.random()
        reach = want.diameter_mm / 2 * math.sqrt(ratio)
        places = np.argwhere((depth[want.tissue] > reach + EDGE_MM) & (away > reach + APART_MM))
        small = want.diameter_mm < LEAST_PIXELS * max(pixel)
        if small or len(places) == 0 or (most is not None and len(found) == most):
            continue
        row, column = places[int(where * len(places))].tolist()
        away = np.minimum(away, np.hypot(rows[:, None] - rows[row], columns[None] - columns[column]) - reach)
        right, down = (matrix[:3, n] / np.linalg.norm(matrix[:3, n]) for n in (0, 1))
        contrast = want.contrast * (float(mean[row, column]) if want.share else 1.0)
        axis = math.cos(turn) * right + math.sin(turn) * down
        found.append(Lesion(
            want.tissue, index, _point(matrix, (column, row, index)), want.diameter_mm, contrast, float(ratio),
            (float(axis[0]), float(axis[1]), float(axis[2])),
        ))
    return found


def inserted(volume: Volume, lesions: Sequence[Lesion]) -> Volume:
    """The volume with lesions added, float32; no voxel is darker than the darkest one of the volume."""
    array = volume.array.astype(np.float32)
    for lesion in lesions:
        array += np.float32(lesion.contrast) * lesion.coverage(volume)
    return volume.with_array(np.maximum(array, np.float32(volume.array.min())))


@dataclass(frozen=True, eq=False)
class Parts:
    """Masks (rows, columns) of a lesion on one grid, in slice ``index``: its core, all of it, the ring around it."""

    index: int
    core: np.ndarray
    inside: np.ndarray
    ring: np.ndarray


def parts(lesion: Lesion, frame: Volume, others: Sequence[Lesion], flips: tuple[int, ...] = ()) -> Parts:
    """Where to read a lesion in images on the grid of ``frame``, whose axes ``flips`` are then reversed.

    The core is what is wholly covered within CORE of the radius, or the best covered pixels where none is; the inside
    what is covered by half or more; the ring leaves out ``others``.
    """
    shares = np.flip(lesion.coverage(frame), flips)
    if not shares.any():
        raise ValueError(f"expected a lesion within the image, found it outside at {lesion.centre_mm}: place it anew")
    index = int(shares.sum((1, 2)).argmax())
    middle = np.flip(lesion.within(frame, CORE), flips)[index] > 0.5
    own = shares[index]
    core = (own > 0.99) & middle
    free = np.ones(own.shape, bool)
    for other in others:
        if other != lesion:
            free &= np.flip(other.coverage(frame), flips)[index] == 0
    away = ndimage.distance_transform_edt(own == 0, sampling=(frame.spacing_mm[1], frame.spacing_mm[0]))
    ring = (away > RING_MM[0]) & (away <= RING_MM[1]) & free
    return Parts(index, core if core.any() else own == own.max(), own >= 0.5, ring)


def kept(image: np.ndarray, twin: np.ndarray, truth: np.ndarray, plain: np.ndarray, at: Parts) -> float:
    """Contrast kept: mean over the core of (with - without the lesion), over the same of the references.

    Images (slices, rows, columns): a reconstruction with and without lesions, and what either should be.
    """
    found = (image[at.index] - twin[at.index])[at.core].mean()
    return float(found / (truth[at.index] - plain[at.index])[at.core].mean())


def _point(matrix: np.ndarray, ijk: tuple[int, int, int]) -> tuple[float, float, float]:
    r, a, s = (matrix @ [*ijk, 1.0])[:3].tolist()
    return r, a, s
