"""Training slices from a folder of CT volumes: what counts, at which pixel size, how often it is drawn."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..io.folder import volumes_below
from ..volume import AIR_HU, IntensityScale, Volume, question_hu
from .data import TrainingSlices

FINE_PIXEL_MM = 1.1
"""Slices with smaller pixels are averaged 2 x 2: the prior works on pixels of 1.2 to 2 mm."""
FULL_WEIGHT_SLICES = 60
FULL_WEIGHT_MM = 400.0


def load_sources(
    folder: Path, exclude: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[list[TrainingSlices], list[str]]:
    """CT volumes below ``folder`` as training slices in network units, and a line for each that was left out.

    ``exclude``: names of folders to leave out (or ``only`` to take): held-out cases. Values below -1000 HU are raised
    to it. A volume weighs by its slices, up to 60, and by its width, up to 400 mm, since small crops show little
    anatomy. A ``slices.csv`` beside volumes of independent slices gives each slice's pixel size (column pixel_mm_256,
    one row a slice, over the folder's files in order). Raises ValueError when nothing is left.
    """
    sources, skipped = [], []
    unknown = [name for name in (*exclude, *only) if not any(folder.rglob(name))]
    if unknown:
        raise ValueError(f"no folder named {unknown[0]} below {folder}: check the names of the held-out cases")
    rows_used: dict[Path, int] = {}

    def wanted(place: Path) -> bool:
        return not set(exclude) & set(place.parts) and (not only or bool(set(only) & set(place.parts)))

    for place, volume in volumes_below(folder, "HU", wanted):
        name = place.as_posix()
        if isinstance(volume, str):
            skipped.append(f"{name}: {volume}")
            continue
        table = folder / place.parent / "slices.csv"
        pixel = np.full(volume.array.shape[0], volume.spacing_mm[0])
        if table.exists():
            first, needed = rows_used.get(table, 0), len(pixel)
            pixel = _pixel_table(table)[first : first + needed]
            if len(pixel) < needed:
                raise ValueError(f"{table} has fewer rows than there are slices up to {name}: give one row a slice")
            # A volume that is left out below has rows in the table all the same.
            rows_used[table] = first + needed
        question = question_hu(volume)
        if question is not None:
            skipped.append(f"{name}: {question}")
            continue
        sources.append(as_source(name, volume, pixel))
    if not sources:
        raise ValueError(f"no CT volume in HU below {folder}: give NRRD, NIfTI or MetaImage files with CT numbers")
    return sources, skipped


def as_source(name: str, volume: Volume, pixel_mm: np.ndarray) -> TrainingSlices:
    """Slices of a volume in HU as training slices; half precision holds 0.5 HU near water and 2 HU in metal."""
    values = np.maximum(volume.array, AIR_HU).astype(np.float32)
    if volume.spacing_mm[0] < FINE_PIXEL_MM:
        values = volume.with_array(values).bin_in_plane(2).array
        pixel_mm = pixel_mm * 2
    width = min(values.shape[1:]) * float(pixel_mm[0])
    weight = min(1.0, len(values) / FULL_WEIGHT_SLICES) * min(1.0, width / FULL_WEIGHT_MM)
    return TrainingSlices(name, IntensityScale().to_network(values).astype(np.float16), pixel_mm, weight)


def _pixel_table(path: Path) -> np.ndarray:
    with path.open(encoding="utf-8", newline="") as file:
        return np.array([float(row["pixel_mm_256"]) for row in csv.DictReader(file)])
