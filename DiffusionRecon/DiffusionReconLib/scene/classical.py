"""The classical images of a result: which there are, and what they are called, stands in the engine's table."""

from __future__ import annotations

from collections.abc import Iterable

from diffusion_engine.modalities.table import MODALITIES


def classicalTitles(modality: str) -> dict[str, str]:
    """Titles by result key, the best image first: the modality's fallback, then the others; {} for another modality."""
    entry = MODALITIES.get(modality.lower())
    if entry is None:
        return {}
    images = sorted(reversed(entry.classical), key=lambda image: image.name != entry.fallback)
    return {image.name: image.title for image in images}


def firstOf(keys: Iterable[str], *wanted: str) -> str | None:
    """The first of the wanted keys that is there, None when none is."""
    there = set(keys)
    return next((key for key in wanted if key in there), None)
