"""Disk space that a run takes, from its settings. No torch here: a bad job is refused before that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..jobs.forecast import selected_shape, volume_count, voxels
from ..modalities.table import FIRST
from .settings import Settings


def output_bytes(source_shape: tuple[int, int, int] | None, settings: Mapping[str, Any]) -> int:
    """Disk space of a job: its outputs and a preview, float32 and uncompressed; kept draws count where they are kept.

    While the job computes, kept draws lie in its folder in half the space (see :func:`draw_bytes`) of the volumes that
    take their place at its end. Without a shape nothing can be said: 0. Raises ValueError for bad settings.
    """
    if source_shape is None:
        return 0
    known = Settings.names(settings.get("modality", FIRST))
    asked = Settings.from_dict({name: value for name, value in settings.items() if name in known})
    kept = asked.keeps_draws and asked.draws_images
    values = {**asked.to_dict(), "draws": asked.draws if kept else 0}
    count = voxels(selected_shape(source_shape, values))
    delivered = 4 * count * volume_count(values)
    return max(delivered, draw_bytes(values["draws"], count)) + 4 * count


def draw_bytes(draws: int, voxels: int) -> int:
    """Disk space of draws while they are kept: the first in float32, how far the others lie from it in float16."""
    return voxels * (4 + 2 * (draws - 1)) if draws else 0
