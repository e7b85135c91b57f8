"""PET series of DICOM as volumes in Bq/mL or SUV, each image rescaled by its own numbers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....io.conventions import LPS_TO_RAS, UNKNOWN_UNIT
from ....io.dicom import choose_series, list_series, read_dicom
from ....io.dicom_file import DicomFile, open_dicom
from ....volume import Volume
from ..suv import SuvFactors, suv_factors
from .dicom_header import frame_headers, place_of

BQML = "Bq/mL"


@dataclass(frozen=True, eq=False)
class PetSeries:
    """``volume``: in the unit that was asked for. ``factors``: from the stored values to SUV, None where they cannot be
    told; ``question``: the sentence that asks for what is missing then."""

    volume: Volume
    factors: SuvFactors | None
    question: str | None


def read_dicom_pet(path: str | os.PathLike[str], unit: str | None = None, given: Mapping[str, Any] | None = None,
                   series: str | None = None) -> PetSeries:
    """The PET series of a file or folder; ``unit``: "Bq/mL", a kind of SUV by its name in KINDS ("bw" for SUV), None
    for what is stored.

    ``given``: what the user states in place of the header, by DICOM keyword such as PatientWeight. Raises ValueError,
    one sentence: for images of another modality, values that the unit cannot be told of, and as
    :func:`...io.dicom.read_dicom`.
    """
    place = Path(path)
    frames, series = pet_frames(place, series)
    volume = read_dicom(place, UNKNOWN_UNIT, series)
    factors, question = None, None
    try:
        factors = suv_factors([header for header, _ in frames], given)
    except ValueError as error:
        question = str(error)
    stored = str(frames[0][0].get("Units", "")).upper()
    if unit is None:
        unit = BQML if stored == "BQML" else None
        if unit is None and factors is not None:
            unit = BQML if factors.to_bqml is not None else factors.facts.get("stored", "bw")
    if unit == BQML and stored == "BQML":
        return PetSeries(volume.with_array(volume.array, BQML), factors, question)
    if unit is None or (factors is None and unit != BQML):
        raise ValueError(f"{place}: {question or 'the unit of the values is not known'}")
    if unit == BQML:
        if factors is None or factors.to_bqml is None:
            raise ValueError(f"expected values of {place} that can be brought to Bq/mL, found "
                             f"{stored or 'no Units'}: {'ask for SUV' if factors else question}")
        by = factors.to_bqml
    else:
        assert factors is not None
        by = factors.of(unit)
    name = BQML if unit == BQML else "SUV" if unit == "bw" else f"SUV{unit}"
    each = by_slice(volume.ijk_to_ras, len(volume.array), by, [where for _, where in frames])
    array = (volume.array * each[:, None, None]).astype(volume.array.dtype)
    return PetSeries(volume.with_array(array, name), factors, question)


def pet_frames(place: Path, series: str | None = None) -> tuple[list[tuple[dict[str, Any], np.ndarray | None]],
                                                                str | None]:
    """The header and the place (LPS, mm, or None) of each image of a PET series, and the UID of one of a folder.

    Raises ValueError, one sentence, for images of another modality.
    """
    files: tuple[DicomFile, ...]
    if place.is_dir():
        listed = list_series(place)
        pets = [found for found in listed if found.modality == "PT"]
        chosen = choose_series(pets if pets and series is None else listed, place, series)
        files, series = chosen.files, chosen.uid
    else:
        files = (open_dicom(place),)
    return frames_of_pet(files, str(place)), series


def frames_of_pet(files: Iterable[DicomFile], name: str) -> list[tuple[dict[str, Any], np.ndarray | None]]:
    """The header and the place of each image of the files of one series; ValueError where they are no PET."""
    found = []
    for file in files:
        modality = file.text("Modality")
        if modality != "PT":
            raise ValueError(f"expected a PET series (Modality PT) in {name}, found {modality or 'none'}: choose the "
                             "PET series")
        found += [(header, place_of(file, n)) for n, header in enumerate(frame_headers(file))]
    return found


def by_slice(ijk_to_ras: np.ndarray, slices: int, factors: np.ndarray, places: Sequence[np.ndarray | None]
             ) -> np.ndarray:
    """The factors of images, whose first voxels lie at ``places`` (LPS, mm), in the order of a volume's slices."""
    if bool((factors == factors[0]).all()):
        return np.full(slices, factors[0])
    inverse = np.linalg.inv(LPS_TO_RAS @ ijk_to_ras)
    found = np.full(slices, np.nan)
    for factor, where in zip(factors, places, strict=True):
        number = None if where is None else round(float((inverse @ [*where, 1.0])[2]))
        if number is not None and 0 <= number < slices:
            found[number] = factor
    if not np.isfinite(found).all():
        raise ValueError("expected a factor for every slice, found slices without a place: export the series again")
    return found
