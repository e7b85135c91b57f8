"""The reconstruction grid, and what to do about data that the detector's ends cut off."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...physics.arc import covers_whole_turn
from ...physics.ct_geometry import CTGeometry, ImageGrid
from ...physics.noise import estimate_noise_std
from ...volume import WATER_PER_MM

_END_PART = 0.01  # of the detector, at least two bins: what counts as its end
_ABOVE_NOISE = 5.0  # standard deviations of an end's mean
_ABOVE_PEAK = 0.02  # of the largest line integral: below this, drift and scatter look alike
_VIEWS = 0.02  # of all views must be cut off before the data count as truncated
_LARGEST_EXTENSION = 2.0  # times the field of view


class FieldOfView(NamedTuple):
    """Grid to reconstruct on, the share of views cut off at a detector end, and a sentence for the user if any are."""

    grid: ImageGrid
    truncated_views: float
    sentence: str | None


def field_of_view_radius_mm(geometry: CTGeometry) -> float:
    """Radius about the isocentre that every view covers; for an off-centre detector of a whole turn, its far side."""
    half = geometry.detector_spacing_mm / 2
    u = np.array((geometry.detector_u_mm[0] - half, geometry.detector_u_mm[-1] + half))
    if geometry.fan_distances_mm is None:
        reach = u
    else:
        sid, sdd = geometry.fan_distances_mm
        reach = sid * np.sin(np.arctan(u / sdd) if geometry.type == "fan_flat" else np.clip(u / sdd, -1.5, 1.5))
    near, far = np.sort(np.array((-reach[0], reach[1])))
    radius = far if near <= 0 or (covers_whole_turn(geometry.angles_rad) and near < 0.8 * far) else near
    if radius <= 0:
        raise ValueError("The detector does not see the isocentre from either side: check detector_offset_mm, "
                         "detector_count and detector_spacing_mm.")
    return float(radius)


def reconstruction_grid(sinogram: Tensor, geometry: CTGeometry, pixel_mm: float | None = None,
                        noise_std: float | None = None) -> FieldOfView:
    """A square grid over the inscribed field of view, or a larger one where the object reaches beyond it.

    The pixel is by default a detector bin's size at the isocentre.
    A view is cut off where the mean p of an end of the detector is above 5 standard deviations of its noise and
    2 % of the largest p. A disc of water whose chord at the field's edge (radius R) gives the upper tenth p of those
    ends has the radius sqrt(R^2 + (p / 2 mu)^2): the extended grid covers it and 10 % more, at most 2 R.
    ``sinogram`` is (..., views, detectors), line integrals.
    """
    radius = field_of_view_radius_mm(geometry)
    noise = estimate_noise_std(sinogram) if noise_std is None else noise_std
    bins = max(2, round(_END_PART * geometry.detector_count))
    ends = [sinogram[..., :bins].mean(dim=-1), sinogram[..., -bins:].mean(dim=-1)]
    u = geometry.detector_u_mm
    if covers_whole_turn(geometry.angles_rad) and min(-u[0], u[-1]) < 0.8 * max(-u[0], u[-1]):
        ends = ends[1:] if u[-1] > -u[0] else ends[:1]  # the near end cuts through the object on purpose
    end = torch.stack(ends).amax(dim=0).double()
    cut = end > max(_ABOVE_NOISE * noise / math.sqrt(bins), _ABOVE_PEAK * float(sinogram.max()))
    share = float(cut.double().mean())
    if share <= _VIEWS:
        return FieldOfView(_square_grid(geometry, radius, pixel_mm), share, None)
    chord = float(torch.quantile(end[cut], 0.9)) / WATER_PER_MM
    wanted = min(1.1 * math.hypot(radius, chord / 2), _LARGEST_EXTENSION * radius)
    grid = _square_grid(geometry, wanted, pixel_mm)
    return FieldOfView(grid, share, f"The object reaches beyond the field of view of {2 * radius:.0f} mm in "
                       f"{100 * share:.0f} % of the views: reconstructed on {grid.columns * grid.pixel_mm[1]:.0f} mm; "
                       "values near and outside the field of view are not reliable.")


def _square_grid(geometry: CTGeometry, radius_mm: float, pixel_mm: float | None) -> ImageGrid:
    pixel = geometry.detector_spacing_mm / geometry.magnification if pixel_mm is None else pixel_mm
    if not math.isfinite(pixel) or pixel <= 0:
        raise ValueError(f"Expected a positive pixel_mm, found {pixel_mm}.")
    if geometry.fan_distances_mm is not None:  # the source must stay outside the grid's corners
        radius_mm = min(radius_mm, 0.98 * geometry.fan_distances_mm[0] / math.sqrt(2) - pixel)
    side = 2 * max(1, math.ceil(radius_mm / pixel - 1e-6))
    return ImageGrid(side, side, (pixel, pixel))
