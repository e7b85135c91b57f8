"""The JSON file beside MR raw data: what the file itself does not say, or says wrongly."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ....checks import number, whole
from ....io.json_object import read_keys
from ....io.layout import beside

AXES = ("slice", "coil", "row", "column", "partition", "average", "contrast", "repetition")
"""Names of axes: rows are phase-encoding lines, columns the readout, partitions a third axis of k-space."""
CHOICES = ("contrast", "repetition", "phase", "set")


@dataclass(frozen=True)
class Description:
    """What a user says about a file of raw data; every key may be left out.

    ``axes``: names of an array's axes in order, out of ``AXES``. ``variable``: of a file that holds several arrays.
    ``pixel_mm``: of the image (row, column), ``slice_spacing_mm``, ``ijk_to_ras`` (4, 4). ``mask``: "full": all was
    measured, "nonzero": what is zero in every coil was not, or the name of a file beside this one; ``maps``: of a file
    of coil sensitivities. ``centre``: where k = 0 lies, "middle" (index size // 2) or "corner" (index 0).
    ``oversampling``: of the readout, removed when above 1. ``contrast``, ``repetition``, ``phase``, ``set``: which one
    to read where there are several. ``trust``: the user vouches for samples that do not look like k-space.
    ``place``: the description's own path.
    """

    axes: tuple[str, ...] | None = None
    variable: str | None = None
    pixel_mm: tuple[float, float] | None = None
    slice_spacing_mm: float | None = None
    ijk_to_ras: tuple[tuple[float, ...], ...] | None = None
    mask: str | None = None
    maps: str | None = None
    centre: str = "middle"
    oversampling: float | None = None
    contrast: int | None = None
    repetition: int | None = None
    phase: int | None = None
    set: int | None = None
    trust: bool = False
    place: Path | None = None

    def chosen(self, name: str) -> int | None:
        """Which contrast, repetition, phase or set to read, None where none is asked for."""
        found: int | None = getattr(self, name)
        return found

    def file(self, name: str) -> Path:
        """The path of a file that the description names, which lies in its folder."""
        assert self.place is not None
        path = beside(self.place, name)
        if not (path.is_file() or path.with_name(path.name + ".hdr").is_file()):
            raise ValueError(f"expected the file '{name}' beside {self.place}, found none: put both files together")
        return path

    @property
    def pattern(self) -> str | None:
        """The name of the mask's file, None where there is none."""
        return None if self.mask in (None, "full", "nonzero") else self.mask


KEYS = tuple(field.name for field in fields(Description) if field.name != "place")


def read_description(path: Path | None) -> Description:
    """The description of a file, an empty one for None; raises ValueError, one sentence, for the first fault."""
    if path is None:
        return Description()
    given = read_keys(path, KEYS, _fault)
    for key in ("axes", "pixel_mm"):
        if key in given:
            given[key] = tuple(given[key])
    if "ijk_to_ras" in given:
        given["ijk_to_ras"] = tuple(tuple(float(n) for n in row) for row in given["ijk_to_ras"])
    return Description(**given, place=path)


def _fault(key: str, value: Any) -> str:
    """What is expected of a key's value instead of this one; nothing where it is right."""
    if key in CHOICES:
        return "" if whole(value) and value >= 0 else "a whole number of at least 0"
    if key in ("slice_spacing_mm", "oversampling"):
        return "" if number(value) and value > 0 else "a positive number"
    if key == "pixel_mm":
        right = isinstance(value, list) and len(value) == 2 and all(number(n) and n > 0 for n in value)
        return "" if right else "two positive numbers, of rows and columns,"
    if key == "ijk_to_ras":
        rows = isinstance(value, list) and [len(row) if isinstance(row, list) else 0 for row in value] == [4] * 4
        return "" if rows and all(number(n) for row in value for n in row) else "four rows of four numbers"
    if key == "axes":
        names = isinstance(value, list) and all(name in AXES for name in value) and len(set(value)) == len(value)
        complete = names and {"row", "column"} <= set(value)
        return "" if complete else f"row, column and others out of {', '.join(AXES)}, each once,"
    if key == "centre":
        return "" if value in ("middle", "corner") else "'middle' or 'corner'"
    if key == "trust":
        return "" if isinstance(value, bool) else "true or false"
    return "" if isinstance(value, str) and value else "a text"


def matrix_of(description: Description) -> np.ndarray | None:
    """The described ijk_to_ras as an array."""
    return None if description.ijk_to_ras is None else np.array(description.ijk_to_ras)
