"""From segments to one map of tissue classes on the grid of the image to be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..orientation import turn_of
from ..volume import Volume, check_rectangular, check_size
from .classes import AIR, BONE, CLASSES, FAT, LUNG, MUSCLE, SOFT, VESSEL

OVER = (SOFT, FAT, LUNG, AIR, MUSCLE, VESSEL, BONE)
"""Where segments overlap, a class later in this row holds: a vessel within a liver, gas within a lung."""
SAME_MM = 1e-3
"""Grids are one where no voxel's centre lies further apart."""


def label_map(
    masks: Mapping[str, Volume], classes: Mapping[str, str], geometry: Volume, known: Sequence[str] = CLASSES,
    rest: int = AIR,
) -> Volume:
    """One map of tissue classes, uint8 indices into ``known``, from the masks of segments on the geometry's grid.

    ``masks``: by segment's name, any number above 0 is inside; ``classes``: the name of each one's class, see
    :meth:`.names.ClassTable.classes_of`; ``known``: the tissues, and after them what a network knows beside them, such
    as lesions, which lie over all tissues. What no segment covers is ``rest``; classes may be missing.
    Raises ValueError, one sentence: classes that do not begin with the tissues, no segments or none with a voxel, a
    segment wholly outside the geometry, another grid, a single slice, an unknown class, NaN.
    """
    check_stack(geometry)
    if tuple(known[: len(CLASSES)]) != CLASSES:
        raise ValueError(
            f"expected classes that begin with {', '.join(CLASSES)}, found {', '.join(known)}: "
            "use a network that knows the tissues"
        )
    if not masks:
        raise ValueError("expected a segmentation with segments, found none: draw or load segments first")
    layers: dict[int, np.ndarray] = {}
    for name, mask in masks.items():
        found = classes.get(name)
        if found not in known:
            raise ValueError(
                f"expected one of the classes {', '.join(known)} for the segment '{name}', found {found!r}: name one"
            )
        check_same_grid(name, mask, geometry)
        if not np.isfinite(mask.array).all():
            raise ValueError(f"expected finite numbers in the segment '{name}', found NaN or infinity: repair the mask")
        index = known.index(found)
        inside = mask.array > 0
        layers[index] = layers[index] | inside if index in layers else inside
    labels = np.full(geometry.array.shape, rest, np.uint8)
    if not any(layer.any() for layer in layers.values()):
        raise ValueError("expected segments with voxels, found all of them empty: draw something first")
    for index in (*OVER, *range(len(CLASSES), len(known))):
        if index in layers:
            labels[layers[index]] = index
    return Volume(labels, geometry.ijk_to_ras, "label")


def check_stack(geometry: Volume) -> None:
    """Raise ValueError, one sentence, for a grid that no volume is made on: one slice, oblique, sheared, vast."""
    slices, rows, columns = geometry.array.shape
    if slices < 2 or min(rows, columns) < 2:
        raise ValueError(
            f"expected a stack of at least two slices of 2 x 2 pixels, found {slices} x {rows} x {columns} voxels: "
            "give the geometry of a volume"
        )
    check_rectangular(geometry.ijk_to_ras)
    check_size(geometry.ijk_to_ras, geometry.array.shape)
    turn = turn_of(geometry)
    if turn.oblique:
        raise ValueError(
            f"expected axes within 45 degrees of the patient's, found them {turn.tilt_degrees:.0f} degrees away: "
            "choose another geometry"
        )


def check_same_grid(name: str, mask: Volume, geometry: Volume) -> None:
    """Raise ValueError, one sentence, where a segment lies outside of the geometry or on another grid."""
    shape = geometry.array.shape
    if mask.array.shape == shape and _apart(mask.ijk_to_ras, geometry.ijk_to_ras, shape) <= SAME_MM:
        return
    if mask.array.any() and not _inside(mask, geometry):
        raise ValueError(
            f"expected the segment '{name}' within the geometry, found all of it outside: "
            "choose the volume that it was drawn on"
        )
    raise ValueError(
        f"expected the segment '{name}' on the geometry's grid of {shape} voxels, found another grid of "
        f"{mask.array.shape}: is it of another patient? Resample it to the geometry if not"
    )


def _apart(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance in mm of the corners of two grids of one shape."""
    corners = np.array([(i, j, k, 1.0) for k in (0, shape[0]) for j in (0, shape[1]) for i in (0, shape[2])])
    return float(np.linalg.norm(((one - other) @ corners.T)[:3], axis=0).max())


def _inside(mask: Volume, geometry: Volume) -> bool:
    """Whether any voxel of the mask lies within the geometry."""
    k, j, i = np.nonzero(mask.array)
    points = np.linalg.solve(geometry.ijk_to_ras, mask.ijk_to_ras @ np.stack([i, j, k, np.ones_like(i)]))[:3]
    ends = np.array(geometry.array.shape[::-1])[:, None]
    return bool(((points > -0.5) & (points < ends - 0.5)).all(0).any())
