"""NIfTI files made by hand, with headers that no library would write."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}
SFORM = np.array([[-0.7, 0, 0, 10], [0, -0.8, 0, 20], [0, 0, 2.5, 30]])
SIZES = (0.7, 0.8, 2.5)


def write_nifti(path: Path, values: np.ndarray, order: str = "<", version: int = 1, **fields: Any) -> bytes:
    """Write (slices, rows, columns) and return the unpacked bytes.

    ``fields``: sizes, qfac, slope, inter, units, qform, sform, dim, code (the type), bits (a voxel), start.
    ``qform`` and ``sform``: the code and the six or twelve numbers; an sform at the scanner when neither is given.
    """
    kind = values.dtype.str[1:]
    dim = fields.get("dim", (values.ndim, *values.shape[::-1]))
    dim = (*dim, *(1,) * (8 - len(dim)))
    pixdim = (fields.get("qfac", 1.0), *fields.get("sizes", SIZES), 1.0, 1.0, 1.0, 1.0)
    default = None if "qform" in fields else (1, SFORM)
    qform, sform = fields.get("qform") or (0, (0,) * 6), fields.get("sform", default) or (0, np.zeros(12))
    units = fields.get("units", 2)
    size = 352 if version == 1 else 544
    start = fields.get("start", size)
    scaling = fields.get("slope", 1.0), fields.get("inter", 0.0)
    types = fields.get("code", CODES[kind]), fields.get("bits", 8 * values.dtype.itemsize)
    header = bytearray(size)
    if version == 1:
        entries = (
            (0, "i", (348,)), (40, "8h", dim), (70, "2h", types), (76, "8f", pixdim), (108, "f", (start,)),
            (112, "2f", scaling), (123, "B", (units,)), (252, "2h", (qform[0], sform[0])), (256, "6f", qform[1]),
            (280, "12f", np.ravel(sform[1])), (344, "4s", (b"n+1",)),
        )
    else:
        entries = (
            (0, "i", (540,)), (4, "8s", (b"n+2\0\r\n\x1a\n",)), (12, "2h", types), (16, "8q", dim), (104, "8d", pixdim),
            (168, "q", (start,)), (176, "2d", scaling), (344, "2i", (qform[0], sform[0])), (352, "6d", qform[1]),
            (400, "12d", np.ravel(sform[1])), (500, "i", (units,)),
        )
    for place, code, numbers in entries:
        struct.pack_into(order + code, header, place, *numbers)
    content = bytes(header) + values.astype(order + kind).tobytes()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return content
