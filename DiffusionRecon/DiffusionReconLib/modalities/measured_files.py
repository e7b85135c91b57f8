"""What files of measured data have in common: a description beside them, arrays whose axes have no names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

LONGEST_LOOK_BYTES = 256_000_000
"""Larger files are only looked at by the run: the panel waits for what it reads."""


def descriptionBeside(path: Path) -> Path | None:
    """The description that belongs to a file: of the same name."""
    beside = path.with_suffix(".json")
    return beside if beside.is_file() else None


def axesOf(path: Path, unknown: int) -> int:
    """How many axes the largest array of a file has, `unknown` where that cannot be told."""
    from diffusion_engine.modalities.mri.readings.loading import load_array

    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False).ndim
        return load_array(path, None).ndim if path.stat().st_size <= LONGEST_LOOK_BYTES else unknown
    except (ImportError, ValueError, OSError):
        return unknown
