"""Simulation of a CT measurement from a volume, without inverse crime."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...physics.ct import CTGeometry, fan_geometry, make_projector, parallel_geometry
from ...physics.grid import ImageGrid
from ...physics.noise import simulate_counts
from ...physics.operator import LinearOperator
from ...physics.scatter import scattered
from ...physics.spectrum import bone_share, hardened
from ...sampling.noise import Noise
from ...volume import AIR_HU, Volume
from ..contract import Asked
from .measurement import Measurement
from .scale import hu_to_attenuation
from .scan import CTScan

SLICES_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated measurement and the reference image it stands for, on the grid of the reconstruction."""

    measurement: Measurement
    reference: Volume


def refined(geometry: CTGeometry, factor: int) -> CTGeometry:
    """The same detector with every bin split into ``factor``."""
    return replace(
        geometry, detector_count=geometry.detector_count * factor,
        detector_spacing_mm=geometry.detector_spacing_mm / factor,
    )


def readings(attenuation: Tensor, geometry: CTGeometry, grid: ImageGrid) -> Tensor:
    """Noiseless readings (slices, views, detectors) of images on ``grid``, in 1/mm, without inverse crime.

    Projected on pixels half as wide, readings averaged in pairs: what the discretisation costs in a reconstruction is
    as in real data, as far as the image resembles the object.
    """
    fine = ImageGrid(2 * grid.rows, 2 * grid.columns, (grid.pixel_mm[0] / 2, grid.pixel_mm[1] / 2), grid.centre_mm)
    projector = make_projector(refined(geometry, 2), fine, device=attenuation.device, implementation="on_the_fly")
    # Repeated pixels keep the sharp edges that an object has between pixels; interpolation would smooth them away.
    repeated = attenuation.repeat_interleave(2, -2).repeat_interleave(2, -1)
    return projector.forward(repeated).unflatten(-1, (geometry.detector_count, 2)).mean(-1)


def scan_geometry(scan: CTScan, grid: ImageGrid) -> CTGeometry:
    """The rays of a simulated scan: the detector covers the grid's diagonal, one bin a pixel at the isocentre.

    Fan beams have the distances of a common clinical scanner: source to isocentre 570 mm, to detector 1040 mm.
    """
    arc = math.radians(scan.arc_degrees or (180.0 if scan.geometry == "parallel" else 360.0))
    if scan.geometry == "parallel":
        return parallel_geometry(grid, scan.views, arc)
    return fan_geometry(grid, scan.views, arc, curved=scan.geometry == "fan_curved")


def simulate(volume: Volume, asked: Asked, factor: int | tuple[int, int], first: int = 0) -> Simulation:
    """Scan the slices of a volume in HU at a finer grid than they are reconstructed on.

    ``factor``: native pixels of a reconstructed one along rows and columns (j, i), one number for both. The data come
    from the native pixels (halved by repetition along an axis whose factor is 1) through the projector at that
    resolution, detector readings averaged to the coarse spacing, after hardening and scatter where the scan has them,
    which act on what the fine bins detect; the reference is the mean of the native pixels. Values
    below -1000 HU, which no scanner can produce, are raised to it. ``first``: index of the first slice in the whole
    stack; a slice's noise depends on seed and index alone.
    """
    scan: CTScan = asked.scan
    factors = (factor, factor) if isinstance(factor, int) else factor
    tall, wide = (size // by * by for size, by in zip(volume.array.shape[1:], factors, strict=True))
    volume = volume.crop(rows=(0, tall), columns=(0, wide))
    volume = volume.with_array(np.maximum(volume.array, AIR_HU).astype(np.float32))
    reference = volume.bin_in_plane(factors)
    rows, columns = reference.array.shape[1:]
    down, along = (max(2, by) for by in factors)
    fine, native = max(down, along), volume.array
    for axis, by in zip((1, 2), factors, strict=True):
        native = native if by > 1 else native.repeat(2, axis)
    column_mm, row_mm = reference.spacing_mm[:2]
    geometry = scan_geometry(scan, ImageGrid(rows, columns, (row_mm, column_mm)))
    fine_geometry = refined(geometry, fine)
    grid = ImageGrid(rows * down, columns * along, (row_mm / down, column_mm / along))
    projector = make_projector(fine_geometry, grid, implementation="on_the_fly")
    # A few slices at a time: the projector's own arrays are larger than its images.
    unbinned = torch.cat([
        _detected(torch.from_numpy(part), projector, fine_geometry, scan)
        for part in np.array_split(native, math.ceil(len(native) / SLICES_AT_ONCE))
    ]).unflatten(-1, (geometry.detector_count, fine))
    noise = Noise(asked.seed, first, "scan")
    spacing = float(volume.spacing_mm[2])
    if scan.i0 is not None:
        counts = torch.stack([
            simulate_counts(part, scan.i0 / fine, 0.0, stream).sum(-1)
            for part, stream in zip(unbinned, noise.streams(len(unbinned)), strict=True)
        ])
        counts = counts + scan.electronic_std * noise.normal(counts)
        measurement = Measurement(counts.numpy(), geometry, spacing, "counts", scan.i0, scan.electronic_std)
    else:
        clean = unbinned.mean(-1)
        std = scan.noise_percent / 100 * clean.amax((-2, -1), keepdim=True)
        if not bool((std > 0).all()):
            raise ValueError("a slice holds only air, so it has nothing to scan: choose other slices")
        noisy = clean + std * noise.normal(clean)
        variance = (std**2).numpy()
        measurement = Measurement(noisy.numpy(), geometry, spacing, variance=variance)
    return Simulation(measurement, reference)


def _detected(hu: Tensor, projector: LinearOperator, geometry: CTGeometry, scan: CTScan) -> Tensor:
    """Line integrals without noise that a detector reads of slices in HU: hardened and with scatter, where asked."""
    attenuation = torch.from_numpy(hu_to_attenuation(hu.numpy(), scan.water_per_mm).astype(np.float32))
    lines = projector.forward(attenuation)
    if scan.beam_hardening:
        bone = projector.forward(attenuation * bone_share(hu))
        lines = hardened(lines - bone, bone)
    return scattered(lines, geometry, scan.scatter_percent) if scan.scatter_percent > 0 else lines
