"""Readouts of a Cartesian acquisition, one by one as a scanner stores them, put at their places in k-space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ....memory import MEGABYTE, free_memory_mb
from .description import CHOICES, Description
from .header import Encoding
from .raw import Raw

COPIES = 4
"""Arrays of the size of k-space that are held at once while it is put together."""


@dataclass(frozen=True, eq=False)
class Lines:
    """``data``: (lines, coils, samples) complex64, in the direction of increasing k. ``index``: of each line by name:
    line, partition, slice, average, and the names in ``CHOICES``. ``centre``: the sample of k = 0 of each line, -1
    where that is not stated; ``first``, ``last``: the range of samples (last not included) that are to be used."""

    data: np.ndarray
    index: Mapping[str, np.ndarray]
    centre: np.ndarray
    first: np.ndarray
    last: np.ndarray


class Gridded(NamedTuple):
    """``values``: (slices, partitions, coils, rows, columns), means of what was measured more than once; ``times``: how
    often each sample was measured, (slices, partitions, rows, columns)."""

    values: np.ndarray
    times: np.ndarray


def forward(
    data: np.ndarray, index: Mapping[str, np.ndarray], centre: np.ndarray, discard: tuple[np.ndarray, np.ndarray],
    reverse: np.ndarray,
) -> Lines:
    """Lines of which those marked ``reverse`` were read from the other end; ``discard``: samples before and after."""
    samples = data.shape[-1]
    data = np.where(reverse[:, None, None], data[..., ::-1], data)
    before, after = discard
    return Lines(
        data, index, np.where(reverse & (centre >= 0), samples - 1 - centre, centre),
        np.where(reverse, after, before), samples - np.where(reverse, before, after),
    )


def select(index: Mapping[str, np.ndarray], imaging: np.ndarray, description: Description, raw: Raw) -> np.ndarray:
    """Which imaging lines are read: of one contrast, repetition, phase and set; a remark where there are several."""
    kept = imaging.copy()
    for name in CHOICES:
        there = np.unique(index[name][kept])
        wanted = description.chosen(name)
        if wanted is not None and wanted not in there:
            raise ValueError(
                f"expected {name} out of {', '.join(map(str, there))}, found {wanted} asked for: correct it"
            )
        if len(there) > 1 and wanted is None:
            raw.remark(f"several_{name}s", f"The file holds {len(there)} {name}s; the first was read: name another as "
                                           f"\"{name}\" in its description.")
        if len(there):
            kept &= index[name] == (there[0] if wanted is None else wanted)
    return kept


def need_memory(lines: int, coils: int, samples: int) -> None:
    """Raise ValueError where k-space of that size does not fit into memory."""
    needed, free = COPIES * 8 * lines * coils * samples / MEGABYTE, free_memory_mb()
    if needed > free:
        raise ValueError(
            f"expected k-space that fits into {free:.0f} MB of free memory, found one that needs {needed:.0f} MB: "
            "read one contrast or repetition, or use a computer with more memory"
        )


def size_of(stated: float, found: np.ndarray, last: int | None) -> int:
    """Entries of an axis: as the header states, or up to the largest index."""
    return round(stated) if stated >= 1 else 1 + max(int(found.max()), last or 0)


def to_grid(lines: Lines, slices: np.ndarray, encoding: Encoding, raw: Raw, readout: int) -> Gridded:
    """Lines at their places. ``slices``: their indices in the order of the stack; ``readout``: columns of the grid.

    Raises ValueError for lines outside the header's matrix.
    """
    rows = size_of(encoding.matrix[1], lines.index["line"], encoding.last_line)
    partitions = size_of(encoding.matrix[2], lines.index["partition"], encoding.last_partition)
    down = _shift("lines", rows, lines.index["line"], encoding.centre_line, raw)
    deep = _shift("partitions", partitions, lines.index["partition"], encoding.centre_partition, raw)
    count, coils, samples = lines.data.shape
    centre = lines.centre
    if samples > 1 and (centre < 0).all():
        centre = np.full(count, samples // 2)
        raw.remark("no_centre_sample", "The file does not state which sample of a readout is k = 0; the middle one "
                                       "was taken.", False)
    bad = ~np.isfinite(lines.data).all(axis=(1, 2))
    if bad.any():
        raise ValueError(
            f"expected finite samples, found NaN or infinity in {int(bad.sum())} readouts, the first in line "
            f"{int(lines.index['line'][bad][0])}: leave these readouts out of the file"
        )
    start = readout // 2 - centre
    if (start < 0).any() or (start + samples > readout).any():
        raise ValueError(
            f"expected readouts of up to {readout} samples as the header's matrix says, found {samples} with k = 0 at "
            f"sample {int(centre[0])}: correct the header"
        )
    values = np.zeros((len(slices), partitions, coils, rows, readout), np.complex64)
    times = np.zeros((len(slices), partitions, rows, readout), np.uint16)
    place = {int(index): n for n, index in enumerate(slices)}
    for n in range(count):
        at = (place[int(lines.index["slice"][n])], int(lines.index["partition"][n]) + deep)
        row, first, last = int(lines.index["line"][n]) + down, int(lines.first[n]), int(lines.last[n])
        columns = slice(int(start[n]) + first, int(start[n]) + last)
        values[at[0], at[1], :, row, columns] += lines.data[n, :, first:last]
        times[at[0], at[1], row, columns] += 1
    values /= np.maximum(times, 1)[:, :, None]
    return Gridded(values, times)


def covariance(noise: np.ndarray, scale: float, averages: int) -> np.ndarray:
    """E[n n^H] of one sample of k-space, from noise readouts (lines, coils, samples).

    ``scale``: variance of an imaging sample over that of a noise sample; ``averages``: of the imaging samples.
    """
    flat = np.moveaxis(noise, 1, 0).reshape(noise.shape[1], -1).astype(np.complex128)
    if not np.isfinite(flat).all():
        raise ValueError("expected finite noise samples, found NaN or infinity: give another noise scan")
    if flat.shape[1] < 2 * flat.shape[0]:
        raise ValueError(
            f"expected at least {2 * flat.shape[0]} noise samples for {flat.shape[0]} coils, found {flat.shape[1]}: "
            "give a longer noise scan"
        )
    found: np.ndarray = scale / averages * (flat @ flat.conj().T) / flat.shape[1]
    return found


def _shift(name: str, size: int, found: np.ndarray, centre: int | None, raw: Raw) -> int:
    """What to add to indices so that k = 0 is at size // 2."""
    if centre is None:
        if size > 1:
            raw.remark(f"no_{name}_limits", f"The header states no limits of its {name}; the middle one of {size} was "
                                            "taken as k = 0.", False)
        centre = size // 2
    shift = size // 2 - centre
    if found.min() + shift < 0 or found.max() + shift >= size:
        raise ValueError(
            f"expected {size} {name} with k = 0 at index {centre} as the header says, found indices {found.min()} to "
            f"{found.max()}: correct the header's matrix or limits"
        )
    return shift
