"""What the readings weigh: the object's attenuation in a coarse FBP, compared with water's."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from ....classical.fbp import fbp
from ....physics.arc import SeenArc
from ....physics.ct_geometry import ImageGrid
from ..field_of_view import field_of_view_radius_mm
from .look import Look, outer_ends
from .remark import Remark

_PIXELS = 64
_VIEWS = 180
_LEAST_PIXELS = 3  # of the coarse image, across the object
LEAST_VIEWS = 24
"""Fewer views leave streaks that weigh as much as the object."""

_LEAST, MOST = 0.5, 2.25
"""Bodies of soft tissue are within these times water: .9 to 1.1 on CT slices, .43 with the logarithm of base 10."""
_ROUGH_FACTOR = 3.5
"""Their mean with lungs and gaps is within this factor of water."""


def implied_density(look: Look, seen: SeenArc) -> float | None:
    """Attenuation in 1/mm that halves the object's mass: half of it lies in denser pixels. None where it is not seen.

    The middle slice through a coarse FBP; it is not seen by less than 24 views or 150 degrees of them, or if most of
    the views are cut off, or if it is narrower than a few of the coarse pixels.
    """
    geometry = look.geometry
    if seen.covered_rad < math.radians(150) or look.cut_off > 0.5 or geometry.views < LEAST_VIEWS:
        return None
    sinogram = look.p[len(look.p) // 2]
    step = max(1, geometry.views // _VIEWS)
    if step > 1:
        geometry = replace(geometry, angles_rad=geometry.angles_rad[::step])
    radius = field_of_view_radius_mm(geometry)
    if geometry.fan_distances_mm is not None:
        radius = min(radius, 0.95 * geometry.fan_distances_mm[0] / math.sqrt(2))
    wide = float((sinogram > 0.25 * sinogram.max()).sum(-1).mean()) * geometry.detector_spacing_mm
    if wide / geometry.magnification < _LEAST_PIXELS * 2 * radius / _PIXELS:
        return None
    grid = ImageGrid(_PIXELS, _PIXELS, (2 * radius / _PIXELS, 2 * radius / _PIXELS))
    data = torch.from_numpy(np.ascontiguousarray(sinogram[::step], dtype=np.float32))
    width = max(1, round(2 * radius / _PIXELS / (geometry.detector_spacing_mm / geometry.magnification)))
    if width > 1:  # a pixel is several bins wide: average as many
        kernel = torch.ones(1, 1, width) / width
        padded = torch.nn.functional.pad(data[:, None], (width // 2, width - 1 - width // 2), mode="replicate")
        data = torch.nn.functional.conv1d(padded, kernel)[:, 0]
    image = fbp(data, geometry, grid, "hann", extend=look.cut_off > 0.02).numpy().astype(np.float64)
    y, x = np.meshgrid(grid.y_mm, grid.x_mm, indexing="ij")
    values = image[np.hypot(x, y) < 0.97 * radius]
    top = float(np.percentile(values, 99.8))
    solid = np.sort(values[values > 0.1 * top])
    if top <= 0 or not solid.size:
        return None
    mass = np.cumsum(solid)
    return float(solid[int(np.searchsorted(mass, mass[-1] / 2))])


def mean_density(look: Look) -> float | None:
    """Mean attenuation in 1/mm of the object's outline, for few views: sum of the readings over the outline's area.

    The area is that of a circle of the mean width, where a view's width is that of its readings above a tenth of the
    peak. None where the whole object is not seen.
    """
    if look.cut_off > 0.02 or look.peak <= 0 or look.geometry.views < 4 or not all(outer_ends(look.geometry)):
        return None
    bin_mm = look.geometry.detector_spacing_mm / look.geometry.magnification
    width = float((look.p > 0.1 * look.peak).sum(-1).mean()) * bin_mm
    return float(look.p.sum(-1).mean()) * bin_mm / (math.pi / 4 * width**2) if width > 0 else None


def doubt_density(density: float, water_per_mm: float, exactly_one: bool, rough: bool = False) -> list[Remark]:
    """A doubt where the object is far from the attenuation of water, or not quite and its readings are normalised."""
    ratio = density / water_per_mm
    if exactly_one and not 0.8 < ratio < 1.25:
        return [Remark(
            "normalised", f"The largest reading is exactly 1 and the object's attenuation {ratio:.2g} times that of "
            "water: the readings look normalised, so that the values in HU are wrong; give them unscaled.", False,
        )]
    least, most = (1 / _ROUGH_FACTOR, _ROUGH_FACTOR) if rough else (_LEAST, MOST)
    if least < ratio < most:
        return []
    return [Remark(
        "density", f"The object's attenuation is about {density:.3g} per mm, {ratio:.2g} times that of water "
        f"({water_per_mm:g}): check the units of detector_spacing_mm and the readings, or set water_per_mm if it is "
        "another material or energy.", False,
    )]
