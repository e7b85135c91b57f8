"""Diffusion priors for image reconstruction: a PyTorch engine without Slicer, Qt or VTK.

``from diffusion_engine import reconstruct`` reconstructs; torch is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Measurement", "Settings", "Volume", "reconstruct", "reconstruct_steps"]

if TYPE_CHECKING:
    from .modalities.ct.measurement import Measurement
    from .run.pipeline import reconstruct, reconstruct_steps
    from .run.settings import Settings
    from .volume import Volume

_HOMES = {
    "Measurement": "modalities.ct.measurement", "reconstruct": "run.pipeline", "reconstruct_steps": "run.pipeline",
    "Settings": "run.settings",
    "Volume": "volume",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
