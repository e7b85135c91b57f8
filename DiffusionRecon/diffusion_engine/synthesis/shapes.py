"""Where a lesion is put, and its shape: random places that have room for it, and bodies of a wanted size and outline.

A body is the region of points x with |x - c| < R (1 + a f(direction)), f a smooth random field on the sphere of
deviation 1: plane waves of the direction. Its voxels are the nearest N by |x - c| / (1 + a f), N the volume of the
sphere of the wanted diameter: the size is met whatever the outline.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage

WAVES = 12
"""Of the field of an outline."""
SMALLEST_SHARE = 0.35
"""No radius is below this share of the mean one."""


def random_places(
    allowed: np.ndarray, spacing_mm: tuple[float, float, float], diameter_mm: float, count: int,
    generator: torch.Generator,
) -> np.ndarray:
    """Centres (count, 3), indices of slice, row and column, of spheres that lie within ``allowed`` and apart.

    ``allowed``: (slices, rows, columns), true where a lesion may be, such as in a class; ``spacing_mm``: (x, y, z), as
    of volumes. Every place that has room is equally likely. Raises ValueError where nothing is allowed, no more place
    has room, and for no places or diameter.
    """
    _check_diameter(diameter_mm)
    if count < 1:
        raise ValueError(f"expected 1 place or more, found {count}: ask for some")
    if allowed.ndim != 3 or not allowed.any():
        raise ValueError("expected a segment where a lesion may be put, found an empty one: choose another")
    voxel = np.array(spacing_mm[::-1])
    # Beyond the image nothing is allowed.
    room = ndimage.distance_transform_edt(np.pad(allowed, 1), voxel)[1:-1, 1:-1, 1:-1] >= diameter_mm / 2
    found: list[np.ndarray] = []
    free = np.argwhere(room)
    while len(found) < count:
        if not len(free):
            raise ValueError(
                f"expected room for {count} lesions of {diameter_mm:g} mm, found it for {len(found)}: choose smaller "
                "ones, fewer, or a larger segment"
            )
        place = free[int(torch.randint(len(free), (1,), generator=generator))]
        found.append(place)
        free = free[np.linalg.norm((free - place) * voxel, axis=1) >= diameter_mm]
    return np.stack(found)


def body(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], centre: np.ndarray, diameter_mm: float,
    roughness: float, generator: torch.Generator,
) -> np.ndarray:
    """A body (slices, rows, columns) of the volume of a sphere of this diameter, to half a voxel, about ``centre``.

    ``centre``: indices of slice, row and column; ``roughness``: a, deviation of the radius as a share, 0 for a sphere,
    up to 0.3. Raises ValueError for values out of range and a body that reaches beyond the image.
    """
    _check_diameter(diameter_mm)
    if not 0 <= roughness <= 0.3:
        raise ValueError(f"expected a roughness from 0 to 0.3, found {roughness}: correct it")
    voxel = np.array(spacing_mm[::-1])
    away = (np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - centre) * voxel
    distance = np.linalg.norm(away, axis=-1)
    direction = away / np.maximum(distance, 1e-9)[..., None]
    waves = torch.randn(WAVES, 3, generator=generator).double().numpy() * 2
    phases = torch.rand(WAVES, generator=generator).double().numpy() * 2 * math.pi
    field = np.cos(direction @ waves.T + phases).sum(-1) * math.sqrt(2 / WAVES)
    score = distance / np.maximum(1 + roughness * field, SMALLEST_SHARE)
    wanted = max(1, round(math.pi / 6 * diameter_mm**3 / float(np.prod(voxel))))
    if wanted >= score.size:
        raise ValueError(f"a lesion of {diameter_mm:g} mm fills the whole image: choose a smaller one")
    order = np.argpartition(score.ravel(), wanted - 1)[:wanted]
    result = np.zeros(score.size, bool)
    result[order] = True
    found = result.reshape(shape)
    edges = [found[0], found[-1], found[:, 0], found[:, -1], found[:, :, 0], found[:, :, -1]]
    if any(edge.any() for edge in edges):
        raise ValueError(f"a lesion of {diameter_mm:g} mm reaches the edge of the image there: choose another place")
    return found


def _check_diameter(diameter_mm: float) -> None:
    if not (math.isfinite(diameter_mm) and diameter_mm > 0):
        raise ValueError(f"expected a diameter above 0 mm, found {diameter_mm}: correct it")
