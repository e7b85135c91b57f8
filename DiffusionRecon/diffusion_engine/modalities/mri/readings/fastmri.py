"""fastMRI files (.h5): a whole k-space array with an ISMRMRD header, for test cases also the mask of its lines.

Stored (slices, coils, readout, lines), single coil (slices, readout, lines); here lines are rows. Lines at the ends
that the header's limits leave out were filled with zeros and are not measured.
Source: Zbontar et al., fastMRI, arXiv:1811.08839.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..kspace import KSpace
from .arrays import from_whole
from .description import Description
from .hdf5 import opened
from .header import Encoding, parse_header
from .lines import need_memory
from .raw import Raw


def read_fastmri(path: Path, description: Description) -> KSpace:
    """The k-space of a fastMRI file; raises ValueError, one sentence, where header, mask and array do not agree."""
    with opened(path) as file:
        stored = file["kspace"]
        if stored.ndim not in (3, 4) or stored.dtype.kind != "c":
            raise ValueError(
                f"expected complex k-space (slices, coils, readout, lines), found {stored.dtype} of shape "
                f"{stored.shape}: give a fastMRI file, or describe the array in a .mat or .npy file"
            )
        shape = stored.shape if stored.ndim == 4 else (stored.shape[0], 1, *stored.shape[1:])
        need_memory(shape[0] * shape[3], shape[1], shape[2])
        whole = stored[()].reshape(shape)
        mask = np.asarray(file["mask"][()]) if "mask" in file else None
        header = parse_header(_bytes(file["ismrmrd_header"][()])) if "ismrmrd_header" in file else None
        acquisition = _bytes(file.attrs.get("acquisition", "")).decode("utf-8", "replace")[:200]
    values = np.ascontiguousarray(np.swapaxes(whole, 2, 3)).astype(np.complex64)
    rows, columns = values.shape[2:]
    encoding = header.encodings[0] if header is not None and header.encodings else Encoding()
    raw = Raw("fastMRI", values, np.zeros(0))
    if header is not None:
        raw.facts.update(header.facts)
    if acquisition:
        raw.facts["protocol"] = acquisition
    raw.remark("lines_are_rows", "The file's last axis, its phase-encoding lines, became the rows of the image.")
    if mask is not None and mask.size != rows:
        raise ValueError(f"{path.name}: expected a mask of {rows} lines, found one of {mask.size}: give the file's own")
    there = np.ones(rows, bool) if mask is None else mask.ravel() != 0
    there &= _within(encoding, rows, path)
    raw.mask = np.broadcast_to(there[None, :, None], (1, rows, columns)).copy()
    wide, tall, deep = encoding.fov_mm
    if wide > 0 and tall > 0:
        raw.pixel_mm = (tall / rows, wide / columns)
    raw.slice_spacing_mm = deep or encoding.image_fov_mm[2] or None
    factor = description.oversampling or encoding.oversampling
    if factor is None:
        raw.remark("no_oversampling", "The header does not state whether its readouts are oversampled; they were taken "
                                      "as they are: say \"oversampling\" in the description.", False)
    raw.mask = np.broadcast_to(raw.mask, (len(values), rows, columns))
    return from_whole(raw, description, path, False, factor)


def _within(encoding: Encoding, rows: int, path: Path) -> np.ndarray:
    """The lines that the header's limits say were measured: all where it states none."""
    there = np.ones(rows, bool)
    if encoding.centre_line is None or encoding.last_line is None:
        return there
    first = rows // 2 - encoding.centre_line
    last = first + encoding.last_line + 1
    if first < 0 or last > rows:
        raise ValueError(
            f"{path.name}: expected {rows} lines to hold indices up to {encoding.last_line} with k = 0 at "
            f"{encoding.centre_line}, found too few: correct the header"
        )
    there[:first], there[last:] = False, False
    return there


def _bytes(stored: Any) -> bytes:
    return stored if isinstance(stored, bytes) else str(stored).encode()
