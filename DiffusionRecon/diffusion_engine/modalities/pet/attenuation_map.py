"""Attenuation at 511 keV on the grid of an image: of a volume that is given, or of water in the body that PET shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...io.images import read_volume
from ...physics.attenuation import WATER_PER_MM, check_mu, mu_of_hu, on_grid
from ...volume import AIR_HU, Volume, check_image
from .scan import PETScan
from .trust import body

LEAST_HU = -100.0
"""A CT in HU holds air: a volume without lower values is none."""


def attenuation_of(frame: Volume, scan: PETScan) -> tuple[np.ndarray | None, list[str]]:
    """mu in 1/mm (slices, rows, columns) of the map that a scan names, on the grid of ``frame``, and what is to be said
    of it; None where it names none. Raises ValueError, one sentence, for a map that cannot be used."""
    if scan.attenuation_map is None:
        return None, []
    place = Path(scan.attenuation_map)
    if not place.exists():
        raise ValueError(f"expected a CT or an attenuation map at {place}, found nothing: check attenuation_map")
    volume = read_volume(place)
    check_image(volume)
    unit = volume.unit if volume.unit != "a.u." else scan.attenuation_unit
    if scan.attenuation_unit not in (None, unit):
        raise ValueError(f"expected a map in {scan.attenuation_unit} as attenuation_unit says, found {unit} in "
                         f"{place.name}: leave out attenuation_unit, or choose another file")
    if unit is None:
        raise ValueError(f"expected the unit of {place.name}, found none: give HU or 1/mm as attenuation_unit")
    if unit == "HU":
        low = float(volume.array.min())
        if low > LEAST_HU:
            raise ValueError(f"expected a CT in HU in {place.name}, found no value below {low:.4g}: give 1/mm as "
                             "attenuation_unit if it is an attenuation map")
        volume = Volume(mu_of_hu(np.maximum(volume.array, AIR_HU), scan.tube_kvp), volume.ijk_to_ras, "1/mm")
        said = f"Attenuation is that of the CT {place.name} by the bilinear law at {scan.tube_kvp} kVp."
    elif unit == "1/mm":
        check_mu(volume.array)
        said = f"Attenuation is that of the map {place.name}."
    else:
        raise ValueError(f"expected a CT in HU or attenuation in 1/mm in {place.name}, found {unit}: choose another")
    shape = frame.array.shape
    mu, note = on_grid(volume, frame.ijk_to_ras, (shape[0], shape[1], shape[2]), 0.0)
    return np.maximum(mu, 0).astype(np.float32), [said, *([] if note is None else [note])]


def water_body(activity: np.ndarray) -> tuple[np.ndarray, str]:
    """mu of a body of water where the activity (slices, rows, columns) shows one, and the sentence that says so."""
    return body(activity) * np.float32(WATER_PER_MM), (
        "No CT or attenuation map was given: the body that the PET shows was taken as water, also its lungs and bones."
    )
