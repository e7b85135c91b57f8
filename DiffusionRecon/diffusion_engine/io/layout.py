"""What the header of an image file says: the voxels' type and number, where their bytes lie, and the grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

LONGEST_HEADER = 1 << 20
"""Bytes within which a text header must end."""

MILLIMETRES = {
    **dict.fromkeys(("", "?", "???", "none", "unknown", "mm", "millimeter", "millimetre"), 1.0),
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "micron", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre"), 1e3),
}
"""Millimetres in a unit of length; where a header names none, every format means mm."""

NO_ORIENTATION = "states no orientation in the patient; its columns were taken to run left and its rows to posterior"
NO_SPACING = "states no voxel size; it was taken as 1 mm"


class Part(NamedTuple):
    """Voxels that lie together in one file.

    ``size``: their bytes, unpacked; ``offset``: bytes of the file before them; ``inner``: unpacked bytes before them.
    """

    place: Path
    size: int
    offset: int = 0
    inner: int = 0


class Grid(NamedTuple):
    """Index to patient matrix (4, 4), RAS in mm, and sentences on what the header left open."""

    ijk_to_ras: np.ndarray
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """The voxels of a scalar image as they are stored.

    ``place``: the file of the header; ``extents``: columns, rows, slices; ``dtype``: with its byte order;
    ``encoding``: "raw", "packed" (zlib or gzip), "bzip2", "text" or "hex"; ``scaling``: slope and intercept, None: the
    stored numbers are the values; ``whole``: the files hold nothing but this image; ``grid``: works out the geometry,
    raising ValueError where the header contradicts itself; ``unit``: of the values where the file names one;
    ``remarks``: sentences on the values.
    """

    place: Path
    extents: tuple[int, int, int]
    dtype: np.dtype
    encoding: str
    parts: tuple[Part, ...]
    grid: Callable[[], Grid]
    scaling: tuple[float, float] | None = None
    whole: bool = True
    unit: str = ""
    remarks: tuple[str, ...] = field(default=())

    @property
    def voxels(self) -> int:
        return math.prod(self.extents)


def in_order(kind: Any, order: Any) -> np.dtype:
    """The numpy type ``kind`` in byte order "<" or ">"."""
    return np.dtype(kind).newbyteorder(order)


def damaged(place: Path, found: str) -> ValueError:
    """The error for a file that does not hold what it says."""
    return ValueError(f"expected a complete image in {place}, found {found}: copy or export it again")


def three_axes(place: Path, extents: Sequence[int]) -> tuple[int, int, int]:
    """Columns, rows and slices of a 2D or 3D image; ValueError for another one and for an axis without voxels."""
    if any(n < 1 for n in extents):
        raise damaged(place, f"axes of {' x '.join(map(str, extents))} voxels")
    if len(extents) > 3:
        raise refuse_times(place, f"{len(extents)} axes {tuple(extents)}")
    if len(extents) < 2:
        raise ValueError(f"expected a 2D or 3D image in {place}, found {len(extents)} axis: choose another file")
    return extents[0], extents[1], extents[2] if len(extents) == 3 else 1


def refuse_times(place: Path, found: str) -> ValueError:
    """The error for an image of several times."""
    return ValueError(f"expected a 3D image in {place}, found {found}: extract one time point or channel")


def refuse_channels(place: Path, channels: int) -> ValueError:
    """The error for an image with several numbers a voxel."""
    return ValueError(
        f"expected one number a voxel in {place}, found {channels} (colour or vector image): "
        "convert it to a scalar image"
    )


def refuse_type(place: Path, name: str) -> ValueError:
    """The error for a type of voxels that is not read."""
    if "complex" in name:
        return ValueError(f"expected real voxels in {place}, found complex ones: take the magnitude first")
    return ValueError(
        f"expected whole numbers of 8 to 64 bits or floats of 32 or 64 bits in {place}, found {name}: convert it"
    )


def beside(place: Path, name: str) -> Path:
    """The data file that a header names; ValueError when it is not in the header's folder or below it."""
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.anchor or ".." in path.parts or "\0" in name:
            raise ValueError(
                f"expected the data file of {place} in the same folder, found '{name}', which points elsewhere: "
                "put both files together and correct the name in the header"
            )
    return place.parent / name


def shared_out(place: Path, names: Sequence[str], size: int, wanted: int | None) -> list[tuple[Path, int]]:
    """The data files of an image of ``size`` bytes with their equal shares; ``wanted``: how many there must be."""
    if not names or (wanted is not None and len(names) != wanted) or size % len(names):
        count = "a divisor of the slices" if wanted is None else str(wanted)
        raise ValueError(f"expected {count} data files in {place}, found {len(names)}: correct the header")
    return [(beside(place, name), size // len(names)) for name in names]


def numbered(place: Path, pattern: str, first: int, last: int, step: int, most: int) -> list[str]:
    """Names like slice%03d.raw with the numbers from ``first`` to ``last``, at most ``most`` and one more."""
    if pattern.count("%") != 1 or step == 0:
        raise ValueError(f"expected one number in the file names of {place}, found '{pattern}': correct the header")
    numbers = range(first, last + (1 if step > 0 else -1), step)[: most + 1]
    return [pattern % n for n in numbers]


def numbers(place: Path, name: str, text: str, count: int, whole: bool = False) -> list[float]:
    """``count`` numbers of a header's field; ValueError that names the field."""
    try:
        found = [int(word) if whole else float(word) for word in text.split()]
    except ValueError:
        found = []
    if len(found) != count:
        kind = "whole number" if whole else "number"
        wanted = f"a {kind}" if count == 1 else f"{count} {kind}s"
        raise ValueError(f"expected {wanted} as '{name}' in {place}, found '{text[:80]}': repair the header")
    return found


def unit_of(own: str, dicom: Callable[[str], str]) -> str:
    """The unit of the values that a header names, "" for none: its own word, or HU by the DICOM fields ITK left there.

    ``dicom``: the text of a field by its "group|element" name, "" where it is missing.
    """
    is_hu = dicom("0008|0060").strip() == "CT" and dicom("0028|1054").strip() in ("HU", "")
    return own.strip() or ("HU" if is_hu else "")


def millimetres(place: Path, unit: str) -> float:
    """Millimetres in a unit of length by its name; ValueError for another word."""
    word = unit.strip().lower()
    scale = MILLIMETRES.get(word, MILLIMETRES.get(word.removesuffix("s")))
    if scale is None:
        raise ValueError(f"expected a unit of length in {place}, found '{unit}': write mm, um or m into the header")
    return scale


def spacings(place: Path, found: Sequence[float] | np.ndarray) -> np.ndarray:
    """Distances of neighbouring voxels; ValueError unless they are positive."""
    lengths = np.asarray(found, dtype=np.float64)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError(
            f"expected positive voxel sizes in {place}, found {' x '.join(f'{n:g}' for n in lengths)}: "
            "correct them in the header"
        )
    return lengths


def with_third_axis(columns: np.ndarray) -> np.ndarray:
    """(3, 3) from a slice's two axes (3, 2): the third is perpendicular and 1 mm long, its largest part positive."""
    normal = np.cross(columns[:, 0], columns[:, 1])
    largest = normal[np.argmax(np.abs(normal))]
    return np.column_stack([columns, normal / (np.linalg.norm(normal) * np.sign(largest)) if largest else normal])


def affine(columns: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """The homogeneous matrix (4, 4) of axes (3, 3) and the first voxel's centre (3)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = columns, origin
    return matrix
