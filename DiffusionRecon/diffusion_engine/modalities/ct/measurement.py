"""A CT measurement: sinograms with their geometry, in memory and as sinogram file plus geometry.json. No torch here."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...io.images import read_array, write_volume
from ...physics.ct_geometry import CTGeometry
from ...volume import Volume
from .geometry_json import SinogramExtras, check_sinogram_shape, read_geometry, write_geometry

KINDS = ("line_integrals", "counts")


@dataclass(frozen=True, eq=False)
class Measurement:
    """Sinograms (slices, views, detectors) with their geometry.

    ``kind``: "line_integrals" (dimensionless) or "counts" (photons; ``i0`` without an object, None: estimated from the
    air beside the object). ``variance``: of the line integrals, broadcastable to ``values``, infinite where a reading
    is none (a dead bin has weight zero); None when unknown: it is then computed from counts, or estimated from the
    data. Raises ValueError for a shape that is not the geometry's, bad readings, or a variance that is not positive.
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
            raise ValueError(
                f"the sinogram holds {bad} NaN or infinite readings: repair or remove them first, or give them any "
                "finite value and an infinite variance"
            )
        if self.kind not in KINDS:
            raise ValueError(f"expected values to be one of {KINDS}, found '{self.kind}'")
        if self.variance is not None:
            _check_variance(np.asarray(self.variance), self.values.shape)


def read_measurement(sinogram: str | os.PathLike[str], geometry: str | os.PathLike[str]) -> Measurement:
    """Read a sinogram (image file with axes slices, views, detectors) and the geometry.json that belongs to it."""
    rays, extras = read_geometry(geometry)
    values = read_array(sinogram).astype(np.float32)
    variance = None
    if extras.variance is not None:
        variance = read_array(Path(geometry).parent / extras.variance)
    elif extras.noise_std is not None:
        variance = np.full((1, 1, 1), extras.noise_std**2)
    return Measurement(
        values, rays, extras.slice_spacing_mm, extras.values, extras.i0, extras.electronic_std, variance
    )


def write_measurement(
    measurement: Measurement, sinogram: str | os.PathLike[str], geometry: str | os.PathLike[str]
) -> None:
    """Write a sinogram and its geometry.json, and beside this a file of the variance where one number is not enough.

    :func:`read_measurement` gives the same noise back. The variance file has the name of the geometry file with the
    ending .variance.nrrd.
    """
    rays = measurement.geometry
    matrix = np.diag([rays.detector_spacing_mm, 1.0, measurement.slice_spacing_mm, 1.0])
    write_volume(Volume(measurement.values, matrix, measurement.kind), sinogram)
    std, name = None, None
    if measurement.variance is not None:
        variance = np.asarray(measurement.variance)
        if variance.size == 1 and np.isfinite(variance).all():
            std = math.sqrt(float(variance.reshape(())))
        else:
            name = variance_name(geometry)
            shape = (1,) * (3 - variance.ndim) + variance.shape
            write_volume(Volume(variance.reshape(shape), matrix, "variance"), Path(geometry).with_name(name))
    electronic = measurement.electronic_std if measurement.kind == "counts" else 0.0
    write_geometry(geometry, rays, SinogramExtras(
        measurement.slice_spacing_mm, measurement.kind, measurement.i0, electronic, std, name
    ))


def variance_name(geometry: str | os.PathLike[str]) -> str:
    """Name of the variance file that belongs to a geometry file, in the same folder."""
    return Path(geometry).stem + ".variance.nrrd"


def _check_variance(variance: np.ndarray, shape: tuple[int, ...]) -> None:
    try:
        fits = np.broadcast_shapes(variance.shape, shape) == tuple(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"expected a variance that fits the sinogram of shape {tuple(shape)}, found one of shape {variance.shape}: "
            "give one number, or one for each slice, view or detector bin"
        )
    wrong = int((~(variance > 0)).sum())
    if wrong:
        raise ValueError(
            f"expected positive variances, found {wrong} that are zero, negative or NaN: a reading to leave out has "
            "an infinite variance"
        )
    if not np.isfinite(variance).any():
        raise ValueError("every variance is infinite, so that no reading is left: correct the variance")
