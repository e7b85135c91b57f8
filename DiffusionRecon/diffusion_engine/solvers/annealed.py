"""Settings that methods share which begin at a classical image with noise added."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AnnealedSettings:
    """``steps`` from noise level ``sigma_start`` down to ``sigma_end`` (network units), both included."""

    steps: int = 30
    sigma_start: float = 0.6
    sigma_end: float = 0.01
