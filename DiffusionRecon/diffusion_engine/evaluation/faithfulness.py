"""Whether a synthetic image shows what it was asked to show: it is segmented again by the rule, and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two masks; NaN where both are empty. Raises ValueError for other shapes."""
    if one.shape != other.shape:
        raise ValueError(f"expected masks of one shape, found {one.shape} and {other.shape}: compare on one grid")
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return math.nan if total == 0 else 2 * int(np.count_nonzero((one > 0) & (other > 0))) / total


def dice_by_class(
    wanted: np.ndarray, found: np.ndarray, names: Sequence[str], least: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Dice of every class of two label maps (slices, rows, columns), and of the body; rows of name, item and value.

    ``names``: of the labels 0, 1 and so on, 0 what lies outside; "body" is all else with what it encloses in a slice.
    ``least``: bars by item; a row with one has "bar" and "passed". A class that neither holds has no row; one that only
    one of them holds has 0. Raises ValueError for other shapes and labels without a name.
    """
    if wanted.shape != found.shape:
        raise ValueError(f"expected label maps of one shape, found {wanted.shape} and {found.shape}: use one grid")
    top = max(int(wanted.max()), int(found.max()))
    if top >= len(names):
        raise ValueError(f"expected labels up to {len(names) - 1}, found {top}: give the names of all")
    pairs = {name: (wanted == n, found == n) for n, name in enumerate(names)}
    pairs["body"] = (enclosed(wanted > 0), enclosed(found > 0))
    rows: list[dict[str, Any]] = []
    for item, (one, other) in pairs.items():
        value = dice(one, other)
        if math.isnan(value):
            continue
        row = {"name": "dice", "item": item, "value": round(value, 4)}
        if least and item in least:
            row |= {"bar": least[item], "passed": value >= least[item]}
        rows.append(row)
    return rows


def enclosed(mask: np.ndarray) -> np.ndarray:
    """A mask (slices, rows, columns) with the holes of each slice filled."""
    return np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
