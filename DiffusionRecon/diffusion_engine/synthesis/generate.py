"""New images from label maps: by the flow or the diffusion of a denoiser that is told them, coherent in 3D.

A stack is made in slabs. Within one all slices are made together: each sees its noisy neighbours where the denoiser
looks at them (see :mod:`..priors.neighbours`), and neighbours share noise where that has a period. A further slab
begins with the last slices of the one before, which are given to it as a known part (see :mod:`.inpaint`): as in
GEM-3D, the former slices are a condition of the next ones, at any length and in bounded memory.

Sources: Heun's rule, arXiv:2206.00364; DDIM, arXiv:2010.02502; former slices as condition, arXiv:2403.12852.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..priors.neighbours import slices_apart
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim, heun
from ..sampling.noise import Noise
from .inpaint import JUMPS, inpainted


@dataclass(frozen=True)
class Generation:
    """How images are made: steps from ``sigma`` of noise down to the smallest level, by "heun" or "ddim".

    ``eta``: fresh noise of DDIM, 0 for none, 1 for the most; ``jumps``: passes of each level where a slab continues
    another; ``slab``: slices made together. Raises ValueError for values out of range.
    """

    steps: int = 18
    sigma: tuple[float, float] = (0.02, 5.0)
    method: str = "heun"
    eta: float = 0.0
    jumps: int = JUMPS
    slab: int = 24

    def __post_init__(self) -> None:
        if self.method not in ("heun", "ddim"):
            raise ValueError(f"no way '{self.method}' to make images: choose from heun, ddim")
        if not 0 <= self.eta <= 1 or (self.method == "heun" and self.eta > 0):
            raise ValueError(f"expected eta from 0 to 1, and 0 for heun, found {self.eta}: correct it")
        if self.slab < 2 or self.jumps < 1:
            raise ValueError(
                f"expected slabs of 2 slices and 1 pass or more, found {self.slab} and {self.jumps}: correct them"
            )

    @property
    def levels(self) -> list[float]:
        """Noise levels falling to 0; raises ValueError where there are none."""
        levels: list[float] = poly_grid(self.sigma[1], self.sigma[0], self.steps).tolist()
        return levels


class Made(NamedTuple):
    """So far: steps done, steps in all, and what there is of the stack (slices, channels, rows, columns)."""

    done: int
    total: int
    images: Tensor


def generated(
    denoiser: Denoiser, shape: Sequence[int], planes: Tensor | None, how: Generation, noise: Noise
) -> Iterator[Tensor]:
    """The clean image after each step, (slices, channels, rows, columns) as ``shape``; the last is the result.

    By Heun's rule the state itself is given, which is clean at the end; by DDIM the estimate. Raises
    FloatingPointError where the result is not finite.
    """
    levels = how.levels
    x = levels[0] * noise.normal(torch.zeros(tuple(shape), device=None if planes is None else planes.device))
    for sigma, following in pairwise(levels):
        with torch.no_grad():
            if how.method == "heun":
                x = heun(denoiser, x, sigma, following, planes)
                shown = x
            else:
                shown = denoiser(x, torch.tensor(sigma), planes)
                x = ddim(x, shown, shown, sigma, following, how.eta, noise.normal(x) if how.eta else x)
        if not bool(torch.isfinite(x).all()):
            raise FloatingPointError("an image made is not finite: the model is damaged or the guidance too strong")
        yield shown


def generated_stack(
    denoiser: Denoiser, planes: Tensor, how: Generation, noise: Noise, slice_mm: float = 0.0, channels: int = 1
) -> Iterator[Made]:
    """A stack of any number of slices in slabs, each continuing the one before; the last of what is given is whole.

    ``denoiser``: of the slices of a slab, with their planes; ``planes``: (slices, told, rows, columns); ``slice_mm``:
    distance of slices where the denoiser looks at neighbours, 0 where each slice is made by itself, so that slabs do
    not depend on one another. Slices not made yet are NaN. Raises ValueError for planes of another shape and a slab
    that has no room for what it continues.
    """
    if planes.ndim != 4 or len(planes) == 0:
        raise ValueError(f"expected planes (slices, told, rows, columns), found {tuple(planes.shape)}: give a stack")
    # The new slices see the former ones, and those their former ones.
    kept = 2 * slices_apart(slice_mm) if slice_mm > 0 else 0
    if kept >= how.slab and len(planes) > how.slab:
        raise ValueError(f"expected slabs above {kept} slices of {slice_mm:g} mm, found {how.slab}: raise them")
    return _stack(denoiser, planes, how, noise, kept, channels)


def _stack(
    denoiser: Denoiser, planes: Tensor, how: Generation, noise: Noise, kept: int, channels: int
) -> Iterator[Made]:
    count = len(planes)
    images = torch.full((count, channels, *planes.shape[-2:]), math.nan, device=planes.device)
    slabs = [(0, min(how.slab, count))]
    while slabs[-1][1] < count:
        first = slabs[-1][1] - kept
        slabs.append((first, min(first + how.slab, count)))
    total, done = how.steps * len(slabs), 0
    for number, (first, end) in enumerate(slabs):
        # Numbers that no other slab gets, though they share slices.
        own = noise.of(range(first, end))
        for _ in range(number * 3 * how.steps * how.jumps + number):
            own.take()
        told = planes[first:end]
        if number and kept:
            unknown = torch.ones_like(images[first:end], dtype=torch.bool)
            unknown[:kept] = False
            run = inpainted(denoiser, images[first:end], unknown, told, how.levels, own, how.jumps)
        else:
            run = generated(denoiser, (end - first, channels, *planes.shape[-2:]), told, how, own)
        for part in run:
            done += 1
            images = images.clone()
            images[first:end] = part
            yield Made(done, total, images)
