"""Training slices in memory, and random patches of them with their position channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..priors.denoiser import positions


@dataclass(frozen=True)
class TrainingSlices:
    """Axial slices of one source: ``values`` (slices, rows, columns) in network units, one pixel size each (mm)."""

    name: str
    values: np.ndarray
    pixel_mm: np.ndarray
    weight: float = 1.0


class PatchSampler:
    """Draws patches: a source by weight, a slice, a place; half of the patches that show only air are redrawn."""

    def __init__(self, sources: list[TrainingSlices]) -> None:
        if not sources:
            raise ValueError("no training slices: expected at least one volume")
        self.sources = sources
        self.weights = torch.tensor([s.weight for s in sources], dtype=torch.float64)

    def draw(self, count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``count`` patches (count, 1, size, size) and their positions (count, 2, size, size)."""
        patches: list[Tensor] = []
        places: list[Tensor] = []
        while len(patches) < count:
            source = self.sources[int(torch.multinomial(self.weights, 1, generator=generator))]
            slices, rows, columns = source.values.shape
            k = int(torch.randint(slices, (1,), generator=generator))
            tall, wide = min(size, rows), min(size, columns)
            j = int(torch.randint(rows - tall + 1, (1,), generator=generator))
            i = int(torch.randint(columns - wide + 1, (1,), generator=generator))
            patch = torch.from_numpy(source.values[k, j : j + tall, i : i + wide].astype(np.float32))
            empty = float(patch.std()) < 0.02
            if empty and float(torch.rand(1, generator=generator)) < 0.5:
                continue
            pixel = float(source.pixel_mm[k])
            place = positions(rows, columns, (pixel, pixel))[:, j : j + tall, i : i + wide]
            if (tall, wide) != (size, size):
                margin = (0, size - wide, 0, size - tall)
                patch = torch.nn.functional.pad(patch[None], margin, mode="replicate")[0]
                place = torch.nn.functional.pad(place, margin, mode="replicate")
            patches.append(patch[None])
            places.append(place)
        return torch.stack(patches), torch.stack(places)
