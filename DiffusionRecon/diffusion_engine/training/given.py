"""Label maps and other images beside training volumes: each of the volume of its name, on its grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from ..io.folder import volumes_below
from ..io.images import READABLE
from ..orientation import axial_squares
from ..priors.conditions import IMAGES, SEGMENT, UNKNOWN, Condition
from ..volume import Volume
from .data import TrainingSlices
from .sources import as_source
from .units import UnitRule

GRID_MM = 0.05
"""Grids that differ by no more, at any corner, are the same."""


def with_given(
    sources: Sequence[TrainingSlices], folder: Path, condition: Condition, rule: UnitRule
) -> tuple[list[TrainingSlices], list[str]]:
    """The sources that ``folder`` holds something given for, with it, and a line for each other one.

    Label maps are whole numbers, the values of classes or 255; where pixels of a volume were averaged 2 x 2, the label
    that most of the four have counts. Other images are brought to network units as the volumes are. Raises ValueError
    for another grid than the volume's, values without a class, and a folder without anything for any source.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: give the one of the label maps or other images")
    by_name = {stem(source.name): source for source in sources}
    found: dict[str, TrainingSlices] = {}
    another = condition.kind in IMAGES
    unit = rule.unit if another else "label"
    for place, volume in volumes_below(folder, unit, lambda path: stem(path.as_posix()) in by_name):
        source = by_name[stem(place.as_posix())]
        if isinstance(volume, str):
            raise ValueError(f"what is given for {source.name} cannot be read: {volume}")
        given = other_image(source, volume, rule) if another else label_map(source, volume, condition)
        found[source.name] = replace(source, given=given)
    if not found:
        raise ValueError(
            f"nothing below {folder} has the place and name of a volume, such as {sources[0].name}: lay it out as the "
            "volumes are"
        )
    lacking = [f"{source.name}: nothing is given for it" for source in sources if source.name not in found]
    return [found[source.name] for source in sources if source.name in found], lacking


def stem(name: str) -> str:
    """A path below a folder without the ending of an image file."""
    ending = next((each for each in sorted(READABLE, key=len, reverse=True) if name.lower().endswith(each)), "")
    return PurePosixPath(name[: len(name) - len(ending)]).as_posix()


def label_map(source: TrainingSlices, volume: Volume, condition: Condition) -> np.ndarray:
    """Labels (slices, rows, columns), uint8, of the training slices."""
    standing, made = _same_grid(source, volume)
    if made.startswith("pixels"):
        raise ValueError(f"expected square pixels of labels for {source.name}, found {made}: resample both first")
    labels = standing.array
    whole = np.rint(labels)
    known = (whole >= 0) & (whole < len(condition.classes))
    # What is to be segmented must be known everywhere.
    known |= (whole == UNKNOWN) & (condition.kind != SEGMENT)
    if not np.array_equal(whole, labels) or not known.all():
        raise ValueError(
            f"expected labels from 0 to {len(condition.classes) - 1}, or {UNKNOWN}, for {source.name}, found "
            f"{labels[(whole != labels) | ~known].flat[0]:g}: map them to the classes first"
        )
    whole = whole.astype(np.uint8)
    return whole if whole.shape == source.values.shape else most_of_four(whole)


def other_image(source: TrainingSlices, volume: Volume, rule: UnitRule) -> np.ndarray:
    """The other image (slices, rows, columns) in network units, float16, as the training slices are."""
    standing, _ = _same_grid(source, volume)
    if rule.scale is None:
        raise ValueError(
            f"images in {rule.unit} have no common scale: bring volumes and what is given to a fixed unit first"
        )
    return as_source(source.name, standing, rule=rule).values


def most_of_four(labels: np.ndarray) -> np.ndarray:
    """The label that most pixels of each block of 2 x 2 have, the lowest of equally many; trimmed as images are."""
    slices, rows, columns = labels.shape
    j, i = rows % 2 // 2, columns % 2 // 2
    blocks = labels[:, j : j + rows // 2 * 2, i : i + columns // 2 * 2]
    four = np.sort(blocks.reshape(slices, rows // 2, 2, columns // 2, 2).transpose(0, 1, 3, 2, 4).reshape(
        slices, rows // 2, columns // 2, 4
    ), -1)
    counts = (four[..., :, None] == four[..., None, :]).sum(-1)
    return np.take_along_axis(four, counts.argmax(-1)[..., None], -1)[..., 0]


def _same_grid(source: TrainingSlices, volume: Volume) -> tuple[Volume, str]:
    """What is given, turned as the volume was; raises ValueError where it lies elsewhere."""
    standing, made = axial_squares(volume)
    slices, rows, columns = standing.array.shape
    fits = standing.array.shape == source.values.shape or (slices, rows // 2, columns // 2) == source.values.shape
    corners = np.array([[i, j, k, 1] for i in (0, columns) for j in (0, rows) for k in (0, slices)], float).T
    away = None if source.grid is None else np.abs((standing.ijk_to_ras - source.grid) @ corners)[:3].max()
    if not fits or away is None or away > GRID_MM:
        told = f"{slices} x {rows} x {columns} voxels" + ("" if away is None or not fits else f", {away:.3g} mm away")
        raise ValueError(
            f"expected what is given for {source.name} on its own grid, found {told}: resample it to the volume "
            "first"
        )
    return standing, made
