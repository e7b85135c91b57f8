"""PET images of any format in a unit that is known: stored by the file, stated beside it, or asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....io.conventions import UNKNOWN_UNIT
from ....io.dicom import is_dicom
from ....io.images import read_volume
from ....volume import Volume
from .description import read_json
from .dicom_pet import BQML, read_dicom_pet
from .ecat import is_ecat, read_ecat
from .interfile_header import is_interfile
from .interfile_image import read_interfile_image

UNITS = {"bq/ml": BQML, "bqml": BQML, "bq/cc": BQML, "becquerel/ml": BQML, "suv": "SUV", "suvbw": "SUV", "g/ml": "SUV",
         "gml": "SUV"}
"""Units by the ways they are written, small letters."""

SCALES = {"kbq/ml": 1e3, "kbq/cc": 1e3, "mbq/ml": 1e6, "nci/ml": 37.0, "nci/cc": 37.0, "uci/ml": 37e3}
"""Bq/mL in other units of concentration."""


def read_pet_image(path: str | os.PathLike[str], unit: str | None = None, description: Path | None = None,
                   given: Mapping[str, Any] | None = None, series: str | None = None, frame: int | None = None
                   ) -> Volume:
    """A PET image of DICOM, NIfTI, NRRD, MetaImage, Interfile or ECAT 7 in Bq/mL or SUV.

    ``unit``: of the values, in place of what the file says; ``description``: a JSON file whose "unit" (or "Units", as
    BIDS writes it) states it; ``given`` and ``series``: as :func:`.dicom_pet.read_dicom_pet`; ``frame``: of ECAT.
    Other units of concentration are brought to Bq/mL. Raises ValueError, one sentence, for a unit that is not known:
    it is never guessed.
    """
    place = Path(path)
    if place.is_dir() or (place.is_file() and is_dicom(place)):
        wanted = None if unit is None else "bw" if _known(unit, place)[0] == "SUV" else BQML
        return read_dicom_pet(place, wanted, given, series).volume
    if is_interfile(place):
        volume = read_interfile_image(place)
    elif place.is_file() and is_ecat(place):
        volume = read_ecat(place, None, frame)
    else:
        volume = read_volume(place)
    stated = unit or (None if description is None else _described(description)) or (
        volume.unit if volume.unit != UNKNOWN_UNIT else None)
    if stated is None:
        raise ValueError(
            f"expected the unit of the values of {place.name}, found none: state Bq/mL or SUV, or write \"unit\" into "
            f"{place.name.split('.')[0]}.json"
        )
    name, factor = _known(stated, place)
    array = volume.array if factor == 1 else (volume.array * factor).astype("float32")
    return Volume(array, volume.ijk_to_ras, name)


def _known(unit: str, place: Path) -> tuple[str, float]:
    """The name of a unit and the factor that brings values to it; ValueError for one that PET does not have."""
    plain = unit.strip().lower().replace(" ", "")
    if plain in UNITS:
        return UNITS[plain], 1.0
    if plain in SCALES:
        return BQML, SCALES[plain]
    raise ValueError(f"expected Bq/mL or SUV as the unit of {place.name}, found '{unit}': "
                     + ("choose the PET image, not the CT" if plain == "hu" else "state the unit of the values"))


def _described(path: Path) -> str | None:
    content = read_json(path)
    found = content.get("unit", content.get("Units"))
    if found is not None and not isinstance(found, str):
        raise ValueError(f"expected a text as \"unit\" in {path}, found {found!r}: correct it")
    return found or None
