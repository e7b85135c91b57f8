"""The tissue classes that images are made from, and how a CT is divided into them: by value and place, one fixed rule.

Classes of every voxel: air (outside, and gas within), lung, fat, soft tissue, muscle, vessel (what contrast medium
lights up), bone. One rule for training, generation and evaluation, so that they mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from ..orientation import upright
from ..volume import Volume, check_image

CLASSES = ("air", "lung", "fat", "soft tissue", "muscle", "vessel", "bone")
"""A class's index here is its value in label maps."""
AIR, LUNG, FAT, SOFT, MUSCLE, VESSEL, BONE = range(len(CLASSES))

BODY_HU = -400.0
"""Between air or lung and everything else."""
SOFT_HU, BRIGHT_HU, DENSE_HU = -30.0, 150.0, 420.0
"""Least values of soft tissue, of contrast medium or bone, and of what only bone reaches."""
MUSCLE_HU = (10.0, 110.0)
SMOOTH_MM = 1.0
"""Standard deviation of the Gaussian, in the slice, that takes noise away before values are compared."""
GAS_HU, GAS_SMOOTH_MM, GAS_MM = -930.0, 2.5, 3.0
"""Gas holds less than this when smoothed so, over discs of this radius at least; lung, with its blood, holds more."""
LUNG_MM2, LUNG_SHARE = 600.0, 0.6
"""A lung has a section of at least this area in some slice, and is no gas for at least this share of its pocket; others
are gas of the stomach and bowel."""
EVEN, EVEN_SHARE, EVEN_NEXT, WINDOW_MM, CORE_MM = 0.06, 0.1, 0.25, 7.0, 4.0
"""Contrast medium is even: a bright part is no bone where its deviation over windows of 7 mm stays below this share of
the mean over discs of 4 mm radius that cover at least this share of the part, the second one where only bone next to
it speaks for bone. Spongy bone is not even, nor is its shell."""
WALL_MM, SEAM_MM = 18.0, 2.0
"""Muscle of the body's wall lies within this distance of the fat under the skin; seams of fat up to twice the second
lead from there to the fat around the organs, and do not count."""
BACK_MM = 60.0
"""Muscle of the back lies behind the middle of the spine, within this distance of it."""
OPENING_MM = 5.0
"""Radius of the opening that parts the body from the table."""
TYPICAL_HU: Mapping[int, float] = MappingProxyType(
    {AIR: -1000.0, LUNG: -840.0, FAT: -105.0, SOFT: 45.0, MUSCLE: 60.0, VESSEL: 190.0, BONE: 400.0}
)
"""About the mean of each class in enhanced CT, where an image must begin somewhere."""


def ct_classes(volume: Volume) -> Volume:
    """The tissue class of every voxel of a CT, on the same grid; the values are indices into CLASSES, uint8.

    With s the image smoothed in the slice over 1 mm, of a standard axial stack:
    body: s > -400 HU, opened over 5 mm, its largest part and what is at least a tenth of it, holes of slices filled;
    lung: pockets in the body, s <= -400, of 6 cm2 in some slice, without the gas in them (below -930 HU when smoothed
    over 2.5 mm, opened over 3 mm, with its rim); that gas and other pockets are air;
    bone: bright parts of slices (s >= 150) with a core above 420 HU, or that lie mostly under or over bone, and are
    not even, with what they enclose; the rest is vessel;
    fat: up to -30 HU, seams between air and tissue among it; soft tissue: from -30 HU on;
    muscle: soft tissue of 10 to 110 HU that lies within 18 mm of the fat under the skin and not between the lungs, or
    behind the middle of the spine. Muscle and organs have the same values: this class is a matter of place alone, and
    rough (the psoas counts as soft tissue). So is vessel: enhanced kidneys and bowel count as it, and dense contrast
    medium that is not even, as where veins flow in, can count as bone.
    Raises ValueError for another unit, a single slice, oblique or sheared grids and values that are not finite.
    """
    if volume.unit != "HU":
        raise ValueError(f"expected a CT in HU, found the unit {volume.unit}: use the rule of MR, or state the unit")
    check_image(volume)
    if len(volume.array) < 2:
        raise ValueError("expected a stack of two slices or more, found a single slice: tissue classes need its depth")
    standing, turn = upright(volume)
    labels = _divide(standing.array.astype(np.float32), standing.spacing_mm)
    return volume.with_array(np.ascontiguousarray(turn.undo(labels)), "label")


def body_of(labels: np.ndarray) -> np.ndarray:
    """The body, with what it encloses in each slice, of a label map (slices, rows, columns) whose 0 is air."""
    return np.stack([ndimage.binary_fill_holes(plane > AIR) for plane in labels])


def _divide(image: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    wide, tall, deep = spacing_mm
    smooth = ndimage.gaussian_filter(image, (0.0, SMOOTH_MM / tall, SMOOTH_MM / wide))
    voxel_mm = (deep, tall, wide)
    body = _body(smooth, voxel_mm)
    result = np.zeros(image.shape, np.uint8)
    if not body.any():
        return result
    box = (slice(None), *(_span(np.asarray(body.any(axes))) for axes in ((0, 2), (0, 1))))
    image, smooth, body = image[box], smooth[box], body[box]
    labels = result[box]
    labels[body] = FAT
    labels[body & (smooth >= SOFT_HU)] = SOFT
    pockets = body & (smooth <= BODY_HU)
    lung = _lung(image, pockets, voxel_mm)
    labels[pockets] = AIR
    labels[lung] = LUNG
    bright = body & (smooth >= BRIGHT_HU)
    bone = _bone(smooth, bright, voxel_mm)
    labels[bright] = VESSEL
    labels[bone] = BONE
    labels[_muscle(smooth, labels, body, voxel_mm)] = MUSCLE
    return result


def _span(there: np.ndarray) -> slice:
    """From the first to the last true one, with one more at each side where there is one."""
    places = np.flatnonzero(there)
    return slice(max(int(places[0]) - 1, 0), int(places[-1]) + 2)


def _body(smooth: np.ndarray, voxel_mm: tuple[float, float, float]) -> np.ndarray:
    """The patient without the table: opened in the slice, the large parts, holes of each slice filled."""
    opened = _opened(smooth > BODY_HU, OPENING_MM, voxel_mm)
    if not opened.any():
        return opened
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in opened])
    parts, count = ndimage.label(filled)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    return np.isin(parts, np.flatnonzero(sizes >= sizes.max() / 10))


def _opened(mask: np.ndarray, radius_mm: float, voxel_mm: tuple[float, float, float]) -> np.ndarray:
    """What discs of this radius within the mask of each slice cover."""
    result = np.zeros_like(mask)
    for k, plane in enumerate(mask):
        core = _distance(plane, voxel_mm[1:]) > radius_mm
        if core.any():
            result[k] = plane & (_distance(~core, voxel_mm[1:]) <= radius_mm)
    return result


def _distance(mask: np.ndarray, voxel_mm: tuple[float, ...]) -> np.ndarray:
    """Distance in mm of each true element from the nearest false one; infinite where there is none."""
    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return ndimage.distance_transform_edt(mask, voxel_mm).astype(np.float32)


def _lung(image: np.ndarray, pockets: np.ndarray, voxel_mm: tuple[float, float, float]) -> np.ndarray:
    _, tall, wide = voxel_mm
    calm = ndimage.gaussian_filter(image, (0.0, GAS_SMOOTH_MM / tall, GAS_SMOOTH_MM / wide))
    gas = _opened(calm < GAS_HU, GAS_MM, voxel_mm)
    # With the rim of the gas, whose voxels hold some wall.
    gas = pockets & np.stack([_distance(~plane, voxel_mm[1:]) <= GAS_MM for plane in gas])
    parts, _ = ndimage.label(pockets)
    lung = np.zeros_like(pockets)
    for number, place in enumerate(ndimage.find_objects(parts), 1):
        own = parts[place] == number
        rest = own & ~gas[place]
        if rest.sum() > LUNG_SHARE * own.sum() and rest.sum((1, 2)).max() * tall * wide >= LUNG_MM2:
            lung[place] |= rest
    return lung


def _bone(smooth: np.ndarray, bright: np.ndarray, voxel_mm: tuple[float, float, float]) -> np.ndarray:
    """Bright parts of slices that hold a dense core and are not even, those that lie over such, filled."""
    bone = np.zeros_like(bright)
    even = _even(smooth, bright, voxel_mm)
    left: list[list[tuple[tuple[slice, ...], np.ndarray]]] = []
    for k, plane in enumerate(bright):
        parts, _ = ndimage.label(plane)
        left.append([])
        for number, place in enumerate(ndimage.find_objects(parts), 1):
            own = parts[place] == number
            values = smooth[k][place]
            share, dense = float(even[k][place][own].mean()), float(values[own].max()) >= DENSE_HU
            if dense and share < EVEN_SHARE:
                bone[k][place] |= own
            elif not dense and share < EVEN_NEXT:
                left[k].append((place, own))
    order = range(len(bone))
    for k, other in [*((k, k - 1) for k in order[1:]), *((k, k + 1) for k in order[-2::-1])]:
        for place, own in left[k]:
            if bone[other][place][own].mean() > 0.5:
                bone[k][place] |= own
    return np.stack([ndimage.binary_fill_holes(plane) for plane in bone])


def _even(smooth: np.ndarray, bright: np.ndarray, voxel_mm: tuple[float, float, float]) -> np.ndarray:
    """Where bright slices are even over discs: sqrt(mean(s^2) - mean(s)^2) < EVEN mean(s)."""
    window = (1, *(max(3, round(WINDOW_MM / size) // 2 * 2 + 1) for size in voxel_mm[1:]))
    mean = ndimage.uniform_filter(smooth.astype(np.float64), window)
    square = ndimage.uniform_filter(smooth.astype(np.float64) ** 2, window)
    return _opened(bright & (square - mean**2 < (EVEN * mean) ** 2), CORE_MM, voxel_mm)


def _muscle(
    smooth: np.ndarray, labels: np.ndarray, body: np.ndarray, voxel_mm: tuple[float, float, float]
) -> np.ndarray:
    """Soft tissue of the body's wall and of the back."""
    able = (labels == SOFT) & (smooth >= MUSCLE_HU[0]) & (smooth <= MUSCLE_HU[1])
    result = np.zeros_like(able)
    for k, plane in enumerate(able):
        if plane.any():
            outer = _outer((labels[k] == FAT) | ~body[k], ~body[k], voxel_mm[1:])
            wall = (_distance(~outer, voxel_mm[1:]) <= WALL_MM) & ~_hull(labels[k] == LUNG)
            result[k] = plane & (wall | _back(labels[k] == BONE, body[k], voxel_mm[1:]))
    return result


def _outer(fat: np.ndarray, outside: np.ndarray, pixel_mm: tuple[float, ...]) -> np.ndarray:
    """The fat that hangs together with the outside by more than seams, and the outside."""
    core = _distance(fat, pixel_mm) > SEAM_MM
    parts, _ = ndimage.label(core)
    numbers = np.unique(parts[outside & core])
    kept = np.isin(parts, numbers[numbers > 0])
    return outside | ((_distance(~kept, pixel_mm) <= SEAM_MM) & fat) if kept.any() else outside


def _hull(mask: np.ndarray) -> np.ndarray:
    """The convex hull of a mask of a slice; empty where the mask has no area."""
    points = np.argwhere(mask)
    if len(points) < 3 or (np.ptp(points, 0) == 0).any():
        return np.zeros_like(mask)
    try:
        equations = ConvexHull(points).equations
    except QhullError:  # all of them on one line
        return np.zeros_like(mask)
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    outside = np.zeros_like(mask)
    for down, along, level in equations:
        outside |= down * rows + along * columns > 1e-9 - level
    return ~outside


def _back(bone: np.ndarray, body: np.ndarray, pixel_mm: tuple[float, ...]) -> np.ndarray:
    """What lies behind the middle of the spine: the largest bone in the middle third of the body's width."""
    columns = np.flatnonzero(body.any(0))
    third = (columns[-1] - columns[0]) / 3 if len(columns) else 0.0
    parts, count = ndimage.label(bone)
    if not count:
        return np.zeros_like(body)
    centres = np.array(ndimage.center_of_mass(bone, parts, np.arange(1, count + 1)))
    sizes = np.bincount(parts.ravel())[1:] * (np.abs(centres[:, 1] - columns.mean()) <= third / 2)
    if not sizes.any():
        return np.zeros_like(body)
    row, column = centres[int(sizes.argmax())]
    rows, across = np.ogrid[: body.shape[0], : body.shape[1]]
    near = np.hypot((rows - row) * pixel_mm[0], (across - column) * pixel_mm[1]) <= BACK_MM
    behind: np.ndarray = near & (rows >= row)
    return behind
