"""Factors of PET images to standardised uptake values, with their reasons."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import Parsers, add_command, named_values

OPTIONS = {"PatientWeight": "--weight-kg", "PatientSize": "--height-m", "PatientSex": "--sex",
           "RadionuclideTotalDose": "--injected-mbq", "RadiopharmaceuticalStart": "--injected-at"}
"""Where what a header lacks is stated, by the field that a sentence names."""


def add(parsers: Parsers) -> None:
    """Register the command of this file."""
    sub = add_command(
        parsers, "suv", suv_command,
        "The factors that make SUV of a PET series, by the rules of its vendor, and how they were found.",
    )
    sub.add_argument("path", type=Path, metavar="FOLDER",
                     help="of DICOM images of PET, one of them, or a JSON list of headers by DICOM keyword")
    sub.add_argument("--series", help="UID of the series, where the folder has several")
    sub.add_argument("--weight-kg", type=float, help="of the patient, in place of the header's")
    sub.add_argument("--height-m", type=float, help="of the patient: for lean mass, surface and ideal weight")
    sub.add_argument("--sex", help="of the patient, M or F: for lean mass and ideal weight")
    sub.add_argument("--injected-mbq", type=float, help="injected activity")
    sub.add_argument("--injected-at", help="time of injection, such as 14:05:30 or 2024-03-15 14:05:30")
    sub.add_argument("--given", action="append", default=[], metavar="KEYWORD=VALUE",
                     help="another field in place of the header's, by its DICOM keyword; may be repeated")
    sub.add_argument("--kind", default="bw", help="of the SUV that --out writes: bw, lbm, lbm_james, bsa or ibw (bw)")
    sub.add_argument("--out", type=Path, help="write the images as SUV there (.nrrd)")


def suv_command(options: argparse.Namespace) -> dict[str, Any]:
    """Print factors and reasons; returns them, a number a kind where all images have the same, else one an image."""
    from ..io.images import write_volume
    from ..modalities.pet.readings.dicom_pet import pet_frames, read_dicom_pet
    from ..modalities.pet.readings.header_list import is_header_list, read_header_list
    from ..modalities.pet.stated import stated_fields
    from ..modalities.pet.suv import KINDS, suv_factors

    given = stated_fields(options.weight_kg, options.height_m, options.sex, options.injected_mbq, options.injected_at)
    given |= named_values(options.given)
    listed = is_header_list(options.path)
    if listed and options.out is not None:
        raise ValueError(f"expected images for --out, found headers alone in {options.path}: give the DICOM folder")
    try:
        if listed:
            headers = read_header_list(options.path)
        else:
            frames, options.series = pet_frames(options.path, options.series)
            headers = [header for header, _place in frames]
        found = suv_factors(headers, given)
        if options.out is not None:
            write_volume(read_dicom_pet(options.path, options.kind, given, options.series).volume, options.out)
    except ValueError as error:
        raise ValueError(_with_option(str(error))) from error
    factors = {kind: found.of(kind) for kind in KINDS if kind in found.ratios}
    for kind, each in factors.items():
        least, most = float(each.min()), float(each.max())
        text = f"{least:.8g}" if least == most else f"{least:.8g} to {most:.8g}, by image"
        print(f"SUV{kind} = value * {text}  ({KINDS[kind]})")
    for kind, sentence in found.missing.items():
        print(f"SUV{kind}: {_with_option(sentence)}")
    print(*found.reasons, sep="\n")
    return {
        "images": len(headers),
        "factors": {kind: float(each[0]) if (each == each[0]).all() else each.tolist()
                    for kind, each in factors.items()},
        "missing": dict(found.missing), "reasons": list(found.reasons), "facts": dict(found.facts),
    }


def _with_option(sentence: str) -> str:
    """A sentence that asks for a field, with the option that states it."""
    option = next((option for field, option in OPTIONS.items() if field in sentence), None)
    asks = sentence.rstrip(".").endswith(("state it", "state when the tracer was injected"))
    return f"{sentence.rstrip('.')} ({option})" if option and asks else sentence
