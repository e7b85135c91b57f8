"""Image volumes of ECAT 7 (.v), one frame at a time: headers of 512 bytes, big-endian, with a list of matrices.

A value is the stored number times the frame's scale factor times the calibration factor of the file.
"""

from __future__ import annotations

import gzip
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np

from ....io.conventions import LPS_TO_RAS, UNKNOWN_UNIT
from ....volume import Volume
from .interfile_image import LPS_OF_STIR

BLOCK = 512
LARGEST = 4 << 30
"""Bytes of an unpacked file that are read."""

VOLUMES = (7, 15)
"""Kinds of files that hold volumes, of 16 bits and of floats."""

KINDS = {1: "a sinogram", 2: "single planes", 3: "attenuation factors", 4: "a normalisation", 6: "a volume of 8 bits",
         8: "projections", 10: "projections", 11: "a 3D sinogram", 12: "a 3D sinogram", 13: "a 3D normalisation",
         14: "a 3D sinogram of floats"}
NUMBERS = {5: ">f4", 6: ">i2", 7: ">i4"}
POSITIONS = {0: ("feet", "prone"), 1: ("head", "prone"), 2: ("feet", "supine"), 3: ("head", "supine")}
UNITS = {"bq/cc": "Bq/mL", "bq/ml": "Bq/mL", "bequerels/ml": "Bq/mL", "becquerels/ml": "Bq/mL", "suv": "SUV"}


def is_ecat(path: Path) -> bool:
    """Whether a file, packed by gzip or not, begins as ECAT 7 does."""
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            return stream.read(8).startswith(b"MATRIX7")
    except (OSError, EOFError, zlib.error):
        return False


def read_ecat(path: Path, unit: str | None = None, frame: int | None = None) -> Volume:
    """A frame, counted from 0, of an ECAT 7 image; the only one unless ``frame`` is given.

    ``unit``: of the values, that of the header unless given. A position of the patient that is not stated is taken as
    head first supine, with a warning. Raises ValueError, one sentence, for other kinds of files, several frames where
    none is named, and files that are cut off.
    """
    data = _bytes(path)
    kind, = struct.unpack_from(">H", data, 50)
    if kind not in VOLUMES:
        raise ValueError(f"expected a volume of ECAT 7 in {path.name}, found {KINDS.get(kind, 'data')} (kind {kind}): "
                         "choose the reconstructed image")
    blocks = _matrices(data, path)
    if frame is None:
        if len(blocks) > 1:
            raise ValueError(f"expected one frame in {path.name}, found {len(blocks)}: name one of 0 to "
                             f"{len(blocks) - 1}")
        frame = 0
    if not 0 <= frame < len(blocks):
        raise ValueError(f"expected a frame from 0 to {len(blocks) - 1} of {path.name}, found {frame}: name another")
    at = (blocks[frame] - 1) * BLOCK
    if len(data) < at + BLOCK:
        raise ValueError(f"expected the frames that {path.name} lists, found the file cut off: copy it again")
    number, _, columns, rows, slices = struct.unpack_from(">5H", data, at)
    scale, = struct.unpack_from(">f", data, at + 26)
    wide, tall, apart = (10 * length for length in struct.unpack_from(">3f", data, at + 34))
    if number not in NUMBERS:
        raise ValueError(f"expected numbers of 16 or 32 bits in {path.name}, found kind {number}: convert the file")
    if min(columns, rows, slices) < 1 or not min(wide, tall, apart) > 0:
        raise ValueError(f"expected positive sizes in {path.name}, found {columns} x {rows} x {slices} voxels of "
                         f"{wide:g} x {tall:g} x {apart:g} mm: the file is damaged, export it again")
    dtype = np.dtype(NUMBERS[number])
    count = columns * rows * slices
    if len(data) < at + BLOCK + count * dtype.itemsize:
        raise ValueError(f"expected {count} voxels in frame {frame} of {path.name}, found the file cut off: copy it "
                         "again")
    stored = np.frombuffer(data, dtype, count, at + BLOCK).reshape(slices, rows, columns)
    calibration, = struct.unpack_from(">f", data, 144)
    factor = float(scale) * (float(calibration) if calibration > 0 else 1.0)
    if not (np.isfinite(factor) and factor > 0):
        raise ValueError(f"expected a positive scale factor in {path.name}, found {factor:g}: export it again")
    array = (stored * np.float64(factor)).astype(np.float32)
    return Volume(array, _matrix(data, path, (wide, tall, apart), array.shape), unit or _unit(data))


def _bytes(path: Path) -> bytes:
    if not is_ecat(path):
        raise ValueError(f"expected ECAT 7, found another kind of file in {path.name}: choose the .v file")
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            data = stream.read(LARGEST)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"expected a whole file {path}, but reading failed ({error}): copy it again") from error
    if len(data) < 2 * BLOCK:
        raise ValueError(f"expected the headers of ECAT 7 in {path.name}, found the file cut off: copy it again")
    return data


def _matrices(data: bytes, path: Path) -> list[int]:
    """First blocks of the frames in order, along the chain of lists of 31 entries."""
    found: list[tuple[int, int]] = []
    block, seen = 2, set()
    while block not in seen and len(data) >= block * BLOCK:
        seen.add(block)
        words = struct.unpack_from(">128i", data, (block - 1) * BLOCK)
        entries = min(max(words[3], 0), 31)
        for n in range(entries):
            name, first = words[4 + 4 * n], words[5 + 4 * n]
            if first > 1:
                found.append((name, first))
        block = words[1]
        if block == 2:
            break
    if not found:
        raise ValueError(f"expected frames in {path.name}, found none: the file is damaged, copy it again")
    # The frame is in the lowest nine bits of an entry's name.
    return [first for _, first in sorted(found, key=lambda entry: (entry[0] & 0x1FF, entry[0]))]


def _matrix(data: bytes, path: Path, lengths: tuple[float, float, float], shape: tuple[int, ...]) -> np.ndarray:
    """Voxels in RAS: the middle of the field of view at x = y = 0, the first plane at z = 0."""
    position, = struct.unpack_from(">H", data, 330)
    if position not in POSITIONS:
        warnings.warn(f"{path} does not state a known position of the patient; head first supine was taken.",
                      stacklevel=3)
    signs = LPS_OF_STIR[POSITIONS.get(position, ("head", "supine"))]
    lps = np.diag([*(sign * length for sign, length in zip(signs, lengths, strict=True)), 1.0])
    _, rows, columns = shape
    lps[:3, 3] = -(lps[:3, 0] * (columns - 1) + lps[:3, 1] * (rows - 1)) / 2
    return LPS_TO_RAS @ lps


def _unit(data: bytes) -> str:
    text = data[466:498].split(b"\0")[0].decode("ascii", "replace").strip()
    return UNITS.get(text.lower(), UNKNOWN_UNIT)
