"""Training slices or sinograms from a folder of volumes: what counts, at which pixel size, how often it is drawn."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from ..io.folder import left_out, volumes_below
from ..io.images import READABLE
from ..orientation import axial_squares, has_square_pixels, turn_of
from ..volume import Volume
from .data import TrainingSlices
from .sinograms import SLICES_A_VOLUME, line_integrals
from .units import LINE_INTEGRAL, UNITS, UnitRule, rule_of

FULL_WEIGHT_SLICES = 60
PIXEL_COLUMN = "pixel_mm_256"


def load_sources(
    folder: Path, exclude: Sequence[str] = (), only: Sequence[str] = (), unit: str = "HU", files: str = "*"
) -> tuple[list[TrainingSlices], list[str]]:
    """Volumes of ``unit`` below ``folder`` as training slices in network units, and a line for each left out.

    ``exclude``: names of folders, or of files with or without their ending, to leave out (or ``only`` to take):
    held-out cases. ``files``: pattern of the file names to take, since files that carry no unit (NIfTI) cannot be told
    apart otherwise. See :class:`UnitRule` for scale, floor and pixels. A volume weighs by its slices, up to 60, and by
    its width, up to 400 mm in CT, since small crops show little anatomy. A ``slices.csv`` beside volumes of independent
    slices gives each slice's pixel size (column pixel_mm_256, one row a slice, over the folder's files in order); a
    table of that name without the column is ignored. Volumes are turned upright, see
    :func:`orientation.axial_squares`. Sinograms are made of CT
    volumes, see :func:`sinogram_source`. Raises ValueError, with the reasons, when nothing is left.
    """
    sources: list[TrainingSlices] = []
    skipped: list[str] = []
    unknown = [name for name in (*exclude, *only) if not is_below(folder, name)]
    if unknown:
        raise ValueError(f"no folder named {unknown[0]} below {folder}: check the names of the held-out cases")
    tables: dict[Path, np.ndarray | None] = {}
    rows_used: dict[Path, int] = {}

    def wanted(place: Path) -> bool:
        names = names_of(place)
        chosen = not only or bool(set(only) & names)
        return chosen and not set(exclude) & names and (files == "*" or place.match(files))

    rule = rule_of(unit)
    # CT files often state no unit and are checked by their values; for MR and PET the file's unit is taken.
    for place, volume in volumes_below(folder, "HU" if rule.of_ct else None, wanted):
        name = place.as_posix()
        if isinstance(volume, str):
            skipped.append(f"{name}: {volume}")
            continue
        table = folder / place.parent / "slices.csv"
        if table not in tables:
            tables[table], reason = _pixel_table(table)
            skipped += [] if reason is None else [f"{table.relative_to(folder).as_posix()}: {reason}"]
        of_slices = tables[table]
        pixel = None
        if of_slices is not None:
            first, needed = rows_used.get(table, 0), len(volume.array)
            pixel = of_slices[first : first + needed]
            if len(pixel) < needed:
                raise ValueError(f"{table} has fewer rows than there are slices up to {name}: give one row a slice")
            # A volume that is left out below still has rows in the table.
            rows_used[table] = first + needed
        question = rule.question(volume)
        if question is not None:
            skipped.append(f"{name}: {question}")
            continue
        turn = turn_of(volume)
        try:
            if pixel is not None and not (turn.axial and has_square_pixels(volume)):
                raise ValueError("expected axial slices of square pixels beside slices.csv, found others: reformat it")
            standing, made = axial_squares(volume)
        except ValueError as error:
            skipped.append(f"{name}: {error}")
            continue
        if pixel is not None and turn.downward:
            pixel = pixel[::-1]
        source = as_source(name, standing, pixel, rule)
        sources.append(replace(source, made=made, slice_mm=source.slice_mm if pixel is None else 0.0))
    if not sources:
        wanted_name = "CT volume in HU" if rule.of_ct else f"{rule.modality.upper()} volume in {unit}"
        raise ValueError(
            f"no {wanted_name} below {folder}{left_out(skipped)}: give DICOM, NRRD, NIfTI or MetaImage files of it"
        )
    return sources, skipped



def names_of(place: Path) -> set[str]:
    """The names by which a case is called: of its folders, and of its file with and without the ending."""
    ending = next((each for each in sorted(READABLE, key=len, reverse=True) if place.name.lower().endswith(each)), "")
    return {*place.parts, place.name[: len(place.name) - len(ending)]} - {""}


def is_below(folder: Path, name: str) -> bool:
    """Whether a folder or a file of this name, with or without its ending, lies anywhere below."""
    return any(any(folder.rglob(name + ending)) for ending in ("", *READABLE))


def as_source(
    name: str, volume: Volume, pixel_mm: np.ndarray | None = None, rule: UnitRule = UNITS["HU"]
) -> TrainingSlices:
    """Slices of a volume as training slices; half precision holds 0.5 HU near water and 2 HU in metal.

    ``pixel_mm``: of each slice, the volume's if None. Raises ValueError for pixels that are not square.
    """
    if not has_square_pixels(volume):
        tall, wide = volume.spacing_mm[1], volume.spacing_mm[0]
        raise ValueError(f"expected square pixels in {name}, found {tall:.3g} x {wide:.3g} mm: resample it first")
    if pixel_mm is None:
        pixel_mm = np.full(len(volume.array), volume.spacing_mm[0])
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
        left_right=int(columns.argmax()) == 0, grid=volume.ijk_to_ras,
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


def told(sources: Sequence[TrainingSlices], skipped: Sequence[str]) -> list[str]:
    """Lines for the user: what was left out and why, and what was done to the volumes that are trained on."""
    return [f"left out {line}" for line in skipped] + [f"{s.name}: {s.made}" for s in sources if s.made]


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


def _pixel_table(path: Path) -> tuple[np.ndarray | None, str | None]:
    """The pixel sizes that a table gives, None without a table of that kind, and then the reason where there is one.

    Raises ValueError where a pixel size is no positive number.
    """
    if not path.is_file():
        return None, None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return None, f"no table that can be read ({type(error).__name__}), passed over"
    if not rows or any(PIXEL_COLUMN not in row for row in rows):
        return None, f"no table of slices of this software (it lacks the column {PIXEL_COLUMN}), passed over"
    try:
        pixels = np.array([float(row[PIXEL_COLUMN]) for row in rows])
    except (TypeError, ValueError):
        pixels = np.array([np.nan])
    if not (np.isfinite(pixels) & (pixels > 0)).all():
        raise ValueError(f"expected a pixel size in mm in every row of column {PIXEL_COLUMN} of {path}: correct it")
    return pixels, None
