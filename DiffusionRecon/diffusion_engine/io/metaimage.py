"""The header of a MetaImage: .mha with its voxels, or .mhd with one or several data files.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

import numpy as np

from . import layout
from .layout import Grid, Layout, Part, affine, damaged, numbers, spacings
from .voxels import file_size

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "long": "i4", "ulong": "u4",
    "long_long": "i8", "ulong_long": "u8", "float": "f4", "double": "f8",
}
LPS = np.array([[-1.0], [-1.0], [1.0]])


def read_header(place: Path) -> Layout:
    """The layout of a MetaImage.

    Scaling: ElementToIntensityFunctionSlope and -Offset, where given. Grid: x = TransformMatrix diag(ElementSpacing)
    index + Offset in LPS, in DistanceUnits or mm. Raises ValueError, one sentence, for another file, an inconsistent
    header, several numbers a voxel, and data files outside the header's folder.
    """
    fields, end = _fields(place)
    rank = int(numbers(place, "NDims", fields.get("ndims", ""), 1, whole=True)[0])
    if not 1 <= rank <= 10:
        raise damaged(place, f"a MetaImage header with {rank} axes")
    extents = [int(n) for n in numbers(place, "DimSize", fields.get("dimsize", ""), rank, whole=True)]
    channels = int(numbers(place, "ElementNumberOfChannels", fields.get("elementnumberofchannels", "1"), 1, True)[0])
    if channels != 1:
        raise layout.refuse_channels(place, channels)
    sizes = layout.three_axes(place, extents)
    stored = fields.get("elementtype", "")
    name = stored.lower().removeprefix("met_").removesuffix("_array")
    if name not in _TYPES:
        raise layout.refuse_type(place, f"the type '{stored}'")
    big = _truth(fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "false")))
    dtype = layout.in_order(_TYPES[name], ">" if big else "<")
    packed = _truth(fields.get("compresseddata", "false"))
    encoding = "packed" if packed else "raw" if _truth(fields.get("binarydata", "true")) else "text"
    skip = int(numbers(place, "HeaderSize", fields.get("headersize", "0"), 1, whole=True)[0])
    parts = _parts(place, fields, extents, dtype.itemsize, end, skip, encoding)
    return Layout(
        place, sizes, dtype, encoding, parts, partial(_grid, place, fields, rank), _scaling(place, fields),
        whole=fields["elementdatafile"].lower() == "local",
        unit=layout.unit_of(fields.get("unit", ""), lambda name: fields.get(name, "")),
    )


def _fields(place: Path) -> tuple[dict[str, str], int]:
    """Names, in small letters, and texts of the header's lines, and the byte after its last one, ElementDataFile."""
    with open(place, "rb") as stream:
        head = stream.read(layout.LONGEST_HEADER)
    fields: dict[str, str] = {}
    at = 0
    while at < len(head):
        stop = head.find(b"\n", at)
        line = head[at : stop if stop >= 0 else len(head)]
        at = stop + 1 if stop >= 0 else len(head)
        if b"\0" in line:
            break
        name, sign, text = line.decode("utf-8", "replace").partition("=")
        if sign:
            fields[name.strip().lower()] = text.strip()
        if name.strip().lower() == "elementdatafile":
            if fields.get("objecttype", "Image").lower() != "image" or not fields.get("elementdatafile"):
                break
            if fields["elementdatafile"].lower().startswith("list"):
                fields["files"] = head[at:].decode("utf-8", "replace")
            return fields, at
    raise damaged(place, "one that cannot be read (no MetaImage header, or one that breaks off)")


def _parts(
    place: Path, fields: dict[str, str], extents: list[int], itemsize: int, end: int, skip: int, encoding: str
) -> tuple[Part, ...]:
    """Where the voxels lie: behind the header, in one file, in listed files or in layout.numbered ones."""
    source = fields["elementdatafile"]
    size = math.prod(extents) * itemsize
    if source.lower() == "local":
        shares = [(place, size)]
    else:
        listed = re.fullmatch(r"list(?:\s+(\d+)d?)?", source, re.IGNORECASE)
        pattern = re.fullmatch(r"(.*%0?\d{0,2}d.*?)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)", source)
        if listed:
            depth = int(listed.group(1) or 0)
            depth = depth if 0 < depth < len(extents) else len(extents) - 1
            names = [line.strip() for line in fields["files"].splitlines() if line.strip()]
            shares = layout.shared_out(place, names, size, math.prod(extents[depth:]))
        elif pattern:
            first, last, step = (int(n) for n in pattern.groups()[1:])
            names = layout.numbered(place, pattern.group(1), first, last, step, extents[-1])
            shares = layout.shared_out(place, names, size, extents[-1])
        else:
            shares = layout.shared_out(place, [source], size, 1)
    parts = []
    for file, share in shares:
        offset = end if source.lower() == "local" and skip == 0 else skip
        if skip < 0:
            if skip != -1 or encoding != "raw":
                raise damaged(place, f"HeaderSize = {skip}, which holds for -1 and unpacked voxels only")
            offset = file_size(file) - share
        parts.append(Part(file, share, offset))
    return tuple(parts)


def _truth(text: str) -> bool:
    return text[:1].lower() in ("t", "1", "y")


def _scaling(place: Path, fields: dict[str, str]) -> tuple[float, float] | None:
    name = "ElementToIntensityFunction"
    slope = numbers(place, f"{name}Slope", fields.get(f"{name}slope".lower(), "1"), 1)[0]
    offset = numbers(place, f"{name}Offset", fields.get(f"{name}offset".lower(), "0"), 1)[0]
    if slope == 0 or not (math.isfinite(slope) and math.isfinite(offset)):
        raise ValueError(
            f"expected a finite {name}Slope other than 0 in {place}, found {slope:g} and offset {offset:g}: correct it"
        )
    return None if (slope, offset) == (1.0, 0.0) else (slope, offset)


def _grid(place: Path, fields: dict[str, str], rank: int) -> Grid:
    """The matrix of a MetaImage in RAS; ValueError for axes that are no unit vectors and a turn about a centre."""
    remarks = []
    sizes = fields.get("elementspacing", fields.get("elementsize", ""))
    if not sizes and rank == 3:
        remarks.append(layout.NO_SPACING)
    lengths = spacings(place, numbers(place, "ElementSpacing", sizes or "1 " * rank, rank))
    turn = _first(fields, "transformmatrix", "rotation", "orientation")
    axes = np.eye(rank)
    if turn:
        axes = np.array(numbers(place, "TransformMatrix", turn, rank * rank)).reshape(rank, rank).T
    norms = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(norms).all() and np.allclose(norms, 1.0, atol=1e-3)):
        raise ValueError(
            f"expected unit vectors as TransformMatrix in {place}, found lengths "
            f"{' '.join(f'{n:.4g}' for n in norms)}: put the voxel size into ElementSpacing"
        )
    if rank == 3:
        remarks += _orientation(axes, fields.get("anatomicalorientation", ""), bool(turn))
    centre = numbers(place, "CenterOfRotation", fields.get("centerofrotation", "0 " * rank), rank)
    if any(centre) and not np.allclose(axes, np.eye(rank)):
        raise ValueError(
            f"expected CenterOfRotation 0 in {place}, found {' '.join(f'{n:g}' for n in centre)}, which programs read "
            "in different ways: resample the image or set it to 0"
        )
    origin = np.zeros(3)
    origin[:rank] = numbers(place, "Offset", _first(fields, "offset", "position", "origin") or "0 " * rank, rank)
    scale = layout.millimetres(place, fields.get("distanceunits", ""))
    columns = np.zeros((3, 3))
    columns[:rank, :rank] = axes * lengths * scale
    if rank == 2:
        columns = layout.with_third_axis(columns[:, :2])
    return Grid(affine(LPS * columns, LPS[:, 0] * origin * scale), tuple(remarks))


def _first(fields: dict[str, str], *names: str) -> str:
    return next((fields[name] for name in names if name in fields), "")


def _orientation(axes: np.ndarray, letters: str, turned: bool) -> list[str]:
    """What the two statements of orientation leave open: the matrix and letters for where each axis begins or ends."""
    letters = letters.upper()
    if not re.fullmatch("[RLAPIS]{3}", letters):
        return [] if turned else [layout.NO_ORIENTATION]
    places = np.array([[{"L": 1, "R": -1}.get(c, 0), {"P": 1, "A": -1}.get(c, 0), {"S": 1, "I": -1}.get(c, 0)]
                       for c in letters]).T
    along = (axes * places).sum(0)
    if (along < 0).all() or (along > 0).all():
        return []
    return [f"states the orientation {letters}, which its matrix does not have; the matrix was taken"]
