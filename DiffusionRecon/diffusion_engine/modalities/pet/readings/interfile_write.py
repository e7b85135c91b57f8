"""A sinogram as Interfile of STIR's conventions: direct planes, one header for the counts and one for each factor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from ..sinogram import Sinogram
from .interfile_header import key_of


def write_interfile(sinogram: Sinogram, path: str | os.PathLike[str]) -> list[Path]:
    """Write NAME.hs and NAME.s, likewise the factors that are known, and NAME.json, which names them for the reader.

    Planes stand for rings a slice spacing apart, bins are of equal width (arc-corrected). Returns what was written.
    Raises ValueError, one sentence, for angles and centres that STIR's header has no place for, and where a file cannot
    be written.
    """
    place = Path(path)
    if place.suffix != ".hs":
        raise ValueError(f"expected a file name ending in .hs, found {place.name}: rename it")
    order, turned, offset = _views(sinogram)
    parts = {"": sinogram.prompts}
    for name in ("background", "attenuation", "efficiency"):
        values = getattr(sinogram, name)
        if values is not None:
            parts[name] = np.broadcast_to(values, sinogram.prompts.shape)
    written = []
    try:
        for name, values in parts.items():
            stem = f"{place.stem}_{name}" if name else place.stem
            views = np.where(turned[None, :, None], values[:, order, ::-1], values[:, order])
            place.with_name(f"{stem}.s").write_bytes(np.ascontiguousarray(
                views.swapaxes(0, 1), "<f4").tobytes())
            place.with_name(f"{stem}.hs").write_text(_header(sinogram, f"{stem}.s", offset), encoding="utf-8")
            written += [place.with_name(f"{stem}.hs"), place.with_name(f"{stem}.s")]
        description = {name: f"{place.stem}_{name}.hs" for name in parts if name}
        if sinogram.counts_per_bq is not None:
            description["counts_per_bq"] = sinogram.counts_per_bq  # type: ignore[assignment]
        if sinogram.ijk_to_ras is not None:
            description["ijk_to_ras"] = sinogram.ijk_to_ras.tolist()
        place.with_suffix(".json").write_text(json.dumps(description, indent=1), encoding="utf-8")
        written.append(place.with_suffix(".json"))
    except OSError as error:
        raise ValueError(f"expected to write {place}, but it failed ({error.strerror or error}): free disk space or "
                         "choose a folder that you may write to") from error
    return written


def _views(sinogram: Sinogram) -> tuple[np.ndarray, np.ndarray, float]:
    """The order of views by STIR's phi = -a in half a turn, which of them run the other way, and phi of the first."""
    half, reversed_half = sinogram.bins // 2, sinogram.bins - 1 - sinogram.bins // 2
    phi = -sinogram.angles_rad
    turns = np.floor(phi / np.pi + 1e-9).astype(int)
    within, turned = phi - turns * np.pi, turns % 2 != 0
    order = np.argsort(within)
    step = np.pi / sinogram.angles
    even = np.allclose(within[order], within[order[0]] + step * np.arange(sinogram.angles), atol=1e-6)
    centred = abs(sinogram.centre_bin - half) < 1e-6 and (half == reversed_half or not turned.any())
    if not even or not centred:
        raise ValueError(
            "expected angles evenly over half a turn and the axis of rotation in the middle of a bin, as STIR's header "
            f"says it, found {f'bin {sinogram.centre_bin:g} of {sinogram.bins}' if even else 'other angles'}: write it "
            "as .npz"
        )
    return order, turned[order], float(within[order[0]])


def _header(sinogram: Sinogram, data: str, offset: float) -> str:
    slices, views, bins = sinogram.prompts.shape
    isotope = sinogram.facts.get("isotope")
    lines = [
        "!INTERFILE :=", "!imaging modality := PT", f"name of data file := {data}",
        f"originating system := {key_of(str(sinogram.facts.get('scanner', 'unknown')))}", "!version of keys := STIR4.0",
        "!GENERAL DATA :=", "!GENERAL IMAGE DATA :=", "!type of data := PET",
        "imagedata byte order := LITTLEENDIAN", "!PET STUDY (General) :=", "!PET data type := Emission",
        *([f"radionuclide name[1] := {isotope}"] if isotope else []),
        "applied corrections := {arc correction}", "!number format := float", "!number of bytes per pixel := 4",
        "number of dimensions := 4", "matrix axis label [4] := segment", "!matrix size [4] := 1",
        "matrix axis label [3] := view", f"!matrix size [3] := {views}", "matrix axis label [2] := axial coordinate",
        f"!matrix size [2] := {{ {slices}}}", "matrix axis label [1] := tangential coordinate",
        f"!matrix size [1] := {bins}", "minimum ring difference per segment := { 0}",
        "maximum ring difference per segment := { 0}", "Scanner parameters:=", "Scanner type := unknown",
        f"Number of rings := {slices}", f"Number of detectors per ring := {2 * views}",
        f"Distance between rings (cm) := {sinogram.slice_spacing_mm / 10:.9g}",
        f"Default bin size (cm) := {sinogram.bin_mm / 10:.9g}",
        f"View offset (degrees) := {np.degrees(offset):.9g}", "end scanner parameters:=",
        f"effective central bin size (cm) := {sinogram.bin_mm / 10:.9g}", "number of time frames := 1",
        *([f"image duration (sec)[1] := {sinogram.duration_s:.9g}"] if sinogram.duration_s else []),
        "!END OF INTERFILE :=", "",
    ]
    return "\n".join(lines)
