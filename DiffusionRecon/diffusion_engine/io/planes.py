"""Image planes of one stack: alike, at one place each, evenly spaced along their normal."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

UNEVEN_FRACTION = 0.1
"""Largest distance of a slice from its place on an even grid, as a fraction of the slice spacing."""

SIDEWAYS_FRACTION = 0.5
"""Largest distance of a slice from the line through the first and last, within its plane, in pixels."""

ROUNDED_FRACTION = 0.1
"""Largest such distance that counts as the rounding of positions, in pixels."""

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of two direction cosines that counts as their rounding."""

UNIT_TOLERANCE = 1e-2
"""Largest departure from 1 of a direction's square, and from 0 of the product of two, after their rounding."""

SAME_PLACE_MM = 1e-3
"""Planes nearer than this lie at one place."""


@dataclass(frozen=True)
class Plane:
    """One image plane as its header places it, in DICOM's axes (left, posterior, superior), mm.

    ``name``: what a message calls it; ``source``: the numbers of its file and frame; ``position``: (3,), centre of its
    first pixel; ``orientation``: (6,), directions along a row and along a column; ``spacing``: (2,), distance of its
    rows and of its columns; ``shape``: rows, columns; ``thickness``: distance to a neighbour, None when not stated;
    ``slope`` and ``intercept``: value = slope * stored + intercept; ``rescaled``: whether the header states both;
    ``kind``: of the values where they are not HU; ``time`` and ``stack``: labels of its time point and stack, "" when
    not stated.
    """

    name: str
    source: tuple[int, int]
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    shape: tuple[int, int]
    thickness: float | None
    slope: float
    intercept: float
    rescaled: bool
    kind: str
    time: str = ""
    stack: str = ""


def axes_of(plane: Plane) -> np.ndarray:
    """Three perpendicular unit vectors as rows, shape (3, 3): along a row, along a column, across the plane."""
    row, column = np.reshape(plane.orientation, (2, 3))
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])


def check_alike(planes: Sequence[Plane], name: str) -> None:
    """Raise ValueError, one sentence, unless the planes have one orientation, size, pixel spacing and kind of values.

    ``name``: what a message calls them all together.
    """
    for plane in planes:
        row, column = np.reshape(plane.orientation, (2, 3))
        if max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column)) > UNIT_TOLERANCE:
            raise ValueError(
                f"expected two perpendicular unit vectors as orientation of {plane.name}, found "
                f"{' '.join(f'{v:.4g}' for v in plane.orientation)}: export the series again"
            )
        if min(plane.spacing) <= 0:
            raise ValueError(
                f"expected a positive pixel spacing in {plane.name}, found {_shown(plane.spacing)}: correct the header"
            )
        if plane.slope == 0:
            raise ValueError(f"expected a rescale slope other than 0, found 0 in {plane.name}: export the series again")

    def refuse_odd(what: str, values: Sequence[tuple], same: Callable[[tuple, tuple], bool]) -> None:
        usual = Counter(values).most_common(1)[0][0]
        for plane, value in zip(planes, values, strict=True):
            if not same(value, usual):
                raise ValueError(
                    f"expected one {what} in {name}, found several ({_shown(value)} in {plane.name}, most have "
                    f"{_shown(usual)}): split the series"
                )

    rows, columns = planes[0].shape

    def near(a: tuple, b: tuple) -> bool:
        # Rounded spacings may move an edge of the image by a tenth of a pixel.
        return abs(a[0] - b[0]) * rows < 0.1 * b[0] and abs(a[1] - b[1]) * columns < 0.1 * b[1]

    refuse_odd("size", [plane.shape for plane in planes], operator.eq)
    refuse_odd(
        "orientation",
        [plane.orientation for plane in planes],
        lambda a, b: max(abs(v - w) for v, w in zip(a, b, strict=True)) <= ORIENTATION_TOLERANCE,
    )
    refuse_odd("pixel spacing", [plane.spacing for plane in planes], near)
    refuse_odd("kind of values", [(plane.kind,) for plane in planes], operator.eq)


def by_place(planes: Sequence[Plane]) -> list[list[Plane]]:
    """The planes in order along their normal, those that lie at one place together."""
    normal = axes_of(planes[0])[2]
    ordered = sorted(planes, key=lambda plane: float(normal @ plane.position))
    gaps = np.diff([float(normal @ plane.position) for plane in ordered])
    apart = gaps[gaps > SAME_PLACE_MM]
    # Positions of several time points may differ by their rounding: the gaps between places are the larger ones.
    limit = max(SAME_PLACE_MM, UNEVEN_FRACTION * float(np.quantile(apart, 0.75))) if len(apart) else np.inf
    places = [[ordered[0]]]
    for plane, gap in zip(ordered[1:], gaps, strict=True):
        if gap > limit:
            places.append([])
        places[-1].append(plane)
    return places


def check_one_stack(planes: Sequence[Plane], name: str) -> None:
    """Raise ValueError when stacks or time points that the headers tell apart overlap in space."""
    normal = axes_of(planes[0])[2]
    for what, label in (("stacks", "stack"), ("time points", "time")):
        spans: dict[str, list[float]] = {}
        for plane in planes:
            spans.setdefault(getattr(plane, label), []).append(float(normal @ plane.position))
        ends = sorted((min(found), max(found)) for found in spans.values())
        if any(later[0] <= earlier[1] + SAME_PLACE_MM for earlier, later in pairwise(ends)):
            raise ValueError(
                f"expected one stack of images in {name}, found {len(spans)} {what} of "
                f"{' and '.join(str(len(found)) for found in spans.values())} images: split the series by its {what}"
            )


def check_even(planes: Sequence[Plane], name: str) -> None:
    """Raise ValueError, one sentence, unless planes in spatial order lie evenly on one line along their normal."""
    if len(planes) < 2:
        return
    normal = axes_of(planes[0])[2]
    places = np.array([plane.position for plane in planes])
    gaps = np.diff(places @ normal)
    usual = float(np.median(gaps))
    step = (places[-1] - places[0]) / (len(places) - 1)
    off = places - (places[0] + np.arange(len(places))[:, None] * step)
    if np.abs(off @ normal).max() > UNEVEN_FRACTION * usual:
        at = int(np.argmax(np.abs(gaps - usual)))
        raise ValueError(
            f"expected even slice spacing in {name}, found {gaps[at]:.3g} mm between slices "
            f"{at + 1} and {at + 2} where most are {usual:.3g} mm apart: complete the series or resample it"
        )
    sideways = np.linalg.norm(step - (step @ normal) * normal) / np.linalg.norm(step)
    if sideways > 1e-2:
        raise ValueError(
            f"expected slices stacked along their normal in {name}, found a stack leaning by "
            f"{np.degrees(np.arcsin(min(1.0, float(sideways)))):.1f} degrees (tilted gantry): resample it first"
        )
    shifts = np.linalg.norm(off - np.outer(off @ normal, normal), axis=1)
    if shifts.max() > SIDEWAYS_FRACTION * min(planes[0].spacing):
        at = int(np.argmax(shifts))
        raise ValueError(
            f"expected slices in one line in {name}, found {planes[at].name} {shifts[at]:.3g} mm aside from it: "
            "split the series or resample it"
        )


def lps_matrix(planes: Sequence[Plane]) -> np.ndarray:
    """The (4, 4) matrix from index (i, j, k, 1) to DICOM's axes, mm, of planes in spatial order."""
    first, last = planes[0], planes[-1]
    row, column, normal = axes_of(first)
    matrix = np.eye(4)
    matrix[:3, 0] = row * first.spacing[1]
    matrix[:3, 1] = column * first.spacing[0]
    matrix[:3, 3] = first.position
    if len(planes) == 1:
        matrix[:3, 2] = normal * (first.thickness or 1.0)
        return matrix
    way = np.subtract(last.position, first.position)
    # A stack that leans by less than the rounding of its positions counts as upright, else as stated.
    aside = np.linalg.norm(way - (way @ normal) * normal)
    upright = aside < ROUNDED_FRACTION * min(first.spacing)
    matrix[:3, 2] = (normal * (way @ normal) if upright else way) / (len(planes) - 1)
    return matrix


def _shown(values: Sequence[object]) -> str:
    """Numbers of a message, short."""
    return " x ".join(f"{v:.5g}" if isinstance(v, float) else str(v) for v in values) or "none"
