"""PET images of formats that only PET has, and of any format with a unit that is stated beside them."""

from __future__ import annotations

from pathlib import Path

from ....io.dicom import is_dicom
from ....io.images import read_volume
from ....io.json_object import read_json
from ....volume import Volume
from .dicom_pet import BQML
from .ecat import is_ecat, read_ecat
from .interfile_header import is_interfile, key_of, read_header
from .interfile_image import read_interfile_image

UNITS = {"bq/ml": BQML, "bqml": BQML, "bq/cc": BQML, "becquerel/ml": BQML, "suv": "SUV", "suvbw": "SUV", "g/ml": "SUV",
         "gml": "SUV"}
"""Units by the ways they are written, small letters."""

SCALES = {"kbq/ml": 1e3, "kbq/cc": 1e3, "mbq/ml": 1e6, "nci/ml": 37.0, "nci/cc": 37.0, "uci/ml": 37e3}
"""Bq/mL in other units of concentration."""


def own_image(path: Path) -> Volume | None:
    """A PET image that only this modality can read in its unit, None for another file.

    Such are Interfile and ECAT 7 images, and any image beside which a JSON file of the same name states "unit" or, as
    BIDS writes it, "Units", which counts before what the file says. Other units of concentration are brought to Bq/mL.
    Interfile names no unit: without a statement its values are relative, "a.u.". Raises ValueError, one sentence.
    """
    if not path.is_file() or is_dicom(path):
        return None
    stated = _stated(path)
    if is_interfile(path):
        if key_of(read_header(path).text("pet data type")) not in ("image", ""):
            return None
        volume = read_interfile_image(path)
    elif is_ecat(path):
        volume = read_ecat(path)
    elif stated is None:
        return None
    else:
        volume = read_volume(path)
    if stated is None:
        return volume
    name, factor = _known(stated, path)
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


def _stated(path: Path) -> str | None:
    """The unit in the JSON file beside an image, if there is one."""
    beside = path.with_name(path.name.split(".")[0] + ".json")
    if path.suffix == ".json" or not beside.is_file():
        return None
    content = read_json(beside)
    found = content.get("unit", content.get("Units"))
    if found is not None and not isinstance(found, str):
        raise ValueError(f"expected a text as \"unit\" in {beside}, found {found!r}: correct it")
    return found or None
