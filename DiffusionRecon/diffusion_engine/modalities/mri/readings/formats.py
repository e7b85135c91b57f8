"""The formats of MR raw data by name: how a file of each is known by its content, and its reader."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..kspace import KSpace
from .description import Description, read_description
from .hdf5 import is_hdf5, opened

ENDINGS = (".h5", ".hdf5", ".mrd", ".cfl", ".hdr", ".dat", ".npy", ".npz", ".mat")
"""Of the files that are offered; a file is known by its content."""


class Format(NamedTuple):
    """``title``: in words; ``read``: the k-space of a file."""

    title: str
    read: Callable[[Path, Description], KSpace]


def format_of(path: Path) -> Format | None:
    """The format of a file by its content, None for a file of another kind."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        head = stream.read(128)
    if is_hdf5(path):
        return _of_hdf5(path)
    from .arrays import read_arrays
    from .bart import is_bart, read_bart

    if head.startswith(b"\x93NUMPY") or (head.startswith(b"PK") and path.suffix.lower() == ".npz"):
        return Format("NumPy", read_arrays)
    if head.startswith(b"MATLAB 5.0"):
        return Format("MATLAB", read_arrays)
    if path.suffix.lower() in (".cfl", ".hdr") and is_bart(path):
        return Format("BART", read_bart)
    if is_twix(head):
        from .twix import read_twix

        return Format("Siemens twix", read_twix)
    return None


def read(path: Path, description: Path | None = None) -> KSpace:
    """The k-space of a file of any format with its description; raises ValueError, one sentence."""
    if not path.exists():
        raise ValueError(f"expected a file of MR raw data, found nothing at {path}: check the path")
    found = format_of(path)
    if found is None:
        raise ValueError(
            f"expected MR raw data (ISMRMRD or fastMRI .h5, BART .cfl, Siemens .dat, NumPy or MATLAB arrays), found "
            f"another kind of file in {path.name}: convert it to one of these"
        )
    return found.read(path, read_description(description))


def is_twix(head: bytes) -> bool:
    """Whether a file begins as Siemens raw data of the VB or VD line does.

    VD and later: 0 or an offset below 10,000, then the number of measurements, at most 64. VB: the length of the
    header, then the number of its parts, then their names.
    """
    if len(head) < 32:
        return False
    first, second = struct.unpack_from("<II", head)
    if first < 10_000 and 1 <= second <= 64:
        offset = struct.unpack_from("<Q", head, 16)[0]
        return 0 < offset < 1 << 40 and offset % 512 == 0
    return 10_000 <= first < 1 << 26 and 1 <= second <= 16 and head[8:15] in (b"Config\0", b"Dicom\0\0", b"Meas\0\0\0")


def _of_hdf5(path: Path) -> Format | None:
    from .arrays import read_arrays
    from .fastmri import read_fastmri
    from .ismrmrd import read_ismrmrd

    with opened(path) as file:
        names = set(file)
        groups = any({"xml", "data"} <= set(file[name]) for name in names if getattr(file[name], "keys", None))
        images = "ismrmrd_header" in names or any(
            "xml" in file[name] for name in names if getattr(file[name], "keys", None)
        )
    if "kspace" in names and path.suffix.lower() != ".mat":
        return Format("fastMRI", read_fastmri)
    if groups or images:
        return Format("ISMRMRD", read_ismrmrd)
    return Format("MATLAB", read_arrays) if path.suffix.lower() == ".mat" else None
