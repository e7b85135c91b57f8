"""Images of Interfile (.hv with .v), as STIR writes them, with their place in the patient."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from ....io.conventions import LPS_TO_RAS, UNKNOWN_UNIT
from ....volume import Volume
from .interfile_header import InterfileHeader, check_whole, key_of, read_header

LPS_OF_STIR = {("head", "supine"): (1, 1, -1), ("head", "prone"): (-1, -1, -1), ("feet", "supine"): (-1, 1, 1),
               ("feet", "prone"): (1, -1, 1)}
"""Signs of STIR's x, y, z in LPS: x to the right seen from the bed, y down, z from the first ring towards the bed."""

SHORT = {"HFS": ("head", "supine"), "HFP": ("head", "prone"), "FFS": ("feet", "supine"), "FFP": ("feet", "prone")}


def position_of(header: InterfileHeader) -> tuple[int, int, int] | None:
    """Signs of STIR's axes in LPS by the patient's position, None where it is not stated."""
    text = header.text("patient orientation").strip()
    stated = SHORT.get(text.upper(), (key_of(text).removesuffix(" in"), key_of(header.text("patient rotation"))))
    return LPS_OF_STIR.get(stated)


def read_interfile_image(path: Path, unit: str | None = None) -> Volume:
    """The image of a header, voxels of its stored type or, where it is scaled, float32.

    ``unit``: of the values, "a.u." unless given, as Interfile names none. A position of the patient that is not stated
    is taken as head first supine, as STIR does, with a warning. Raises ValueError, one sentence.
    """
    header = read_header(path)
    check_whole(header)
    kind = key_of(header.text("pet data type"))
    if kind not in ("image", "") or header.text("minimum ring difference per segment"):
        raise ValueError(f"expected an image as PET data type in {path.name}, found '{kind}': choose the image's "
                         "header")
    if header.whole_number("number of dimensions") not in (None, 3):
        raise ValueError(f"expected three dimensions in {path.name}, found {header.text('number of dimensions')}: give "
                         "one volume")
    frames, kinds = header.whole_number("number of time frames"), header.whole_number("number of image data types")
    if max(frames or 1, kinds or 1) > 1:
        raise ValueError(f"expected one image in {path.name}, found {max(frames or 1, kinds or 1)} frames or kinds of "
                         "data: give each in a file of its own")
    labels = [key_of(header.text("matrix axis label", n)) for n in (1, 2, 3)]
    if any(labels) and labels != ["x", "y", "z"]:
        raise ValueError(f"expected the axes x, y, z in {path.name}, found {', '.join(labels)}: convert the file by "
                         "STIR")
    sizes = [header.whole_number("matrix size", n) or 0 for n in (1, 2, 3)]
    lengths = [header.number("scaling factor (mm/pixel)", n) or 0.0 for n in (1, 2, 3)]
    if min(sizes) < 1 or min(lengths) <= 0:
        raise ValueError(f"expected positive sizes and voxel lengths of three axes in {path.name}, found {sizes} and "
                         f"{lengths}: correct the header")
    columns, rows, slices = sizes
    values = header.stored(columns * rows * slices, header.whole_number("data offset in bytes", 1) or 0)
    array = _scaled(header, values.reshape(slices, rows, columns))
    signs = position_of(header)
    if signs is None:
        warnings.warn(f"{path} does not state the patient's position; head first supine was taken.", stacklevel=2)
        signs = LPS_OF_STIR["head", "supine"]
    offsets = [header.number("first pixel offset (mm)", n) for n in (1, 2, 3)]
    # STIR: without offsets, pixel size // 2 lies on the axis and the first plane at z = 0.
    middle = (columns // 2, rows // 2, 0)
    first = [-length * at if offset is None else offset
             for offset, length, at in zip(offsets, lengths, middle, strict=True)]
    lps = np.diag([*(sign * length for sign, length in zip(signs, lengths, strict=True)), 1.0])
    lps[:3, 3] = np.multiply(signs, first)
    return Volume(array, LPS_TO_RAS @ lps, unit or UNKNOWN_UNIT)


def _scaled(header: InterfileHeader, array: np.ndarray) -> np.ndarray:
    """The stored numbers times the image scaling factor: one, or one for each slice."""
    factors = header.numbers("image scaling factor", 1) or header.numbers("quantification units") or [1.0]
    if len(factors) not in (1, len(array)):
        raise ValueError(f"expected one image scaling factor or {len(array)} of the slices in {header.path.name}, "
                         f"found {len(factors)}: correct the header")
    if set(factors) == {1.0}:
        return array
    return (array * np.array(factors).reshape(-1, 1, 1)).astype(np.float32)
