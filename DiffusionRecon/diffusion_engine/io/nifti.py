"""The header of a NIfTI-1 or NIfTI-2 file, read by the standard: values, voxel size, place and units.

Standard: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and https://nifti.nimh.nih.gov/nifti-2.
"""

from __future__ import annotations

import re
import zlib
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from . import layout
from .layout import Grid, Layout, Part, affine, damaged, spacings
from .voxels import unpacked

_FIELDS: dict[str, tuple[Any, int, Any, int]] = {
    # name: type and offset in NIfTI-1, type and offset in NIfTI-2
    "dim": ("8i2", 40, "8i8", 16), "datatype": ("i2", 70, "i2", 12), "bitpix": ("i2", 72, "i2", 14),
    "pixdim": ("8f4", 76, "8f8", 104), "vox_offset": ("f4", 108, "i8", 168), "scl_slope": ("f4", 112, "f8", 176),
    "scl_inter": ("f4", 116, "f8", 184), "xyzt_units": ("u1", 123, "i4", 500), "descrip": ("S80", 148, "S80", 240),
    "qform_code": ("i2", 252, "i4", 344), "sform_code": ("i2", 254, "i4", 348), "quatern": ("3f4", 256, "3f8", 352),
    "qoffset": ("3f4", 268, "3f8", 376), "srow": ("(3,4)f4", 280, "(3,4)f8", 400), "magic": ("S4", 344, "S4", 4),
}
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}
_OTHER_TYPES = {
    1: "single bits", 32: "complex", 1536: "128-bit floats", 1792: "complex", 2048: "complex",
}
_CHANNELS = {128: 3, 2304: 4}
_MILLIMETRES = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
SCANNER = 1
"""The code of a form that leads to the scanner's coordinates; greater ones lead to a template or another scan."""


def read_header(place: Path) -> Layout:
    """The layout of a NIfTI file, gzip or not.

    Scaling: value = scl_slope * stored + scl_inter, and none at all where the slope is 0 or unset (NaN).
    Grid: the sform where its code is set, else the qform, else the voxel sizes alone; see :func:`_grid`.
    Raises ValueError, one sentence, for another file, an inconsistent header and voxels that are no real scalars.
    """
    packed, head = _first_bytes(place)
    header, size, order = _parse(place, head)
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7:
        raise damaged(place, f"a NIfTI header with {rank} axes")
    extents = [int(n) for n in header["dim"][1 : rank + 1]]
    while len(extents) > 3 and extents[-1] in (0, 1):
        extents.pop()
    code = int(header["datatype"])
    if code in _CHANNELS or (len(extents) == 5 and extents[3] in (0, 1)):
        raise layout.refuse_channels(place, _CHANNELS.get(code) or extents[4])
    if code not in _TYPES:
        raise layout.refuse_type(place, _OTHER_TYPES.get(code, f"the type {code}"))
    dtype = layout.in_order(_TYPES[code], order)
    if header["bitpix"] != 8 * dtype.itemsize:
        raise damaged(place, f"a NIfTI header with {int(header['bitpix'])} bits a voxel of {dtype}")
    columns, rows, slices = layout.three_axes(place, extents)
    start = float(header["vox_offset"])
    if not (np.isfinite(start) and start == int(start) and start >= size):
        raise damaged(place, f"a NIfTI header whose voxels begin at byte {start:g}, within the header")
    length = columns * rows * slices * dtype.itemsize
    part = Part(place, length, 0, int(start)) if packed else Part(place, length, int(start))
    text = header["descrip"].tobytes().split(b"\0")[0].decode("utf-8", "replace").strip()
    note = re.fullmatch(r"unit=([^;]+)(?:;.*)?", text)
    return Layout(
        place, (columns, rows, slices), dtype, "packed" if packed else "raw", (part,),
        partial(_grid, place, header, (columns, rows, slices)), _scaling(place, header),
        unit=note.group(1) if note else "",
    )


def _first_bytes(place: Path) -> tuple[bool, bytes]:
    """Whether the file is a gzip stream, and its first 540 bytes or what there is."""
    with open(place, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        read = unpacked(stream, "packed" if packed else "raw")
        head = b""
        try:
            while len(head) < 540 and (piece := read(540 - len(head))):
                head += piece
        except (EOFError, zlib.error) as error:
            raise damaged(place, "a compressed stream that is damaged or breaks off") from error
    return packed, head


def _parse(place: Path, head: bytes) -> tuple[Any, int, str]:
    """The fields, the header's size, which tells version and byte order, and that order."""
    for order in "<>":
        for size, at, magic in ((348, 0, b"n+1"), (540, 2, b"n+2")):
            if len(head) < size or int.from_bytes(head[:4], "little" if order == "<" else "big") != size:
                continue
            kinds = {name: layout.in_order(field[at], order) for name, field in _FIELDS.items()}
            offsets = [field[at + 1] for field in _FIELDS.values()]
            form = np.dtype(
                {"names": list(kinds), "formats": list(kinds.values()), "offsets": offsets, "itemsize": size}
            )
            header = np.frombuffer(head, form, 1)[0]
            if header["magic"][:3] in (b"ni1", b"ni2"):
                raise damaged(place, "only the header of a .hdr/.img pair")
            if header["magic"][:3] != magic:
                raise damaged(place, "a header of Analyze 7.5, which states no orientation, in place of NIfTI")
            return header, size, order
    raise damaged(place, "no NIfTI header")


def _scaling(place: Path, header: Any) -> tuple[float, float] | None:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or (np.isnan(slope) and (np.isnan(intercept) or intercept == 0)):
        return None
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        raise ValueError(
            f"expected a finite scl_slope and scl_inter in {place}, found {slope:g} and {intercept:g}: "
            "correct them in the header"
        )
    return None if (slope, intercept) == (1.0, 0.0) else (slope, intercept)


def _grid(place: Path, header: Any, extents: tuple[int, int, int]) -> Grid:
    """The matrix of the form that holds, in mm by xyzt_units, and what is doubtful about it.

    Where sform and qform lead to different places, the one that leads to the scanner's coordinates is taken; two that
    both claim the same coordinates contradict each other: ValueError. So do voxel sizes that are not positive, unless
    the sform gives them, and a unit of length that the voxel sizes and the sform do not share.
    """
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MILLIMETRES:
        raise ValueError(f"expected metres, mm or micrometres in {place}, found the unit {unit}: correct xyzt_units")
    scale = _MILLIMETRES[unit]
    remarks: list[str] = []
    sizes = header["pixdim"][1:4].astype(np.float64)
    flat = int(header["dim"][0]) == 2
    if flat or (extents[2] == 1 and not sizes[2] > 0):
        sizes[2] = 1.0 / scale  # one slice has no neighbour
    sized = bool(np.isfinite(sizes).all() and (sizes > 0).all())
    sform = _sform(header, flat, extents[2], scale) if header["sform_code"] > 0 else None
    if sform is None:
        sizes = spacings(place, sizes)
    qform = _qform(header, sizes) if header["qform_code"] > 0 and sized else None
    if sform is None and qform is None:
        if header["sform_code"] > 0 or header["qform_code"] > 0:
            raise ValueError(f"expected a usable qform or sform in {place}, found numbers that are none: correct it")
        return Grid(affine(np.diag(sizes * scale) * (-1, -1, 1), np.zeros(3)), (layout.NO_ORIENTATION,))
    chosen = sform if sform is not None else qform
    if sform is not None and qform is not None and not _same(sform, qform, extents):
        codes = int(header["sform_code"]), int(header["qform_code"])
        if codes[0] == codes[1] and np.allclose(_cosines(sform), np.eye(3), atol=1e-3):
            raise ValueError(
                f"expected one place in the patient in {place}, found a qform and an sform that disagree: "
                "remove the wrong one"
            )
        if codes[0] != SCANNER and codes[0] != codes[1]:
            chosen = qform
        if codes[0] != codes[1]:
            taken = "qform" if chosen is qform else "sform"
            remarks.append(f"holds a qform and an sform that disagree; the {taken} was taken")
    elif sform is not None and qform is None and sized:
        lengths = np.linalg.norm(sform[:3, :3], axis=0)
        if (np.abs(lengths - sizes) * extents > 0.5 * lengths.min()).any():
            found = " x ".join(f"{n:.4g}" for n in sizes * scale), " x ".join(f"{n:.4g}" for n in lengths * scale)
            if scale != 1:
                raise ValueError(
                    f"expected one voxel size in {place}, found {found[0]} mm as pixdim and {found[1]} mm by its sform "
                    "and its unit: correct the header"
                )
            remarks.append(f"states voxels of {found[0]} mm and an sform with {found[1]} mm; the sform was taken")
    assert chosen is not None
    matrix = chosen.copy()
    matrix[:3] *= scale
    return Grid(matrix, tuple(remarks))


def _sform(header: Any, flat: bool, slices: int, scale: float) -> np.ndarray | None:
    """The affine matrix of the header, None when it is no invertible one."""
    rows = header["srow"].astype(np.float64)
    if not np.isfinite(rows).all():
        return None
    columns = rows[:, :3]
    if flat or (slices == 1 and not columns[:, 2].any()):
        columns = layout.with_third_axis(columns[:, :2]) * (1, 1, 1 / scale)
    lengths = np.linalg.norm(columns, axis=0)
    if lengths.min() <= 0 or abs(np.linalg.det(columns / lengths)) < 1e-6:
        return None
    return affine(columns, rows[:, 3])


def _qform(header: Any, sizes: np.ndarray) -> np.ndarray | None:
    """The rigid matrix of quaternion (b, c, d), offset and voxel sizes; pixdim[0] < 0 turns the slices' direction."""
    b, c, d = header["quatern"].astype(np.float64)
    offset = header["qoffset"].astype(np.float64)
    if not np.isfinite([b, c, d, *offset]).all():
        return None
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < 1e-7:  # half a turn, up to rounding
        a, norm = 0.0, np.sqrt(b * b + c * c + d * d)
        b, c, d = b / norm, c / norm, d / norm
    else:
        a = np.sqrt(rest)
    turn = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])
    return affine(turn * sizes * (1, 1, -1 if header["pixdim"][0] < 0 else 1), offset)


def _same(one: np.ndarray, other: np.ndarray, extents: tuple[int, int, int]) -> bool:
    """Whether two matrices put every voxel at the same place: half a voxel and 0.06 degrees are rounding.

    A quaternion in single precision holds angles near half a turn to 3e-4 radians only.
    """
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in extents))], dtype=np.float64)
    apart = np.linalg.norm((one - other)[:3] @ corners.T, axis=0).max()
    sides = np.linalg.norm(one[:3, :3], axis=0)
    return bool(apart <= 0.5 * sides.min() + 1e-3 * np.linalg.norm(sides * extents))


def _cosines(matrix: np.ndarray) -> np.ndarray:
    """Scalar products of the axes' directions."""
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return axes.T @ axes
