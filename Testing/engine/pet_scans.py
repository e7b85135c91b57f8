"""What tests of PET share: a small torso and its counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusion_engine.modalities.pet.problem import Problem, prepare, scanned
from diffusion_engine.modalities.pet.sinogram import Sinogram
from diffusion_engine.phantoms.torso import synthetic_torso
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume

CPU = torch.device("cpu")
_TORSOS: dict[tuple[int, int, str], Volume] = {}


def torso(slices: int = 1, size: int = 40, unit: str = "Bq/mL") -> Volume:
    """A torso with FDG on coarse pixels of its whole field of view."""
    key = (slices, size, unit)
    if key not in _TORSOS:
        _TORSOS[key] = synthetic_torso((slices, size, size), (5.0, 440.0 / size, 440.0 / size), unit=unit).activity
    return _TORSOS[key]


def asked(**changes: Any) -> Settings:
    """Settings of a small acquisition."""
    return Settings(**{"modality": "pet", "angles": 40, "counts": 0.5, "psf_mm": 6.0, "device": "cpu", **changes})


def problem(source: Any = None, **changes: Any) -> Problem:
    """The problem of a source, of one slice of a torso unless given."""
    return prepare(torso() if source is None else source, asked(**changes), CPU, None)


def sinogram(volume: Volume | None = None, **changes: Any) -> Sinogram:
    """The simulated counts of a torso."""
    return scanned(torso() if volume is None else volume, asked(**changes), None)[0]


def error(found: np.ndarray, reference: np.ndarray) -> float:
    """|x - r| / |r|."""
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))
