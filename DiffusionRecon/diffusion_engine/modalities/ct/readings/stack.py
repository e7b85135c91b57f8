"""Whether single slices of a stack are other than the rest: each is asked what is asked of all. No torch here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ....physics.ct_geometry import CTGeometry
from .look import Look
from .remark import Remark, numbers, question
from .units import question_counts, question_line_integrals

_LEAST_PEAK = 0.1  # of the largest readings of the median slice: a slice with less shows next to nothing


def question_slices(
    values: np.ndarray, used: np.ndarray, geometry: CTGeometry, kind: str, trusted: bool
) -> list[Remark]:
    """What speaks against single slices (slices, views, detectors), by the sentence on the first of them."""
    if len(values) < 2:
        return []
    sizes = np.array([float(np.percentile(np.abs(one), 99.5)) for one in values])
    asked = np.flatnonzero(sizes > _LEAST_PEAK * np.median(sizes))
    found: dict[str, list[tuple[int, str]]] = {}
    for index in asked.tolist():
        one, own = values[index:index + 1].astype(np.float64), used[index:index + 1]
        remarks = question_counts(one, own, geometry, True) if kind == "counts" else question_line_integrals(
            Look(one, own, one, geometry), True)
        for remark in remarks:
            found.setdefault(remark.kind, []).append((index, remark.sentence))
    return [
        question(name, f"{slices_named([index for index, _ in own])}: {own[0][1]}", trusted)
        for name, own in found.items()
    ]


def blank_slices(values: np.ndarray) -> list[Remark]:
    """A remark on slices of a stack whose readings are all one value, as those that were never written."""
    alike = np.array([float(one.min()) == float(one.max()) for one in values])
    if len(values) < 2 or not alike.any():
        return []
    return [Remark(
        "blank_slices", f"{slices_named(np.flatnonzero(alike).tolist())}: all readings are the same, so nothing was "
        "measured there, and the image shows nothing.", True,
    )]


def denser_slices(looks: Look, density_of: Callable[[Look], float | None], most: float) -> list[Remark]:
    """A doubt about slices that are ``most`` times as dense as the median slice: they may be scaled in another way.

    ``looks``: all slices in one; less dense ones may be of the table alone.
    """
    if len(looks.p) < 3:
        return []
    found = [
        density_of(Look(looks.readings[k:k + 1], looks.used[k:k + 1], looks.p[k:k + 1], looks.geometry)) or 0.0
        for k in range(len(looks.p))
    ]
    middle = float(np.median(found))
    outlying = [k for k, density in enumerate(found) if density > most * middle > 0]
    if not outlying:
        return []
    return [Remark(
        "slice_density", f"{slices_named(outlying)}: {max(found) / middle:.2g} times as dense as most slices; these "
        "readings may be scaled in another way.", False,
    )]


def slices_named(found: list[int]) -> str:
    """"Slice 3 (from 0)" or "Slices 3 and 4 (from 0)"."""
    return f"Slice{'s' if len(found) > 1 else ''} {numbers(np.asarray(found))} (from 0)"
