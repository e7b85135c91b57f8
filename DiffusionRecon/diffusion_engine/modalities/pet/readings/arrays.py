"""Plain arrays as counts: NumPy .npy and .npz, MATLAB .mat, with a JSON description; and the .npz that is written here.

An .npz of this kind holds a text "diffusion_priors_pet", which names its version, beside the arrays of a sinogram: it
needs no description.
"""

from __future__ import annotations

import json
import os
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ...mri.readings.loading import load_array
from ...rules import Remark
from ..sinogram import Sinogram
from .description import AXES, FACTORS, Description, without_negatives
from .factors import inverse

MARK, VERSION = "diffusion_priors_pet", 1
ARRAYS = ("prompts", "angles_rad", "background", "attenuation", "efficiency", "ijk_to_ras")
NUMBERS = ("bin_mm", "centre_bin", "slice_spacing_mm", "duration_s", "counts_per_bq")


def is_own(path: Path) -> bool:
    """Whether a file is an .npz that :func:`write_npz` wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return f"{MARK}.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def write_npz(sinogram: Sinogram, path: str | os.PathLike[str]) -> None:
    """Write all of a sinogram; :func:`read_npz` gives it back. The file appears under its name when complete.

    Raises ValueError, one sentence, where it cannot be written.
    """
    place = Path(path)
    partial = place.with_name(f".{uuid.uuid4().hex}.npz")
    values: dict[str, Any] = {name: getattr(sinogram, name) for name in ARRAYS if getattr(sinogram, name) is not None}
    about = {name: getattr(sinogram, name) for name in NUMBERS}
    about |= {"facts": dict(sinogram.facts), "version": VERSION,
              "remarks": [[r.kind, r.sentence, r.certain] for r in sinogram.remarks]}
    try:
        np.savez_compressed(partial, **{MARK: np.array(json.dumps(about)), **values})
        os.replace(partial, place)
    except OSError as error:
        raise ValueError(f"expected to write {place}, but it failed ({error.strerror or error}): free disk space or "
                         "choose a folder that you may write to") from error
    finally:
        partial.unlink(missing_ok=True)


def read_npz(path: Path) -> Sinogram:
    """The sinogram that :func:`write_npz` wrote; raises ValueError, one sentence, for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as content:
            about = json.loads(str(content[MARK]))
            arrays = {name: content[name] for name in ARRAYS if name in content.files}
        numbers = {name: about[name] for name in NUMBERS}
        remarks = tuple(Remark(*found) for found in about["remarks"])
        version, facts = about["version"], about["facts"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"expected a whole sinogram in {path}, but reading failed ({type(error).__name__}): copy it "
                         "again") from error
    if version != VERSION or "prompts" not in arrays or "angles_rad" not in arrays:
        raise ValueError(f"expected a sinogram of version {VERSION} in {path}, found version {version}: write it again")
    return Sinogram(**arrays, **numbers, remarks=remarks, facts=facts)


def read_arrays(path: Path, description: Description) -> Sinogram:
    """The counts of a .npy, .npz or .mat file, whose axes and lengths the description states; ValueError else."""
    array = load_array(path, description.variable)
    try:
        return _sinogram(array, path, description)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if path.name in text else f"{path.name}: {text}") from error


def _sinogram(array: np.ndarray, path: Path, description: Description) -> Sinogram:
    axes = description.axes or (("angle", "bin") if array.ndim == 2 else None)
    if axes is None or len(axes) != array.ndim:
        raise ValueError(
            f"expected a description that names the axes of shape {array.shape}, found "
            f"{', '.join(axes) if axes else 'none'}: write \"axes\": [\"slice\", \"angle\", \"bin\"] in their order "
            f"into {path.stem}.json"
        )
    prompts = _arranged(array, axes)
    slices, views, bins = prompts.shape
    for name, wanted in (("bin_mm", True), ("slice_spacing_mm", slices > 1)):
        if wanted and getattr(description, name) is None:
            raise ValueError(f"expected \"{name}\" in the description, found none: write it into {path.stem}.json")
    remarks: list[Remark] = []
    prompts = without_negatives(prompts, description, remarks)
    angles = _angles(views, path, description)
    centre = description.centre_bin
    if centre is None:
        centre = (bins - 1) / 2
        remarks.append(Remark("centre", f"The axis of rotation was taken in the middle, at bin {centre:g}: state "
                                        "\"centre_bin\" where it is not.", False))
    given = {name: _factor(getattr(description, name), axes, path, description)
             for name in FACTORS if getattr(description, name) is not None}
    if "attenuation_factors" in given:
        given["attenuation"] = inverse(given.pop("attenuation_factors"), "attenuation factors", 1.0)
    if "normalisation" in given:
        given["efficiency"] = inverse(given.pop("normalisation"), "normalisation", 0.0)
    for name, sentence in (("background", "No background is known: randoms and scatter are taken as none."),
                           ("attenuation", "No attenuation is known: give a mu-map or CT, or its factors.")):
        if name not in given:
            remarks.append(Remark(name, sentence, False))
    facts: dict[str, Any] = {"format": "MATLAB" if path.suffix.lower() == ".mat" else "NumPy"}
    if description.isotope:
        facts["isotope"] = description.isotope
    assert description.bin_mm is not None
    return Sinogram(prompts, angles, description.bin_mm, centre, description.slice_spacing_mm or 1.0, **given,
                    duration_s=description.duration_s, counts_per_bq=description.counts_per_bq,
                    ijk_to_ras=description.matrix, remarks=tuple(remarks), facts=facts)


def _arranged(array: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
    """(slices, angles, bins); real numbers only."""
    if np.iscomplexobj(array):
        raise ValueError(f"expected counts, found complex numbers ({array.dtype}): is this k-space of MR?")
    order = [axes.index(axis) for axis in AXES if axis in axes]
    found = array.transpose(order)
    return found if found.ndim == 3 else found[None]


def _angles(views: int, path: Path, description: Description) -> np.ndarray:
    if description.angles_deg is not None:
        if len(description.angles_deg) != views:
            raise ValueError(f"expected {views} angles_deg, one for each angle, found {len(description.angles_deg)}: "
                             "correct them")
        return np.radians(description.angles_deg)
    if description.arc_deg is None:
        raise ValueError(
            f"expected \"angles_deg\" (a list) or \"arc_deg\" (180 for half a turn in equal steps) in the description, "
            f"found none: write one into {path.stem}.json"
        )
    return np.radians(description.arc_deg) * np.arange(views) / views


def _factor(name: str, axes: tuple[str, ...], path: Path, description: Description) -> np.ndarray:
    """An array that a description names: a file beside it, or a variable of the same file."""
    assert description.place is not None
    if (description.place.parent / name).is_file():
        found = load_array(description.file(name), None)
    else:
        found = load_array(path, name)
    if found.ndim != len(axes):
        raise ValueError(f"expected {name} with the axes {', '.join(axes)} of the counts, found shape {found.shape}: "
                         "put its axes in that order")
    return _arranged(found, axes)
