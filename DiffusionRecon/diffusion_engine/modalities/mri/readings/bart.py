"""BART .cfl/.hdr files: complex64 in column-major order, sixteen axes with fixed meanings.

Where a sample is zero in every coil BART takes it as not measured, and so does this reader. A multi-array file holds
several arrays one behind the other: its header lists their sizes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..kspace import KSpace
from .arrays import from_whole
from .description import Description
from .loading import load_array
from .masks import checked_pattern, measured
from .raw import Raw

READ, PHASE_1, PHASE_2, COIL, MAPS, ECHO = range(6)
TIME, SLICE, AVERAGE = 10, 13, 14
NAMES = ("READ", "PHS1", "PHS2", "COIL", "MAPS", "TE", "COEFF", "COEFF2", "ITER", "CSHIFT", "TIME", "TIME2", "LEVEL",
         "SLICE", "AVG", "BATCH")
KNOWN = (READ, PHASE_1, PHASE_2, COIL, ECHO, TIME, SLICE, AVERAGE)
MOST_AXES = 16
LARGEST = 1 << 42


class Arrays(NamedTuple):
    """The shapes of a file's arrays, sixteen axes each, and whether it is a multi-array file."""

    shapes: tuple[tuple[int, ...], ...]
    several: bool


def is_bart(path: Path) -> bool:
    """Whether a path is one of a .cfl/.hdr pair: the header names dimensions."""
    try:
        with _pair(path)[0].open("rb") as stream:
            return stream.read(12) == b"# Dimensions"
    except OSError:
        return False


def read_bart(path: Path, description: Description) -> KSpace:
    """The k-space of a BART file; ``path``: of its .cfl or .hdr. Raises ValueError, one sentence."""
    array = load_bart(path, description.variable)
    name = _pair(path)[1].name
    further = [NAMES[n] for n in range(MOST_AXES) if array.shape[n] > 1 and n not in KNOWN]
    if "MAPS" in further:
        raise ValueError(f"{name}: expected k-space, found {array.shape[MAPS]} sets of maps: give the k-space's file")
    if further:
        raise ValueError(
            f"{name}: expected k-space without the axes {', '.join(further)}, found shape {_short(array.shape)}: "
            "extract one of each with bart slice"
        )
    remarks = []
    for axis, key in ((ECHO, "contrast"), (TIME, "repetition")):
        count, wanted = array.shape[axis], description.chosen(key)
        if wanted is not None and wanted >= count:
            raise ValueError(f"{name}: expected {key} 0 to {count - 1}, found {wanted} asked for: correct it")
        if count > 1 and wanted is None:
            remarks.append((f"several_{key}s", f"The file holds {count} {key}s; the first was read: name another as "
                                               f"\"{key}\" in the description."))
        array = np.take(array, [wanted or 0], axis)
    if array.shape[AVERAGE] > 1:
        remarks.append(("averaged", f"{array.shape[AVERAGE]} averages were averaged."))
    whole, three, plane = _in_order(array, name)
    pattern = None
    if description.pattern is not None:
        found = load_array(description.file(description.pattern), None)
        pattern = _in_order(_sixteen(found, description.pattern), description.pattern, three, plane)[0][:, 0]
        pattern = checked_pattern(pattern, description.pattern)
    maps = None
    if description.maps is not None:
        found = _sixteen(load_array(description.file(description.maps), None), description.maps)
        if found.shape[MAPS] > 1:
            remarks.append(("several_maps", f"The first of {found.shape[MAPS]} sets of maps was taken."))
            found = found[:, :, :, :, :1]
        maps = _in_order(found, description.maps, three, plane)[0]
    stated = description.mask or "nonzero"
    mask = measured(whole, Description(mask=stated, place=description.place), pattern)
    raw = Raw("BART", whole, mask, maps=maps)
    for kind, sentence in remarks:
        raw.remark(kind, sentence)
    if description.mask is None and not mask.all():
        raw.remark("zeros_not_measured", "What is zero in every coil was taken as not measured, as BART does.")
    return from_whole(raw, description, path, three)


def load_bart(path: Path, which: str | None = None) -> np.ndarray:
    """One array of a .cfl file with its sixteen axes; ``which``: its number, from 0, in a multi-array file."""
    header, data = _pair(path)
    arrays = read_header(header)
    if which is None and len(arrays.shapes) > 1:
        shapes = "; ".join(f"{n}: {_short(shape)}" for n, shape in enumerate(arrays.shapes))
        raise ValueError(
            f"expected one array in {data.name}, found a multi-array file with {len(arrays.shapes)} ({shapes}): name "
            "the k-space's number as \"variable\" in the description"
        )
    index = 0 if which is None else int(which) if which.isdigit() else -1
    if not 0 <= index < len(arrays.shapes):
        raise ValueError(f"expected an array 0 to {len(arrays.shapes) - 1} of {data.name}, found '{which}': correct it")
    counts = [math.prod(shape) for shape in arrays.shapes]
    try:
        size = data.stat().st_size
        if size != 8 * sum(counts):
            raise ValueError(
                f"expected {8 * sum(counts)} bytes in {data.name} as its header says, found {size}: copy it again"
            )
        flat = np.fromfile(data, "<c8", counts[index], offset=8 * sum(counts[:index]))
    except OSError as error:
        raise ValueError(f"expected the data file {data.name} beside its header, found none ({error.strerror}): put "
                         "both together") from error
    return flat.reshape(arrays.shapes[index], order="F")


def read_header(path: Path) -> Arrays:
    """The shapes that a .hdr file lists; raises ValueError for another file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace")[: 1 << 16].splitlines()
    except OSError as error:
        raise ValueError(f"expected the header {path.name}, found none ({error.strerror}): put both there") from error
    titles = {line.strip(): n for n, line in enumerate(lines)}
    several = "# MultiDimensions" in titles
    first = titles.get("# MultiDimensions" if several else "# Dimensions")
    rows: list[str] = []
    if first is not None:
        for line in lines[first + 1:]:
            if line.startswith("#") or not line.strip() or (rows and not several):
                break
            rows.append(line)
    shapes: list[tuple[int, ...]] = []
    for row in rows:
        words = row.split()
        if len(words) > MOST_AXES or not all(word.isdigit() and int(word) > 0 for word in words):
            shapes = []
            break
        shapes.append((*map(int, words), *(1,) * (MOST_AXES - len(words))))
    if not shapes or any(math.prod(shape) > LARGEST for shape in shapes):
        raise ValueError(f"expected up to {MOST_AXES} sizes in the BART header {path.name}, found others: write it "
                         "again")
    return Arrays(tuple(shapes), several)


def _pair(path: Path) -> tuple[Path, Path]:
    """Header and data of a BART file by either of them, or by their common name."""
    base = path.with_suffix("") if path.suffix.lower() in (".cfl", ".hdr") else path
    return base.with_name(base.name + ".hdr"), base.with_name(base.name + ".cfl")


def _sixteen(array: np.ndarray, name: str) -> np.ndarray:
    """An array with BART's axes, those at the end of length 1."""
    if array.ndim > MOST_AXES:
        raise ValueError(f"expected up to {MOST_AXES} axes in '{name}', found {array.ndim}: correct it")
    return array.reshape((*array.shape, *(1,) * (MOST_AXES - array.ndim)))


def _in_order(
    array: np.ndarray, name: str, three: bool | None = None, plane: tuple[int, int] | None = None
) -> tuple[np.ndarray, bool, tuple[int, int]]:
    """(slices or partitions, coils, rows, columns), whether it is 3D, and the axes that are rows and columns.

    Rows are the first phase encoding, columns the readout, or the second phase encoding where the readout is of
    length 1; averages are averaged. ``three`` and ``plane``: those of the k-space for its mask and maps.
    """
    averaged = array.mean(AVERAGE) if array.shape[AVERAGE] > 1 else array[..., 0, :]
    sizes = [array.shape[n] for n in (READ, PHASE_1, PHASE_2)]
    if three is None:
        three = min(sizes) > 1
        if three and array.shape[SLICE] > 1:
            raise ValueError(f"{name}: expected slices or partitions, found both: give one slab at a time")
        plane = (PHASE_1, PHASE_2) if sizes[0] == 1 else (PHASE_2, READ) if sizes[1] == 1 else (PHASE_1, READ)
    assert plane is not None
    stack = PHASE_2 if three else SLICE
    kept = (stack, COIL, *plane)
    moved = averaged.transpose((*kept, *(n for n in range(averaged.ndim) if n not in kept)))
    return np.ascontiguousarray(moved.reshape(moved.shape[:4])), three, plane


def _short(shape: tuple[int, ...]) -> str:
    """A shape without the ones at its end."""
    last = max((n for n, size in enumerate(shape) if size > 1), default=0)
    return " x ".join(map(str, shape[: last + 1]))
