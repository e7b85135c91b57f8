"""The header of an NRRD file: attached (.nrrd) or detached (.nhdr), with one or several data files.

Format: https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

import numpy as np

from . import layout
from .layout import Grid, Layout, Part, affine, damaged, numbers, spacings
from .voxels import after_lines, file_size

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"), "i8"
    ),
    **dict.fromkeys(
        ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"
    ),
    "float": "f4", "double": "f8",
}
_ENCODINGS = {
    "raw": "raw", "gz": "packed", "gzip": "packed", "bz2": "bzip2", "bzip2": "bzip2", "txt": "text", "text": "text",
    "ascii": "text", "hex": "hex",
}
_SAME = {
    "datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip", "axismins": "axis mins",
    "axismaxs": "axis maxs", "centers": "centerings", "oldmin": "old min", "oldmax": "old max",
}
_SHORT_SPACES = {"lps": "left-posterior-superior", "ras": "right-anterior-superior", "las": "left-anterior-superior"}
_TO_RAS = {
    "left-posterior-superior": (-1.0, -1.0, 1.0), "right-anterior-superior": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
}
_SPATIAL_KINDS = ("domain", "space", "???", "none", "")


def read_header(place: Path) -> Layout:
    """The layout of an NRRD file.

    Grid: x = sum of index * space direction + space origin, in the stated space and space units. Axes of one sample
    that are none of space are left out. Raises ValueError, one sentence, for another file, an inconsistent header,
    several numbers a voxel, and data files outside the header's folder.
    """
    fields, files, end = _fields(place)
    rank = int(numbers(place, "dimension", fields.get("dimension", ""), 1, whole=True)[0])
    sizes = [int(n) for n in numbers(place, "sizes", fields.get("sizes", ""), rank, whole=True)]
    kinds = _kinds(place, fields, rank)
    axes = [n for n, kind in enumerate(kinds) if kind in _SPATIAL_KINDS]
    for n in sorted(set(range(rank)) - set(axes)):
        if kinds[n] == "complex":
            raise layout.refuse_type(place, "complex")
        if sizes[n] != 1:
            if kinds[n] == "time":
                raise layout.refuse_times(place, f"{sizes[n]} times")
            raise layout.refuse_channels(place, sizes[n])
    extents = layout.three_axes(place, [sizes[n] for n in axes])
    kind = fields.get("type", "").lower()
    if kind not in _TYPES:
        raise layout.refuse_type(place, f"the type '{kind}'")
    encoding = fields.get("encoding", "").lower()
    if encoding not in _ENCODINGS:
        raise ValueError(f"expected one of {', '.join(_ENCODINGS)} as encoding of {place}, found '{encoding}'")
    dtype: np.dtype = np.dtype(_TYPES[kind])
    encoding = _ENCODINGS[encoding]
    if dtype.itemsize > 1 and encoding != "text":
        order = fields.get("endian", "").lower()
        if order not in ("little", "big"):
            raise ValueError(f"expected endian: little or big in {place}, found '{order}': add it to the header")
        dtype = layout.in_order(dtype, "<" if order == "little" else ">")
    remarks: tuple[str, ...] = ()
    if "old min" in fields or "old max" in fields:
        remarks = ("holds numbers that were quantised (old min, old max); they were not turned back",)
    return Layout(
        place, extents, dtype, encoding, _parts(place, fields, files, sizes, dtype.itemsize, encoding, end),
        partial(_grid, place, fields, axes, rank, extents), whole="data file" not in fields,
        unit=layout.unit_of(fields.get("=unit", ""), lambda name: fields.get(f"={name}", "")), remarks=remarks,
    )


def _fields(place: Path) -> tuple[dict[str, str], list[str], int]:
    """The header's fields, the keys' values under "=key", the listed files, and the byte after the blank line."""
    with open(place, "rb") as stream:
        head = stream.read(layout.LONGEST_HEADER)
    if not re.match(rb"NRRD000\d\r?\n", head):
        raise damaged(place, "one that cannot be read (no NRRD header)")
    fields: dict[str, str] = {}
    files: list[str] = []
    at = head.index(b"\n") + 1
    while at < len(head):
        stop = head.find(b"\n", at)
        stop = stop if stop >= 0 else len(head)
        line = head[at:stop].decode("utf-8", "replace").rstrip("\r")
        at = stop + 1
        if not line.strip():
            return fields, files, at
        if line.startswith("#"):
            continue
        if fields.get("data file", "").upper().startswith("LIST"):
            files.append(line.strip())
            continue
        name, sign, text = line.partition(":")
        if not sign:
            raise damaged(place, f"one that cannot be read (a header line '{line[:60]}')")
        if text.startswith("="):
            fields[f"={name}"] = text[1:].strip()
        else:
            name = name.strip().lower()
            name = _SAME.get(name, name)
            if fields.get(name, text.strip()) != text.strip():
                raise damaged(place, f"two statements of '{name}' in its header")
            fields[name] = text.strip()
    if "data file" not in fields or len(head) == layout.LONGEST_HEADER:
        raise damaged(place, "an NRRD header that breaks off")
    return fields, files, len(head)


def _kinds(place: Path, fields: dict[str, str], rank: int) -> list[str]:
    """What each axis is; one without a space direction is none of space."""
    kinds = fields.get("kinds", "domain " * rank).lower().split()
    directions = _vectors(fields.get("space directions", ""))
    if len(kinds) != rank or (directions and len(directions) != rank):
        raise ValueError(
            f"expected kinds and space directions of {rank} axes in {place}, found {len(kinds)} and {len(directions)}: "
            "repair the header"
        )
    for n, direction in enumerate(directions):
        if direction is None and kinds[n] in _SPATIAL_KINDS:
            kinds[n] = "list"
    return kinds


def _vectors(text: str) -> list[np.ndarray | None]:
    """Vectors like (0,0,1), None for the word none."""
    found: list[np.ndarray | None] = []
    for word in re.findall(r"none|\([^)]*\)", text):
        try:
            found.append(None if word == "none" else np.array([float(n) for n in word[1:-1].split(",")]))
        except ValueError:
            found.append(np.array([np.nan]))
    return found


def _parts(
    place: Path, fields: dict[str, str], files: list[str], sizes: list[int], itemsize: int, encoding: str, end: int
) -> tuple[Part, ...]:
    """Where the voxels lie: behind the header, in one file, in listed files or in layout.numbered ones."""
    size = math.prod(sizes) * itemsize
    source = fields.get("data file")
    if source is None:
        shares = [(place, size)]
    else:
        listed = re.fullmatch(r"LIST(?:\s+(\d+))?", source, re.IGNORECASE)
        pattern = re.fullmatch(r"(.*%0?\d{0,2}d.*?)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(?:\s+(\d+))?", source)
        if listed or pattern:
            depth = int((listed.group(1) if listed else pattern and pattern.group(5)) or len(sizes) - 1)
            count = math.prod(sizes[depth:]) if depth < len(sizes) else None
            if pattern:
                first, last, step = (int(n) for n in pattern.groups()[1:4])
                files = layout.numbered(place, pattern.group(1), first, last, step, count or sizes[-1])
            if count is None and sizes[-1] % max(1, len(files)):
                files = []
            shares = layout.shared_out(place, files, size, count)
        else:
            shares = layout.shared_out(place, [source], size, 1)
    lines = int(numbers(place, "line skip", fields.get("line skip", "0"), 1, whole=True)[0])
    skip = int(numbers(place, "byte skip", fields.get("byte skip", "0"), 1, whole=True)[0])
    if lines < 0 or (skip < 0 and encoding != "raw"):
        raise damaged(place, f"line skip {lines} and byte skip {skip}, which do not go with encoding {encoding}")
    parts = []
    for file, share in shares:
        offset, inner = after_lines(file, end if source is None else 0, lines), 0
        if skip < 0:
            offset = file_size(file) - share + skip + 1
        elif encoding in ("packed", "bzip2"):
            inner = skip
        else:
            offset += skip
        parts.append(Part(file, share, offset, inner))
    return tuple(parts)


def _grid(place: Path, fields: dict[str, str], axes: list[int], rank: int, extents: tuple[int, int, int]) -> Grid:
    """The matrix in RAS; ValueError for a space that no patient's axes can be found from and for bad numbers."""
    space = fields.get("space", "").lower()
    space = _SHORT_SPACES.get(space, space)
    if space.startswith("3d-left-handed"):
        raise ValueError(
            f"expected a space of the patient in {place}, found {space}, which may mirror it: "
            "write left-posterior-superior, right-anterior-superior or left-anterior-superior into the header"
        )
    directions = [v for n, v in enumerate(_vectors(fields.get("space directions", ""))) if n in axes]
    if not directions:
        return _plain_grid(place, fields, axes, rank, extents)
    dimension = int(numbers(place, "space dimension", fields.get("space dimension", "3"), 1, whole=True)[0])
    columns = np.zeros((3, len(axes)))
    origin = np.zeros(3)
    start = _vectors(fields.get("space origin", "")) or [np.zeros(dimension)]
    for vector in (*directions, *start):
        if dimension not in (2, 3) or vector is None or vector.shape != (dimension,) or not np.isfinite(vector).all():
            raise ValueError(
                f"expected space directions and a space origin of {dimension} finite numbers in {place}, "
                f"found {fields.get('space directions')} and {fields.get('space origin')}: repair the header"
            )
    columns[:dimension] = np.column_stack([v for v in directions if v is not None])
    origin[:dimension] = start[0]
    units = re.findall(r'"([^"]*)"', fields.get("space units", "")) or fields.get("space units", "").split()
    if units and len(units) != dimension:
        raise ValueError(f"expected {dimension} space units in {place}, found {len(units)}: repair the header")
    scale = np.ones(3)
    scale[: len(units)] = [layout.millimetres(place, unit) for unit in units]
    spacings(place, np.linalg.norm(columns, axis=0))
    turn = np.array(_TO_RAS.get(space, _TO_RAS["left-posterior-superior"]))
    columns = columns * (turn * scale)[:, None]
    if len(axes) == 2:
        columns = layout.with_third_axis(columns)
    unknown = space not in _TO_RAS and dimension == 3
    return Grid(affine(columns, origin * turn * scale), (layout.NO_ORIENTATION,) if unknown else ())


def _plain_grid(
    place: Path, fields: dict[str, str], axes: list[int], rank: int, extents: tuple[int, int, int]
) -> Grid:
    """The grid of a header without space directions: voxel sizes, or the ends of the axes, and no orientation."""
    def of_axes(name: str) -> np.ndarray:
        text = fields.get(name, "")
        found = numbers(place, name, text, rank) if text else [np.nan] * rank
        return np.array(found)[axes]

    node = np.array([word == "node" for word in fields.get("centerings", "cell " * rank).lower().split()])[axes]
    least, most, sizes = of_axes("axis mins"), of_axes("axis maxs"), of_axes("spacings")
    steps = np.maximum(np.array(extents[: len(axes)]) - node, 1)
    sizes = np.where(np.isnan(sizes), (most - least) / steps, sizes)
    remarks = [layout.NO_ORIENTATION] if len(axes) == 3 else []
    if np.isnan(sizes).any():
        remarks.insert(0, layout.NO_SPACING)
    sizes = spacings(place, np.where(np.isnan(sizes), 1.0, sizes))
    start = np.where(np.isnan(least), 0.0, least + np.where(node, 0.0, sizes / 2))
    units = (re.findall(r'"([^"]*)"', fields.get("units", "")) or [""] * rank)
    if len(units) != rank:
        raise ValueError(f"expected units of {rank} axes in {place}, found {len(units)}: repair the header")
    scale = np.ones(3)
    scale[: len(axes)] = [layout.millimetres(place, units[n]) for n in axes]
    columns, origin = np.zeros((3, 3)), np.zeros(3)
    np.fill_diagonal(columns, np.append(sizes, 1.0)[:3] * scale)
    origin[: len(axes)] = start * scale[: len(axes)]
    turn = np.array(_TO_RAS["left-posterior-superior"])
    return Grid(affine(columns * turn[:, None], origin * turn), tuple(remarks))
