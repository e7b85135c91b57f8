"""What tests of MRI share: a small head and its accelerated acquisition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusion_engine.modalities.mri.kspace import KSpace
from diffusion_engine.modalities.mri.problem import Problem, prepare, scanned
from diffusion_engine.phantoms.brain import synthetic_brain
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume

CPU = torch.device("cpu")


def head(slices: int = 1, size: int = 64) -> Volume:
    """A head on a coarse grid of its whole field of view."""
    return synthetic_brain((slices, size, size), (6.0, 230.0 / size, 230.0 / size))[0]


def asked(**changes: Any) -> Settings:
    """Settings of a small acquisition."""
    return Settings(**{"modality": "mri", "acceleration": 3.0, "acs_lines": 16, "coils": 4, "device": "cpu", **changes})


def problem(source: Any = None, **changes: Any) -> Problem:
    """The problem of a source, of one slice of a head unless given."""
    return prepare(head() if source is None else source, asked(**changes), CPU, None)


def kspace(volume: Volume | None = None, **changes: Any) -> KSpace:
    """The simulated samples of a head."""
    return scanned(head() if volume is None else volume, asked(**changes), None)[0]


def errors(found: np.ndarray, reference: np.ndarray) -> float:
    """| |x| - r | / |r|."""
    return float(np.linalg.norm(np.abs(found) - reference) / np.linalg.norm(reference))


def as_measured(samples: KSpace, **changes: Any) -> KSpace:
    """The same samples as if they came from a file."""
    return replace(samples, facts={}, **changes)
