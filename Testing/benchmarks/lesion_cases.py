"""What the benchmark of inserted lesions measures: real slices, lesions in them, scans and presets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from diffusion_engine.commands.options import named_values
from diffusion_engine.evaluation.evaluate import Item, find_items
from diffusion_engine.evaluation.lesions import Lesion, placed
from diffusion_engine.modalities.contract import DIFFUSION, Modality, Wanted
from diffusion_engine.run.settings import KEEP, Settings
from diffusion_engine.training.units import rule_of

SMALLEST_MATRIX, MOST = 128, 6
"""Rows and columns that slices must have; lesions a slice."""
NOISES = ("noise_percent=0.2", "i0=1e5", "noise_percent=1")
WITHOUT = ("not_seen", "residual", "phase", "draws")
"""What is not kept of a run: the rest is what the rows are about."""


@dataclass(frozen=True, eq=False)
class Condition:
    """Some slices with their lesions, a scan, a preset; ``noise``: the kind in words."""

    item: Item
    lesions: tuple[Lesion, ...]
    preset: str
    scan: Mapping[str, Any]
    noise: str
    settings: Settings

    @property
    def about(self) -> dict[str, Any]:
        """What every row of the condition begins with."""
        return {
            "item": self.item.name, "slices": ",".join(map(str, self.item.indices)), "preset": self.preset,
            "views": self.settings.scan.views, "noise": self.noise, "scan": dict(self.scan),
        }


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """By which the rows of a condition are known."""
    return (row["item"], row["slices"], row["preset"], tuple(sorted(row["scan"].items())))


def wanted(modality: Modality, generator: np.random.Generator) -> list[Wanted]:
    """The modality's hunted lesions in random order, tissue by tissue in turn."""
    by_tissue: dict[str, list[Wanted]] = {}
    for index in generator.permutation(len(modality.cases.hunted)).tolist():
        want = modality.cases.hunted[index]
        by_tissue.setdefault(want.tissue, []).append(want)
    turns = max(map(len, by_tissue.values()))
    return [own[n] for n in range(turns) for own in by_tissue.values() if n < len(own)]


def lesions_in(item: Item, modality: Modality, seed: int) -> tuple[Lesion, ...]:
    """Up to MOST lesions in each slice of an item that counts; seed and slice choose them."""
    found: list[Lesion] = []
    for place, index in item.cases:
        generator = np.random.default_rng((seed, index))
        found += placed(item.volume, place, wanted(modality, generator), modality, generator, MOST)
    return tuple(found)


def settings_for(
    item: Item, modality: Modality, preset: str, scan: Mapping[str, Any], seed: int, device: str
) -> Settings:
    """Those of a run of one condition; fine slices are reconstructed at half of their own resolution."""
    spacing = min(item.volume.spacing_mm[:2])
    fine = spacing < rule_of(modality.unit).fine_pixel_mm
    return Settings(**{
        "modality": modality.name, "preset": preset, "methods": (modality.fallback, DIFFUSION), **modality.cases.fixed,
        **scan, "pixel_mm": 0.999 * spacing * (modality.cases.binned if fine else 1), "seed": seed, "device": device,
        "keep": tuple(name for name in KEEP if name not in WITHOUT),
    })


def conditions(
    folder: Path, modality: Modality, presets: Sequence[str], views: Sequence[int], noises: Sequence[str], seed: int,
    depths: Sequence[float] | None = None, device: str = "cpu",
) -> Iterator[Condition]:
    """All conditions of a folder: items, by scan, by preset. Raises ValueError for a preset that draws nothing."""
    cases = replace(modality.cases, smallest_matrix=SMALLEST_MATRIX, depths=tuple(depths or modality.cases.depths))
    searched = replace(modality, cases=cases)
    kept: dict[bool, list[tuple[Item, tuple[Lesion, ...]]]] = {}
    for name in presets:
        plain = Settings(modality=modality.name, preset=name)
        if not plain.draws_images:
            raise ValueError(f"expected presets that draw images, found '{name}': leave it out")
        tied = plain.coupling != "none"
        if tied not in kept:
            items, _ = find_items(folder, searched, tied)
            kept[tied] = [(item, lesions_in(item, modality, seed)) for item in items]
        for item, lesions in kept[tied]:
            for count in views:
                for noise in noises:
                    scan = {"views": count, **named_values(noise.split(","))}
                    settings = settings_for(item, modality, name, scan, seed, device)
                    if lesions:
                        yield Condition(item, lesions, name, scan, noise, settings)
