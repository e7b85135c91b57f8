"""What a job will need, before it starts: seconds and memory from a measured micro-run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..memory import MEGABYTE, free_memory_mb
from ..modalities.contract import DIFFUSION
from ..modalities.table import FIRST, modality_named

MAPS_THAT_WARN = ("prior_decided", "data_disagree")
"""As in the settings of a run, which stand above this module."""
SHARE = 0.9
"""Part of the free memory that a job may plan to use."""


@dataclass(frozen=True)
class MicroRun:
    """What a short measured run found.

    ``start_seconds``: paid once (imports, weights, system matrix). ``unit_seconds``: one draw of one
    slice. ``base_mb``: the process with everything loaded, before any image. ``batch_mb``: working memory of
    the largest batch that is computed at once, ``slice_mb``: of each slice beside it.
    """

    start_seconds: float
    unit_seconds: float
    base_mb: float
    batch_mb: float
    slice_mb: float = 0.0


def forecast(
    source_shape: tuple[int, int, int], settings: Mapping[str, Any], micro_run: Callable[[], MicroRun],
    free_mb: float | None = None,
) -> dict[str, Any]:
    """Seconds and peak memory of a job, whether it fits, and what to do when it does not.

    seconds = start + unit * slices * draws;  memory = base + batch + slices * slice_mb + 4 bytes * voxels * volumes,
    volumes: those of :func:`volume_count` and the input, running mean and running square. ``source_shape``:
    (slices, rows, columns) of the image. ``settings``: with ``draws`` where methods has "diffusion".
    ``micro_run`` does the measured run. ``free_mb``: memory to fit in, by default what is free now.
    Returns seconds, memory_mb, fits, advice (a sentence, or None). Raises ValueError for missing settings.
    """
    slices, rows, columns = selected_shape(source_shape, settings)
    units = slices
    if DIFFUSION in settings.get("methods", [DIFFUSION]):
        if not isinstance(settings.get("draws"), int):
            raise ValueError(f"expected a whole number as draws, found {settings.get('draws')!r}: give it")
        units = slices * settings["draws"]
    measured = micro_run()
    slice_mb = 4 * rows * columns * (volume_count(settings) + 2) / MEGABYTE + measured.slice_mb
    fixed_mb = measured.base_mb + measured.batch_mb + 4 * voxels(source_shape) / MEGABYTE
    memory = fixed_mb + slices * slice_mb
    free = SHARE * (free_memory_mb() if free_mb is None else free_mb)
    advice = None
    if memory > free:
        most = int((free - fixed_mb) / slice_mb)
        remedy = f"choose at most {most} of the {slices} slices" if most >= 1 else (
            "close other programs, choose a smaller region or fewer views"
        )
        advice = f"The job needs about {memory:.0f} MB of memory, {free:.0f} MB can be used: {remedy}."
    return {
        "seconds": measured.start_seconds + measured.unit_seconds * units, "memory_mb": memory,
        "fits": advice is None, "advice": advice,
    }


def selected_shape(source_shape: tuple[int, int, int], settings: Mapping[str, Any]) -> tuple[int, int, int]:
    """(slices, rows, columns) that settings["slices"] [first, last) and ["region"] [i0, i1, j0, j1] leave."""
    slices, rows, columns = source_shape
    if settings.get("slices") is not None:
        first, last = settings["slices"]
        slices = min(last, slices) - first
    if settings.get("region") is not None:
        i0, i1, j0, j1 = settings["region"]
        rows, columns = min(j1, rows) - j0, min(i1, columns) - i0
    if min(slices, rows, columns) < 1:
        raise ValueError(
            f"expected slices and a region within {source_shape}, found {settings.get('slices')} and "
            f"{settings.get('region')}: choose a part of the image"
        )
    return slices, rows, columns


def volume_count(settings: Mapping[str, Any]) -> int:
    """Volumes that a job delivers: reference, one a classical method; mean, four maps, fallback and the draws; those
    maps that warn of places which are asked for, and the phase."""
    methods = settings.get("methods", modality_named(settings.get("modality", FIRST)).methods)
    classical = sum(method != DIFFUSION for method in methods)
    warning = sum(key in settings.get("keep", ()) for key in MAPS_THAT_WARN)
    classical += "phase" in settings.get("keep", ())
    return 1 + classical + (6 + warning + int(settings.get("draws", 4)) if DIFFUSION in methods else 0)


def voxels(shape: tuple[int, int, int]) -> int:
    """Of an image of (slices, rows, columns)."""
    return shape[0] * shape[1] * shape[2]
