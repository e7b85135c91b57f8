"""Rows of the tables of MRI, from the rows of ``evaluate --modality mri`` and of mri_gate.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

PEERS = ("bart-wavelet", "bart-tv", "bart-sense", "wavelet-oracle", "tv-oracle")
"""Each at its best weight for every slice; the best of an item is what others are compared with."""
TITLES = {
    "zero-filled": "zero-filled", "sense": "CG-SENSE", "tv": "TV", "wavelet": "l1-wavelet", "tv-oracle": "best TV",
    "wavelet-oracle": "best l1-wavelet", "bart-wavelet": "BART, best l1-wavelet", "bart-tv": "BART, best TV",
    "bart-sense": "BART, best Tikhonov", "dds-draw": "one sample", "dds": "mean of the samples (Standard)",
}

Rows = Sequence[dict[str, Any]]


def group_of(row: dict[str, Any]) -> str:
    """Whether an item is a brain, which the prior knows, or another part of the body."""
    return "brain" if row["item"].startswith("mr_brain") else "elsewhere"


def ratios(rows: Rows, method: str, peers: Sequence[str] = PEERS) -> dict[str, float]:
    """Mean NRMSE of a method over that of the best peer, each over the slices of an item, by item."""
    found = {}
    for item in dict.fromkeys(row["item"] for row in rows):
        errors = {
            name: mean(row["nrmse"] for row in rows if row["item"] == item and row["method"] == name)
            for name in dict.fromkeys(row["method"] for row in rows if row["item"] == item)
        }
        if method in errors and set(peers) & set(errors):
            found[item] = errors[method] / min(errors[name] for name in peers if name in errors)
    return found


def mri_table_rows(rows: Rows) -> list[list[str]]:
    """A line for each acceleration, group of items and method."""
    lines = []
    for factor in dict.fromkeys(row["acceleration"] for row in rows):
        for group in ("brain", "elsewhere"):
            part = [row for row in rows if row["acceleration"] == factor and group_of(row) == group]
            for method in dict.fromkeys(row["method"] for row in part):
                own = [row for row in part if row["method"] == method]
                times = ratios(part, method)
                against = f"{mean(times.values()):.2f} ({max(times.values()):.2f})" if times else ""
                lines.append([
                    f"{factor:g}", group, TITLES.get(method, method), _mean(own, "nrmse", 4), against,
                    _mean(own, "ssim", 3), *(
                        _mean(own, name, 2) for name in (
                            "contrast_5mm", "contrast_10mm", "coverage90", "coverage90_calibrated",
                            "coverage_inside_calibrated",
                        )
                    ),
                ])
    return lines


def mri_gate_rows(rows: Rows) -> list[list[str]]:
    """A line for each kind of image and acceleration."""
    lines = []
    for kind, factor in dict.fromkeys((row["kind"], row["acceleration"]) for row in rows):
        own = [row for row in rows if (row["kind"], row["acceleration"]) == (kind, factor)]
        shares = (f"{mean(row[key] for row in own):.2f}" for key in ("stopped", "stopped_in_full"))
        lines.append([kind, f"{factor:g}", str(len(own)), *shares])
    return lines


def mri_measured_rows(rows: Rows) -> list[list[str]]:
    """A line for each image of the samples that were left, by acceleration."""
    return [
        [
            f"{row['acceleration']:.1f}", row["name"] + (f" (`{row['prior']}`)" if row["prior"] else ""),
            f"{row['held_out']:.3f}", f"{row['floor']:.3f}", f"{row['residual_ratio']:.2f}",
        ]
        for row in rows if "held_out" in row
    ]


def mri_short_rows(rows: Rows) -> list[list[str]]:
    """The mean of the samples of brains beside the best peer, a line for each acceleration."""
    lines = []
    for factor in dict.fromkeys(row["acceleration"] for row in rows):
        part = [row for row in rows if row["acceleration"] == factor and group_of(row) == "brain"]
        times, own = ratios(part, "dds"), [row for row in part if row["method"] == "dds"]
        peers = {name: mean(errors) for name in PEERS if (errors := [r["nrmse"] for r in part if r["method"] == name])}
        best = min(peers, key=lambda name: peers[name])
        kept = " / ".join(_mean(own, name, 2) for name in ("contrast_5mm", "contrast_10mm"))
        lines.append([
            f"{factor:g}-fold", _mean(own, "nrmse", 3), f"{peers[best]:.3f} ({TITLES[best]})",
            f"{mean(times.values()):.2f} ({max(times.values()):.2f})", _mean(own, "ssim", 3),
            _mean(own, "coverage90_calibrated", 2), kept,
        ])
    return lines


def _mean(rows: Iterable[dict[str, Any]], name: str, digits: int) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    return f"{mean(values):.{digits}f}" if values else ""
