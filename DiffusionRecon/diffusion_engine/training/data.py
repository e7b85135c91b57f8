"""Training slices or sinograms in memory, and random patches of them: alone, with neighbours, or of volumes; planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..denoiser import mirrored_positions, positions
from ..priors.card import NEIGHBOURS, SLICE, VOLUME
from ..priors.channels import left_out, pair
from ..priors.conditions import Condition
from ..priors.neighbours import closeness, slices_apart
from ..priors.volumes import volume_planes
from .sinograms import continued, sinogram_positions

LARGEST_GAP = 2
"""Neighbours are the nearest ones that a prior looks at, or up to this many times as far away."""
ALONE = 0.1
"""Share of the neighbours that are left out, so that the slice itself must do."""
DEPTH = 8
"""Slices of a patch of a volume."""


@dataclass(frozen=True)
class TrainingSlices:
    """Axial slices of one source: ``values`` (slices, rows, columns) in network units, one pixel size each (mm).

    ``slice_mm``: distance of neighbours, 0 for slices that are none. ``left_right``: whether columns run so.
    ``half_turn``: they are sinograms: rows are views over 180 degrees, columns are detectors as far apart as pixels.
    ``made``: what was done to the volume that they are of, "" for nothing. ``grid``: its ijk_to_ras, turned upright,
    before pixels were averaged. ``given``: what is told of every slice, of the shape of ``values``: labels or another
    image.
    """

    name: str
    values: np.ndarray
    pixel_mm: np.ndarray
    weight: float = 1.0
    slice_mm: float = 0.0
    left_right: bool = False
    half_turn: bool = False
    made: str = ""
    grid: np.ndarray | None = None
    given: np.ndarray | None = None

    def place(self, k: int, first: int = 0, count: int | None = None) -> Tensor:
        """Position channels (2, count, columns) of ``count`` rows (all) of a slice from ``first`` on."""
        rows, columns = self.values.shape[1:]
        pixel = float(self.pixel_mm[k])
        if self.half_turn:
            return sinogram_positions(rows, columns, pixel, first, count)
        return positions(rows, columns, (pixel, pixel))[:, first : None if count is None else first + count]

    def told(self, k: int, part: tuple[slice, slice] = (slice(None), slice(None))) -> Tensor:
        """Labels or other image (rows, columns) of a slice; raises ValueError where there are none."""
        if self.given is None:
            raise ValueError(f"expected labels or another image of {self.name}, found none: give its folder")
        return torch.from_numpy(np.ascontiguousarray(self.given[k][part]))

    @property
    def has_neighbours(self) -> bool:
        """Whether any of its slices has a neighbour that a prior looks at."""
        return self.fits(2)

    def fits(self, depth: int, gap: int = 1) -> bool:
        """Whether it has ``depth`` slices that are ``gap`` times :func:`slices_apart` apart."""
        return self.slice_mm > 0 and len(self.values) > (depth - 1) * gap * slices_apart(self.slice_mm)

    def around(
        self, k: int, gap: int, part: tuple[slice, slice], wanted: Sequence[bool] = (True, True)
    ) -> tuple[Tensor, Tensor]:
        """Cut-outs (2, rows, columns) of the slices below and above slice ``k``, and planes of their closeness.

        ``gap``: how many times :func:`slices_apart` away; ``part``: rows and columns. Zeros where a neighbour is
        missing or not ``wanted``.
        """
        apart = gap * slices_apart(self.slice_mm) if self.slice_mm > 0 else len(self.values)
        others = [k + side * apart for side in (-1, 1)]
        there = [want and 0 <= other < len(self.values) for other, want in zip(others, wanted, strict=True)]
        whole = [self.values[other if known else k][part] for other, known in zip(others, there, strict=True)]
        known = torch.tensor(there, dtype=torch.float32)[:, None, None]
        cut = torch.from_numpy(np.stack(whole)).float() * known
        close = closeness(apart * self.slice_mm) if any(there) else 0.0
        return cut, (close * known).expand_as(cut)


class PatchSampler:
    """Draws patches: a source by weight, a slice, a place; half of the patches that show only air are redrawn.

    ``sees``: "slice" for patches of one; "neighbours" for a slice and those below and above, near or twice as far, with
    two planes beside the positions that tell how close they are (see :mod:`..priors.neighbours`): zero where a
    neighbour is missing: at the ends, for sources of independent slices, and for a random share of all patches;
    "volume" for 8 slices, near or twice as far apart, of sources that have so many (see :mod:`..priors.volumes`).
    ``flip``: half of the patches are cut from the mirrored slice, where its columns run from left to right. That suits
    anatomy without sides, such as the brain; for the torso, whose organs have sides, it suits DDS only, whose every
    second call sees the image reversed. ``empty_std``: patches of less deviation show only air. Sinograms begin at any
    view (see :func:`continued`): the middle of a patch is every view equally often. ``condition``: what is told
    besides, as the last planes; of random patches some of it, or all, is left out.
    """

    def __init__(
        self, sources: list[TrainingSlices], sees: str = SLICE, flip: bool = False, empty_std: float = 0.02,
        condition: Condition | None = None,
    ) -> None:
        if sees == VOLUME:
            sources = [source for source in sources if source.fits(DEPTH)]
        if not sources or (sees == NEIGHBOURS and not any(s.has_neighbours for s in sources)):
            of = {SLICE: "", NEIGHBOURS: " of neighbouring slices", VOLUME: f" of {DEPTH} neighbouring slices"}[sees]
            raise ValueError(f"no slices to train or validate on: expected at least one volume{of}")
        if sees != SLICE and any(s.half_turn for s in sources):
            raise ValueError("sinograms have no neighbours that a prior learns from: train on them one by one")
        if condition is not None and (sees == VOLUME or any(s.half_turn for s in sources)):
            raise ValueError("conditions are told of slices, not of volumes or sinograms: train on slices")
        self.sources = sources
        self.weights = torch.tensor([s.weight for s in sources], dtype=torch.float64)
        self.sees, self.flip, self.empty_std, self.condition = sees, flip, empty_std, condition

    @property
    def depth(self) -> int:
        """Slices of a patch that count."""
        return DEPTH if self.sees == VOLUME else 1

    def draw(self, count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``count`` patches (count, 1 or 3, size, size) and their planes (count, 2 or 4, size, size), or more.

        With neighbours: the slice itself, the one below, the one above. Of volumes: (count, 1, 8, size, size), and
        planes (count, 3, 8, size, size). The planes of a condition are the last.
        """
        patches: list[Tensor] = []
        places: list[Tensor] = []

        def below(end: int) -> int:
            return int(torch.randint(end, (1,), generator=generator))

        while len(patches) < count:
            source = self.sources[int(torch.multinomial(self.weights, 1, generator=generator))]
            slices, rows, columns = source.values.shape
            apart = 1
            if self.sees == VOLUME:
                gap = 1 + below(LARGEST_GAP)
                apart = slices_apart(source.slice_mm) * (gap if source.fits(DEPTH, gap) else 1)
            k = below(slices - (self.depth - 1) * apart)
            chosen = slice(k, k + (self.depth - 1) * apart + 1, apart)
            tall, wide = size if source.half_turn else min(size, rows), min(size, columns)
            j = below(rows) - tall // 2 if source.half_turn else below(rows - tall + 1)
            i = below(columns - wide + 1)
            if source.half_turn:
                patch = continued(torch.from_numpy(source.values[k : k + 1]), j, tall)[..., i : i + wide].float()
            else:
                patch = torch.from_numpy(source.values[chosen, j : j + tall, i : i + wide]).float()
            empty = float(patch.std()) < self.empty_std
            if empty and float(torch.rand(1, generator=generator)) < 0.5:
                continue
            place = source.place(k, j, tall)[..., i : i + wide]
            if self.sees == NEIGHBOURS:
                gap = 1 + below(LARGEST_GAP)
                wanted = (torch.rand(2, generator=generator) >= ALONE).tolist()
                cut, told = source.around(k, gap, (slice(j, j + tall), slice(i, i + wide)), wanted)
                patch, place = torch.cat([patch, cut]), torch.cat([place, told])
            if self.condition is not None:
                given = source.told(k, (slice(j, j + tall), slice(i, i + wide)))
                own, planes = pair(self.condition, patch[:1], given)
                patch = torch.cat([own, patch[1:]])
                place = torch.cat([place, left_out(self.condition, planes, generator)])
            if self.flip and source.left_right and below(2):
                patch, place = patch.flip(-1), mirrored_positions(place)
            if (tall, wide) != (size, size):
                margin = (0, size - wide, 0, size - tall)
                patch = F.pad(patch[None], margin, mode="replicate")[0]
                place = F.pad(place, margin, mode="replicate")
            if self.sees == VOLUME:
                patch, place = patch[None], volume_planes(place, apart * source.slice_mm, self.depth)
            patches.append(patch)
            places.append(place)
        return torch.stack(patches), torch.stack(places)
