"""The JSON file beside a PET file: what the file itself does not say, or says wrongly."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ....checks import number, whole
from ....io.json_object import read_keys
from ....io.layout import beside
from ...rules import Remark

AXES = ("slice", "angle", "bin")
"""Names of axes of an array of counts; others have length 1."""

NEGATIVE = ("expected counts of at least 0, found {count} below 0, down to {least:.3g}: were randoms subtracted, or "
            "values interpolated? Give the prompts and the expected randoms as background, or write "
            "\"negative_to_zero\": true into the description to set them to 0, which biases the image")

LENGTHS = ("bin_mm", "slice_spacing_mm", "duration_s", "counts_per_bq", "ring_spacing_mm", "ring_diameter_mm")
TEXTS = ("variable", "background", "attenuation", "attenuation_factors", "efficiency", "normalisation", "isotope")
FACTORS = ("background", "attenuation", "attenuation_factors", "efficiency", "normalisation")
"""Keys that name a file, or a variable of the same file, of the counts' own shape."""


@dataclass(frozen=True)
class Description:
    """What a user says about a file of PET data; every key may be left out. See PET.md for their meaning.

    ``place``: the description's own path.
    """

    axes: tuple[str, ...] | None = None
    variable: str | None = None
    angles_deg: tuple[float, ...] | None = None
    arc_deg: float | None = None
    bin_mm: float | None = None
    centre_bin: float | None = None
    slice_spacing_mm: float | None = None
    duration_s: float | None = None
    counts_per_bq: float | None = None
    ijk_to_ras: tuple[tuple[float, ...], ...] | None = None
    background: str | None = None
    attenuation: str | None = None
    attenuation_factors: str | None = None
    efficiency: str | None = None
    normalisation: str | None = None
    isotope: str | None = None
    arc_corrected: bool | None = None
    ring_pairs: str | None = None
    rings: int | None = None
    ring_spacing_mm: float | None = None
    ring_diameter_mm: float | None = None
    detectors_per_ring: int | None = None
    max_ring_difference: int | None = None
    negative_to_zero: bool = False
    place: Path | None = None

    def file(self, name: str) -> Path:
        """The path of a file that the description names, which lies in its folder."""
        assert self.place is not None
        path = beside(self.place, name)
        if not path.is_file():
            raise ValueError(f"expected the file '{name}' beside {self.place}, found none: put both files together")
        return path

    @property
    def matrix(self) -> np.ndarray | None:
        """The described ijk_to_ras as an array."""
        return None if self.ijk_to_ras is None else np.array(self.ijk_to_ras)


def without_negatives(values: np.ndarray, description: Description, remarks: list[Remark]) -> np.ndarray:
    """Counts, those below 0 as 0 where the description asks for it, which is remarked; ValueError where it does not."""
    below = values < 0
    count = int(below.sum())
    if not count:
        return values
    if not description.negative_to_zero:
        raise ValueError(NEGATIVE.format(count=count, least=float(values.min())))
    remarks.append(Remark("negative", f"{count} values below 0, {100 * count / values.size:.2g} % of all, were set to "
                                      f"0 as described; the least was {float(values.min()):.3g}.", True))
    return np.where(below, np.zeros((), values.dtype), values)


KEYS = tuple(field.name for field in fields(Description) if field.name != "place")


def read_description(path: Path | None) -> Description:
    """The description of a file, an empty one for None; raises ValueError, one sentence, for the first fault."""
    if path is None:
        return Description()
    given = read_keys(path, KEYS, _fault)
    for one, other in (("attenuation", "attenuation_factors"), ("efficiency", "normalisation")):
        if {one, other} <= set(given):
            raise ValueError(f"expected {one} or {other} in {path}, found both: give one of them")
    if {"angles_deg", "arc_deg"} <= set(given):
        raise ValueError(f"expected angles_deg or arc_deg in {path}, found both: give one of them")
    for key in ("axes", "angles_deg"):
        if key in given:
            given[key] = tuple(given[key])
    if "ijk_to_ras" in given:
        given["ijk_to_ras"] = tuple(tuple(float(n) for n in row) for row in given["ijk_to_ras"])
    return Description(**given, place=path)


def _fault(key: str, value: Any) -> str:
    """What is expected of a key's value instead of this one; nothing where it is right."""
    if key in LENGTHS:
        return "" if number(value) and value > 0 else "a positive number"
    if key in ("centre_bin", "arc_deg"):
        return "" if number(value) else "a number"
    if key in ("rings", "detectors_per_ring"):
        return "" if whole(value) and value > 0 else "a whole number of at least 1"
    if key == "max_ring_difference":
        return "" if whole(value) and value >= 0 else "a whole number of at least 0"
    if key in ("arc_corrected", "negative_to_zero"):
        return "" if isinstance(value, bool) else "true or false"
    if key == "ring_pairs":
        return "" if value in ("summed", "averaged") else "'summed' or 'averaged'"
    if key == "angles_deg":
        right = isinstance(value, list) and value and all(number(n) for n in value)
        return "" if right else "a list of numbers, one for each angle,"
    if key == "ijk_to_ras":
        rows = isinstance(value, list) and [len(row) if isinstance(row, list) else 0 for row in value] == [4] * 4
        return "" if rows and all(number(n) for row in value for n in row) else "four rows of four numbers"
    if key == "axes":
        names = isinstance(value, list) and all(name in AXES for name in value) and len(set(value)) == len(value)
        return "" if names and {"angle", "bin"} <= set(value) else "angle, bin and perhaps slice, each once,"
    return "" if isinstance(value, str) and value else "a text"
