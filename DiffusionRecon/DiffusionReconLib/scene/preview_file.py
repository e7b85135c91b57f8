"""A preview of the engine, read a few milliseconds' worth at each step on the main thread.

Slicer's event loop may keep the interpreter's lock while it waits: a thread would get on at the timers' turns alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from pathlib import Path

import numpy as np
from diffusion_engine.io import nrrd_header
from diffusion_engine.io.voxels import open_data, unpacked
from diffusion_engine.volume import Volume

BYTES_A_STEP = 1_000_000


def previewInSteps(path: Path) -> Generator[None, None, Volume]:
    """Read an NRRD file of plain numbers, as the engine writes its previews, and return it as a volume.

    Raises ValueError for another file and for one that ends early, OSError for one that is gone.
    """
    layout = nrrd_header.read_header(path)
    if len(layout.parts) != 1 or layout.encoding not in ("raw", "packed") or layout.scaling:
        raise ValueError(f"Expected a preview of plain numbers, found another kind of file: {path}.")
    matrix, _remarks = layout.grid()
    array = np.empty(layout.voxels, layout.dtype)
    target, filled, part = array.view(np.uint8).data, 0, layout.parts[0]
    yield
    with open_data(path) as stream:
        stream.seek(part.offset)
        read = unpacked(stream, layout.encoding)
        while filled < part.size:
            try:
                piece = read(min(BYTES_A_STEP, part.size - filled))
            except (EOFError, zlib.error) as error:
                raise ValueError(f"The preview {path} is damaged.") from error
            if not piece:
                raise ValueError(f"The preview {path} ends after {filled} of {part.size} bytes.")
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
            yield
    columns, rows, slices = layout.extents
    native = array.astype(layout.dtype.newbyteorder("="), copy=False)
    return Volume(native.reshape(slices, rows, columns), matrix, layout.unit or "a.u.")
