"""Rows of the tables of PET, from the rows of ``evaluate --modality pet``."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from benchmarks.mri_tables import ratios

PEERS = ("osem-oracle", "rdp-oracle")
"""Each at its best settings for every slice; the better of an item is what others are compared with."""
TITLES = {
    "osem": "OSEM", "rdp": "RDP", "osem-oracle": "best OSEM", "rdp-oracle": "best RDP", "dds-draw": "one sample",
    "dds": "mean of the samples (Standard)", "pet_dds": "PET-DDS, mean", "pet_dds-draw": "PET-DDS, one sample",
    "tmpd": "TMPD, mean", "tmpd-draw": "TMPD, one sample", "mmps": "MMPS, mean", "mmps-draw": "MMPS, one sample",
}
KEPT = 0.5
"""A lesion of which less contrast is left is missed."""

Rows = Sequence[dict[str, Any]]


def pet_table_rows(rows: Rows) -> list[list[str]]:
    """A line for each set, count and method."""
    lines = []
    for which, counts in _blocks(rows):
        part = [row for row in rows if (row["set"], row["counts"]) == (which, counts)]
        for method in dict.fromkeys(row["method"] for row in part):
            own, times = [row for row in part if row["method"] == method], ratios(part, method, PEERS)
            lines.append([
                f"{counts:g}", which, TITLES.get(method, method), _mean(own, "nrmse", 3),
                f"{mean(times.values()):.2f} ({max(times.values()):.2f})" if times else "", _mean(own, "ssim", 3),
                _mean(own, "contrast_13mm", 2), _mean(own, "contrast_22mm", 2), missed(own),
                f"{mean(row['invented'] for row in own):.2f}",
                *(_mean(own, name, 2) for name in (
                    "coverage90", "coverage90_calibrated", "coverage_inside", "coverage_inside_calibrated",
                )),
            ])
    return lines


def pet_noise_rows(rows: Rows) -> list[list[str]]:
    """A line for each count and method of several realisations: bias and noise of patches, contrast of lesions."""
    lines = []
    for which, counts in _blocks(rows):
        part = [row for row in rows if (row["set"], row["counts"]) == (which, counts)]
        for method in dict.fromkeys(row["method"] for row in part):
            own = [row for row in part if row["method"] == method]
            cells = []
            for size in ("13mm", "22mm"):
                bias, noise = of_patches(own, f"patch_{size}")
                kept, spread = of_patches(own, f"contrast_{size}")
                cells += [bias, noise, kept, spread]
            if any(cells):
                lines.append([f"{counts:g}", which, TITLES.get(method, method), *cells])
    return lines


def missed(rows: Rows) -> str:
    """Share of the slices' lesions, by diameter, of which less than half of the contrast is left."""
    known = [row[name] for row in rows for name in ("contrast_13mm", "contrast_22mm") if row.get(name) is not None]
    return f"{mean(value < KEPT for value in known):.2f}" if known else ""


def of_patches(rows: Rows, name: str) -> tuple[str, str]:
    """Mean over noise and cases, and the standard deviation over noise alone, of a column; "" without realisations."""
    means, deviations = [], []
    for case in dict.fromkeys((row["item"], row["case"]) for row in rows):
        values = [row[name] for row in rows if (row["item"], row["case"]) == case and row.get(name) is not None]
        if len(values) > 1:
            means.append(mean(values))
            deviations.append(stdev(values))
    return (f"{mean(means):.2f}", f"{mean(deviations):.2f}") if means else ("", "")


def _blocks(rows: Rows) -> list[tuple[str, float]]:
    return [
        (which, counts) for which in ("simulated", "real")
        for counts in sorted({row["counts"] for row in rows if row["set"] == which}, reverse=True)
    ]


def _mean(rows: Rows, name: str, digits: int) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    return f"{mean(values):.{digits}f}" if values else ""
