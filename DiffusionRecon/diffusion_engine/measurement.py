"""A CT measurement: sinograms with their geometry, in memory and as sinogram file plus geometry.json. No torch here."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from .io.images import read_array, write_volume
from .physics.ct_geometry import CTGeometry
from .physics.geometry_json import SinogramExtras, check_sinogram_shape, read_geometry, write_geometry
from .volume import Volume

KINDS = ("line_integrals", "counts")


@dataclass(frozen=True, eq=False)
class Measurement:
    """Sinograms (slices, views, detectors) with their geometry.

    ``kind``: "line_integrals" (dimensionless) or "counts" (photons; ``i0`` without an object, None: estimated from the
    air beside the object). ``variance``: of the line integrals, broadcastable to ``values``, or None when unknown:
    it is then estimated from the data. Raises ValueError for a shape that is not the geometry's or bad readings.
    """

    values: np.ndarray
    geometry: CTGeometry
    slice_spacing_mm: float = 1.0
    kind: str = "line_integrals"
    i0: float | None = None
    electronic_std: float = 0.0
    variance: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_sinogram_shape(self.values.shape, self.geometry)
        bad = int((~np.isfinite(self.values)).sum())
        if bad:
            raise ValueError(f"the sinogram holds {bad} NaN or infinite readings: repair or remove them first")
        if self.kind not in KINDS:
            raise ValueError(f"expected values to be one of {KINDS}, found '{self.kind}'")


def read_measurement(sinogram: str | os.PathLike[str], geometry: str | os.PathLike[str]) -> Measurement:
    """Read a sinogram (image file with axes slices, views, detectors) and the geometry.json that belongs to it."""
    rays, extras = read_geometry(geometry)
    values = read_array(sinogram).astype(np.float32)
    return Measurement(values, rays, extras.slice_spacing_mm, extras.values, extras.i0)


def write_measurement(
    measurement: Measurement, sinogram: str | os.PathLike[str], geometry: str | os.PathLike[str]
) -> None:
    """Write a sinogram and its geometry.json; noise that the format cannot hold is estimated again when read."""
    rays = measurement.geometry
    matrix = np.diag([rays.detector_spacing_mm, 1.0, measurement.slice_spacing_mm, 1.0])
    write_volume(Volume(measurement.values, matrix, measurement.kind), sinogram)
    write_geometry(geometry, rays, SinogramExtras(measurement.slice_spacing_mm, measurement.kind, measurement.i0))
