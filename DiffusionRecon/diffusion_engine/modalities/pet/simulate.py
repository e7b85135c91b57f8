"""Simulation of a PET acquisition from an activity volume, without inverse crime.

    y ~ Poisson(t + b),   t = k exp(-P mu) P G x,   b = randoms + scatter

x lies on the volume's own pixels, lines in bins at least twice as narrow as those that count, and t is their sum; k
gives each slice the counts that are asked for. Randoms are even; scatter is t smoothed so far that it only follows
where the activity is. A scatter that were physical would need the tissue and the energies, and is not known as well as
here, where the expected background is given to the reconstruction: that is kinder than a scanner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ...physics.ct import CTGeometry, ImageGrid, make_projector, view_angles
from ...physics.operator import LinearOperator
from ...physics.pet import emission_geometry, smoothed
from ...sampling.noise import Noise
from ...volume import Volume
from ..contract import Asked
from .attenuation_map import attenuation_of, water_body
from .scan import PETScan
from .sinogram import Sinogram, about_axis

SLICES_AT_ONCE = 8
MILLION = 1e6
SCATTERED = 0.5
"""Scatter's share of the background; the rest are randoms."""
SCATTER_MM, SCATTER_RADIANS = 60.0, 0.5
"""Standard deviations by which the trues are smoothed across bins and angles to look like scatter."""


@dataclass(frozen=True, eq=False)
class Simulation:
    """Simulated counts, the activity that they stand for on the reconstruction's pixels, and what is to be said."""

    sinogram: Sinogram
    reference: Volume
    notes: list[str]


def scan_geometry(scan: PETScan, grid: ImageGrid) -> CTGeometry:
    """The lines of a simulated acquisition of images on ``grid``."""
    width = scan.bin_mm or min(grid.pixel_mm)
    bins = scan.bins or 2 * math.ceil(grid.reach_mm / width) + 1
    return emission_geometry(view_angles(scan.angles, math.pi), bins, width)


def simulate(volume: Volume, asked: Asked, factors: tuple[int, int], first: int = 0) -> Simulation:
    """Scan the slices of an activity volume in any unit; negative values, a filter's undershoot, count as 0.

    ``factors``: native pixels of a reconstructed one along rows and columns (j, i); an axis whose factor is 1 is halved
    by repetition. ``first``: index of the first slice in the whole stack; a slice's noise depends on seed and index
    alone. Raises ValueError for a slice without activity.
    """
    scan: PETScan = asked.scan
    tall, wide = (size // by * by for size, by in zip(volume.array.shape[1:], factors, strict=True))
    volume = volume.crop(rows=(0, tall), columns=(0, wide))
    volume = volume.with_array(np.maximum(volume.array, 0).astype(np.float32))
    reference = volume.bin_in_plane(factors)
    rows, columns = reference.array.shape[1:]
    column_mm, row_mm = reference.spacing_mm[:2]
    geometry = scan_geometry(scan, ImageGrid(rows, columns, (row_mm, column_mm)))
    mu, notes = None, list[str]()
    if scan.attenuated:
        mu, notes = attenuation_of(volume, scan)
        if mu is None:
            mu, said = water_body(volume.array)
            notes = [said]
    trues, survival = _measured(volume.array, mu, scan, geometry, (row_mm, column_mm), factors)
    each = trues.sum((-2, -1), keepdim=True)
    if not bool((each > 0).all()):
        raise ValueError("a slice holds no activity, so it has nothing to scan: choose other slices")
    gain = scan.counts * MILLION / each
    trues = trues * gain
    background = _background(trues, scan, geometry)
    noise = Noise(asked.seed, first, "scan")
    mean = (trues + background).numpy()
    prompts = mean if scan.denoise else np.stack([
        stream.poisson(own) for own, stream in zip(mean, noise.streams(len(mean)), strict=True)
    ])
    spacing = float(reference.spacing_mm[2])
    sinogram = Sinogram(
        prompts, np.array(geometry.angles_rad), geometry.detector_spacing_mm, (geometry.detector_count - 1) / 2,
        spacing, background=background.numpy(), attenuation=None if survival is None else survival.numpy(),
        efficiency=(gain / gain.mean()).numpy(), duration_s=scan.duration_s,
        counts_per_bq=float(gain.mean()) / scan.duration_s, ijk_to_ras=about_axis(reference.ijk_to_ras, rows, columns),
        facts={
            "format": "simulated", "unit": volume.unit, "counts": scan.counts, "psf_mm": scan.psf_mm,
            "rows": rows, "columns": columns, "pixel_mm": [row_mm, column_mm], "denoised": scan.denoise,
        },
    )
    return Simulation(sinogram, reference, notes)


def _measured(
    activity: np.ndarray, mu: np.ndarray | None, scan: PETScan, geometry: CTGeometry, pixel_mm: tuple[float, float],
    factors: tuple[int, int],
) -> tuple[Tensor, Tensor | None]:
    """P G x exp(-P mu) of native pixels, and exp(-P mu): (slices, angles, bins), means over finer bins."""
    down, along = (max(2, by) for by in factors)
    split = max(down, along)
    fine = CTGeometry(
        "parallel", geometry.angles_rad, geometry.detector_count * split, geometry.detector_spacing_mm / split,
        geometry.detector_offset_mm,
    )
    rows, columns = (size * max(2, by) // by for size, by in zip(activity.shape[1:], factors, strict=True))
    grid = ImageGrid(rows, columns, (pixel_mm[0] / down, pixel_mm[1] / along))
    projector = make_projector(fine, grid, implementation="on_the_fly")

    def native(values: np.ndarray) -> Tensor:
        for axis, by in zip((1, 2), factors, strict=True):
            values = values if by > 1 else values.repeat(2, axis)
        return torch.from_numpy(values)

    def binned(lines: Tensor) -> Tensor:
        return lines.unflatten(-1, (geometry.detector_count, split)).mean(-1)

    trues, survivals = [], []
    count = math.ceil(len(activity) / SLICES_AT_ONCE)
    maps: list[np.ndarray] | list[None] = [None] * count if mu is None else np.array_split(mu, count)
    for part, own in zip(np.array_split(activity, count), maps, strict=True):
        lines = _seen(native(part), projector, grid, scan.psf_mm)
        if own is not None:
            depth = projector.forward(native(own))
            lines = lines * torch.exp(-depth)
            survivals.append(torch.exp(-binned(depth)))
        trues.append(binned(lines))
    return torch.cat(trues), torch.cat(survivals) if survivals else None


def _seen(activity: Tensor, projector: LinearOperator, grid: ImageGrid, psf_mm: float) -> Tensor:
    return projector.forward(smoothed(activity, grid.pixel_mm, psf_mm)).clamp_min(0)


def _background(trues: Tensor, scan: PETScan, geometry: CTGeometry) -> Tensor:
    """Expected randoms and scatter, as many percent of each slice's trues as the scan says."""
    total = trues.sum((-2, -1), keepdim=True) * scan.background_percent / 100
    even = torch.ones_like(trues) / trues[0].numel()
    widths = (0.0, SCATTER_RADIANS * len(geometry.angles_rad) / math.pi, SCATTER_MM / geometry.detector_spacing_mm)
    smooth = torch.from_numpy(ndimage.gaussian_filter(trues.numpy(), widths, mode=("nearest", "nearest", "constant")))
    smooth = smooth / smooth.sum((-2, -1), keepdim=True)
    return total * (SCATTERED * smooth + (1 - SCATTERED) * even)
