"""Training slices or sinograms from a folder of volumes: what counts, at which pixel size, how often it is drawn."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from ..io.folder import volumes_below
from ..volume import Volume
from .data import TrainingSlices
from .sinograms import SLICES_A_VOLUME, line_integrals
from .units import LINE_INTEGRAL, UNITS, UnitRule, rule_of

FULL_WEIGHT_SLICES = 60


def load_sources(
    folder: Path, exclude: Sequence[str] = (), only: Sequence[str] = (), unit: str = "HU", files: str = "*"
) -> tuple[list[TrainingSlices], list[str]]:
    """Volumes of ``unit`` below ``folder`` as training slices in network units, and a line for each left out.

    ``exclude``: names of folders to leave out (or ``only`` to take): held-out cases. ``files``: pattern of the file
    names to take, since files that carry no unit (NIfTI) cannot be told apart otherwise. See :class:`UnitRule` for
    scale, floor and pixels. A volume weighs by its slices, up to 60, and by its width, up to 400 mm in CT, since
    small crops show little anatomy. A ``slices.csv`` beside volumes of independent slices gives each slice's pixel size
    (column pixel_mm_256, one row a slice, over the folder's files in order). Sinograms are made of CT volumes, see
    :func:`sinogram_source`. Raises ValueError when nothing is left.
    """
    sources, skipped = [], []
    unknown = [name for name in (*exclude, *only) if not any(folder.rglob(name))]
    if unknown:
        raise ValueError(f"no folder named {unknown[0]} below {folder}: check the names of the held-out cases")
    rows_used: dict[Path, int] = {}

    def wanted(place: Path) -> bool:
        chosen = not only or bool(set(only) & set(place.parts))
        return chosen and not set(exclude) & set(place.parts) and (files == "*" or place.match(files))

    rule = rule_of(unit)
    # CT files often carry no unit and are questioned by their values; MR and PET are taken at their file's word.
    for place, volume in volumes_below(folder, "HU" if rule.of_ct else None, wanted):
        name = place.as_posix()
        if isinstance(volume, str):
            skipped.append(f"{name}: {volume}")
            continue
        table = folder / place.parent / "slices.csv"
        pixel = np.full(volume.array.shape[0], volume.spacing_mm[0])
        independent = table.exists()
        if independent:
            first, needed = rows_used.get(table, 0), len(pixel)
            pixel = _pixel_table(table)[first : first + needed]
            if len(pixel) < needed:
                raise ValueError(f"{table} has fewer rows than there are slices up to {name}: give one row a slice")
            # A volume that is left out below has rows in the table all the same.
            rows_used[table] = first + needed
        question = rule.question(volume)
        if question is not None:
            skipped.append(f"{name}: {question}")
            continue
        source = as_source(name, volume, pixel, rule)
        sources.append(replace(source, slice_mm=0.0) if independent else source)
    if not sources:
        wanted_name = "CT volume in HU" if rule.of_ct else f"{rule.modality.upper()} volume in {unit}"
        raise ValueError(f"no {wanted_name} below {folder}: give NRRD, NIfTI or MetaImage files of it")
    return sources, skipped


def as_source(name: str, volume: Volume, pixel_mm: np.ndarray, rule: UnitRule = UNITS["HU"]) -> TrainingSlices:
    """Slices of a volume as training slices; half precision holds 0.5 HU near water and 2 HU in metal."""
    values = np.maximum(volume.array, rule.floor).astype(np.float32)
    if volume.spacing_mm[0] < rule.fine_pixel_mm:
        values = volume.with_array(values).bin_in_plane(2).array
        pixel_mm = pixel_mm * 2
    width = min(values.shape[1:]) * float(pixel_mm[0])
    weight = min(1.0, len(values) / FULL_WEIGHT_SLICES) * min(1.0, width / rule.full_weight_mm)
    if rule.unit == LINE_INTEGRAL:
        return sinogram_source(name, values, pixel_mm, weight, float(volume.spacing_mm[2]), rule)
    columns = np.abs(volume.ijk_to_ras[:3, 0])
    return TrainingSlices(
        name, rule.to_network(values).astype(np.float16), pixel_mm, weight, float(volume.spacing_mm[2]),
        left_right=int(columns.argmax()) == 0,
    )


def sinogram_source(
    name: str, hu: np.ndarray, pixel_mm: np.ndarray, weight: float, slice_mm: float, rule: UnitRule
) -> TrainingSlices:
    """Sinograms of up to 16 evenly spread slices (slices, rows, columns) in HU, without noise.

    Half precision holds line integrals of 4 to 8 to 0.002, a seventh of the noise of a usual scan (0.2 % of 7).
    """
    step = -(-len(hu) // SLICES_A_VOLUME)
    kept = slice(step // 2, None, step)
    values = rule.to_network(line_integrals(hu[kept], pixel_mm[kept])).astype(np.float16)
    return TrainingSlices(name, values, pixel_mm[kept], weight, slice_mm * step, half_turn=True)


def reweighed(sources: Sequence[TrainingSlices], factors: Mapping[str, float]) -> list[TrainingSlices]:
    """The sources with their weights times the factor of the pattern (such as "ct_chest*") that their name matches.

    Raises ValueError for a pattern without a source and for a factor that is not positive.
    """
    result = list(sources)
    for pattern, factor in factors.items():
        matching = [k for k, source in enumerate(result) if fnmatch(source.name, pattern)]
        if not matching or not factor > 0:
            raise ValueError(
                f"expected a positive factor for sources that exist, found {pattern}={factor:g} with {len(matching)} "
                "sources: correct the pattern or the factor"
            )
        for k in matching:
            result[k] = replace(result[k], weight=result[k].weight * factor)
    return result


def _pixel_table(path: Path) -> np.ndarray:
    with path.open(encoding="utf-8", newline="") as file:
        return np.array([float(row["pixel_mm_256"]) for row in csv.DictReader(file)])
