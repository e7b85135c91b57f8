"""Training slices or sinograms in memory, and random patches of them, or of three, with their position channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..priors.card import STACK
from ..priors.denoiser import positions
from ..priors.stack import SPACING_UNIT_MM
from .sinograms import continued, sinogram_positions

LARGEST_GAP = 3
"""Slices from one of a stack's three to the next are 1 to this many apart."""


@dataclass(frozen=True)
class TrainingSlices:
    """Axial slices of one source: ``values`` (slices, rows, columns) in network units, one pixel size each (mm).

    ``slice_mm``: distance of neighbours, 0 for slices that are none. ``left_right``: whether columns run so.
    ``half_turn``: they are sinograms, rows views over 180 degrees and columns detectors as far apart as pixels.
    """

    name: str
    values: np.ndarray
    pixel_mm: np.ndarray
    weight: float = 1.0
    slice_mm: float = 0.0
    left_right: bool = False
    half_turn: bool = False

    def place(self, k: int, first: int = 0, count: int | None = None) -> Tensor:
        """Position channels (2, count, columns) of ``count`` rows (all) of a slice from ``first`` on."""
        rows, columns = self.values.shape[1:]
        pixel = float(self.pixel_mm[k])
        if self.half_turn:
            return sinogram_positions(rows, columns, pixel, first, count)
        return positions(rows, columns, (pixel, pixel))[:, first : None if count is None else first + count]


def neighbours(sources: Sequence[TrainingSlices]) -> list[TrainingSlices]:
    """The sources of three neighbouring slices or more."""
    return [s for s in sources if s.slice_mm > 0 and len(s.values) >= STACK]


class PatchSampler:
    """Draws patches: a source by weight, a slice, a place; half of the patches that show only air are redrawn.

    ``stack``: patches of three slices, 1 to 3 apart, with a third plane beside the positions that tells their distance
    (see :class:`StackDenoiser`), from volumes of neighbouring slices alone. ``flip``: half of the patches are cut from
    the mirrored slice, where its columns run from left to right; for anatomy that is as likely so, such as the brain,
    and not for the torso, whose organs have sides. ``empty_std``: patches of less deviation show only air. Sinograms
    begin at any view (see :func:`continued`): the middle of a patch is every view equally often.
    """

    def __init__(
        self, sources: list[TrainingSlices], stack: bool = False, flip: bool = False, empty_std: float = 0.02
    ) -> None:
        if stack:
            sources = neighbours(sources)
        if not sources:
            raise ValueError("no training slices: expected at least one volume" + " of three slices" * stack)
        self.sources = sources
        self.weights = torch.tensor([s.weight for s in sources], dtype=torch.float64)
        self.stack, self.flip, self.empty_std = stack, flip, empty_std

    def draw(self, count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``count`` patches (count, 1 or 3, size, size) and their planes (count, 2 or 3, size, size)."""
        patches: list[Tensor] = []
        places: list[Tensor] = []

        def below(end: int) -> int:
            return int(torch.randint(end, (1,), generator=generator))

        while len(patches) < count:
            source = self.sources[int(torch.multinomial(self.weights, 1, generator=generator))]
            slices, rows, columns = source.values.shape
            gap = 1 + below(min(LARGEST_GAP, (slices - 1) // 2)) if self.stack else 0
            first = below(slices - 2 * gap)
            tall, wide = size if source.half_turn else min(size, rows), min(size, columns)
            j = below(rows) - tall // 2 if source.half_turn else below(rows - tall + 1)
            i = below(columns - wide + 1)
            chosen = slice(first, first + 2 * gap + 1, gap) if self.stack else slice(first, first + 1)
            if source.half_turn:
                patch = continued(torch.from_numpy(source.values[chosen]), j, tall)[..., i : i + wide].float()
            else:
                patch = torch.from_numpy(source.values[chosen, j : j + tall, i : i + wide].astype(np.float32))
            empty = float(patch.std()) < self.empty_std
            if empty and float(torch.rand(1, generator=generator)) < 0.5:
                continue
            place = source.place(first, j, tall)[..., i : i + wide]
            if self.flip and source.left_right and below(2):
                # The mirrored slice has the same grid about the same centre: what was at x is now at -x.
                patch, place = patch.flip(-1), place.flip(-1) * torch.tensor([1.0, -1.0])[:, None, None]
            if self.stack:
                plane = torch.full((1, tall, wide), gap * source.slice_mm / SPACING_UNIT_MM)
                place = torch.cat([place, plane])
            if (tall, wide) != (size, size):
                margin = (0, size - wide, 0, size - tall)
                patch = F.pad(patch[None], margin, mode="replicate")[0]
                place = F.pad(place, margin, mode="replicate")
            patches.append(patch)
            places.append(place)
        return torch.stack(patches), torch.stack(places)
