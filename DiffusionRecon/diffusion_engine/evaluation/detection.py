"""Limits of detection from rows of inserted lesions: from which diameter on are they kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

FAINT = 60.0
"""Lesions of at most this contrast are one class, those above another, in the unit of the rows."""
KEPT, SHARE = 0.5, 0.8
"""A lesion is kept when more than this part of its contrast is; a diameter, when this share of its lesions is."""


def detection_limits(rows: Sequence[Mapping[str, Any]], faint: float = FAINT) -> list[dict[str, Any]]:
    """The limits that a card stores under ``detection``: one for each preset, method, views, noise and class.

    ``rows``: of lesions, with preset, method, views, noise_percent, diameter_mm, contrast and contrast_kept. Rows are
    of one noise when it is the same to two digits. ``limit_mm``: the smallest diameter of those tried of which, as of
    every larger one, SHARE of the lesions are kept; None where there is none.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        high = abs(row["contrast"]) > faint
        key = (row["preset"], repr(sorted(row["method"].items())), row["views"], two_digits(row["noise_percent"]), high)
        groups.setdefault(key, []).append(row)
    limits = []
    for (preset, _, views, noise, high), own in sorted(groups.items(), key=lambda group: group[0]):
        sizes = sorted({row["diameter_mm"] for row in own})
        limits.append({
            "preset": preset, "method": dict(own[0]["method"]), "views": views, "noise_percent": noise,
            "contrast_up_to": None if high else faint, "limit_mm": _limit(own, sizes),
            "tried_mm": [sizes[0], sizes[-1]], "lesions": len(own),
        })
    return limits


def two_digits(value: float) -> float:
    """A positive number rounded to two digits."""
    return round(value, 1 - math.floor(math.log10(value)))


def _limit(rows: Sequence[Mapping[str, Any]], sizes: Sequence[float]) -> float | None:
    limit = None
    for size in reversed(sizes):
        own = [row["contrast_kept"] > KEPT for row in rows if row["diameter_mm"] == size]
        if sum(own) < SHARE * len(own):
            break
        limit = size
    return limit
