"""The formats of PET acquisitions by name: how a file of each is known by its content, and its reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ....io.json_object import read_json
from ..sinogram import Sinogram
from .arrays import is_own, read_arrays, read_npz
from .description import Description, read_description
from .interfile_header import is_interfile, key_of, read_header
from .interfile_sinogram import read_interfile_sinogram

ENDINGS = (".hs", ".hdr", ".npz", ".npy", ".mat")
"""Of the files that are offered; a file is known by its content."""

ARRAY_ENDINGS = (".npz", ".npy", ".mat")
TELLING = ("bin_mm", "arc_deg", "counts_per_bq", "attenuation_factors", "negative_to_zero")
"""Keys of a description that only counts of PET have."""


class Format(NamedTuple):
    """``title``: in words; ``read``: the counts of a file."""

    title: str
    read: Callable[[Path, Description], Sinogram]


def format_of(path: Path, description: Path | None = None) -> Format | None:
    """The format of a file by its content and description, None for a file of another kind."""
    if not path.is_file():
        return None
    if is_interfile(path):
        kind = key_of(read_header(path).text("pet data type"))
        return None if kind == "image" else Format("Interfile", read_interfile_sinogram)
    if path.suffix.lower() == ".npz" and is_own(path):
        return Format("NumPy", lambda place, _: read_npz(place))
    if path.suffix.lower() in ARRAY_ENDINGS and description is not None and _tells(description):
        return Format("MATLAB" if path.suffix.lower() == ".mat" else "NumPy", read_arrays)
    return None


def read(path: Path, description: Path | None = None) -> Sinogram:
    """The counts of a file of any format with its description; raises ValueError, one sentence."""
    if not path.exists():
        raise ValueError(f"expected a file of PET counts, found nothing at {path}: check the path")
    found = format_of(path, description)
    if found is None and path.suffix.lower() in ARRAY_ENDINGS:
        found = Format("NumPy", read_arrays)
    if found is None:
        header = next((place for ending in (".hs", ".s.hdr", ".hdr")
                       if (place := path.with_name(path.stem + ending)).is_file() and place != path), None)
        raise ValueError(
            f"expected PET counts (Interfile header, NumPy or MATLAB arrays), found another kind of file in "
            f"{path.name}: " + (f"choose its header {header.name}" if header else "convert it to one of these"))
    return found.read(path, read_description(description))


def _tells(description: Path) -> bool:
    """Whether a description speaks of PET; one that cannot be read does not."""
    try:
        return not set(TELLING).isdisjoint(read_json(description))
    except ValueError:
        return False
