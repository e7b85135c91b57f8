"""The summary of rows of inserted lesions: by preset, views and noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from benchmarks.lesion_cases import key_of
from benchmarks.lesion_rows import MAPS, Rows, lesion_rows

KEPT, GOOD = 0.5, (0.8, 1.2)
LARGE_MM, CLEAR = 8.0, 6.0
"""Lesions of this diameter and data signal must be kept or warned of."""
TWINS = 32
"""Slices for which false alarms are stated."""


def is_kept(row: dict[str, Any], key: str = "contrast_kept") -> bool:
    """Whether more than half of a lesion's contrast is there."""
    return row[key] > KEPT


def is_warned(row: dict[str, Any]) -> bool:
    """Whether any of the maps has a peak at a lesion."""
    return any(row.get(f"warned_{key}", False) for key in MAPS)


def summary(rows: Rows, classical: str, baseline: Rows | None = None) -> list[str]:
    """Lines of the table; a dash where there is nothing to say. ``baseline``: rows whose intervals are compared."""
    heads = (
        "preset", "views", "noise", "lesions", "kept", "good", f"{classical} kept", "lost: warned",
        f"kept or warned (>= {LARGE_MM:g} mm, signal > {CLEAR:g})", f"coverage inside (>= {LARGE_MM:g} mm)",
        "spread inside / around", f"false alarms / {TWINS}", "invented a slice", f"{classical} invented",
        "width / baseline",
    )
    lines = ["  ".join(heads)]
    for name in dict.fromkeys((row["preset"], row["views"], row["noise"]) for row in rows):
        own = [row for row in rows if (row["preset"], row["views"], row["noise"]) == name]
        lesions, slices = lesion_rows(own), [row for row in own if row["kind"] == "slice"]
        lost = [row for row in lesions if not is_kept(row)]
        large = [row for row in lesions if row["diameter_mm"] >= LARGE_MM]
        clear = [row for row in large if row["signal"] > CLEAR]
        cells = (
            name[0], name[1], name[2], len(lesions), mean(map(is_kept, lesions)),
            mean(GOOD[0] <= row["contrast_kept"] <= GOOD[1] for row in lesions),
            mean(is_kept(row, f"contrast_kept_{classical}") for row in lesions),
            f"{mean(map(is_warned, lost))} of {len(lost)}",
            f"{mean(is_kept(row) or is_warned(row) for row in clear)} of {len(clear)}",
            mean(row["coverage_inside"] for row in large),
            mean(row["spread_inside_over_around"] for row in lesions), alarms(slices),
            mean(row["invented"] for row in slices), mean(row[f"invented_{classical}"] for row in slices),
            width_ratio(slices, baseline),
        )
        lines.append("  ".join(f"{cell!s:>{len(head)}}" for cell, head in zip(cells, heads, strict=True)))
    return lines


def mean(values: Iterable[float]) -> str:
    """The mean to two digits, or a dash."""
    known = list(values)
    return f"{np.mean(known):.2f}" if known else "-"


def alarms(slices: Sequence[dict[str, Any]]) -> str:
    """False alarms of each map for TWINS slices without lesions."""
    counts = {key: [row[f"false_{key}"] for row in slices if f"false_{key}" in row] for key in MAPS}
    return ", ".join(f"{TWINS * np.mean(own):.1f}" for own in counts.values() if own) or "-"


def width_ratio(slices: Rows, baseline: Rows | None) -> str:
    """Mean width of the intervals outside lesions over that of the same slices of a baseline."""
    before = {(key_of(row), row["case"]): row["width"] for row in baseline or [] if row["kind"] == "slice"}
    return mean(
        row["width"] / before[key_of(row), row["case"]] for row in slices if (key_of(row), row["case"]) in before
    )
