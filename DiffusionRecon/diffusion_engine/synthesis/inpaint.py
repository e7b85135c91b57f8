"""Make part of an image anew: what is known is re-noised at every level, what is not is drawn to fit it.

    x <- known + s z outside;   x <- the flow's state at t;   x <- x + sqrt(s^2 - t^2) z,   t = s'/4      r - 1 times
    x <- known + s z outside;   x <- the flow's state at s', the next level                              then once

Each way back lets the new part follow what surrounds it; with one pass alone it only follows what it saw a level
before, and 5 to 10 are needed for nearly all of a strong tie. The moves are Heun's, whose few steps keep the noise of
the image as strong as it is; draws of x at s' given x and the clean estimate lose a third of it in 10 steps. Outside
the result is the known image, bit by bit.

Sources: RePaint, arXiv:2201.09865; lesions with a re-noised background, LeFusion,
arXiv:2403.14066.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..sampling.movers import heun
from ..sampling.noise import Noise

JUMPS = 4
"""Passes of every level."""
DEPTH = 0.25
"""How far a way back goes first: to this share of the next level."""


def inpainted(
    denoiser: Denoiser, known: Tensor, unknown: Tensor, planes: Tensor | None, levels: Sequence[float], noise: Noise,
    jumps: int = JUMPS, adjust: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Tensor]:
    """The image after each level, the known one outside; the last is the result. (slices, 1, rows, columns).

    ``known``: in network units; ``unknown``: of its shape, true where it is made anew, whatever the known image has
    there; ``planes``: what the denoiser is told; ``levels``: falling to 0; ``jumps``: passes of every level, 1 or more;
    ``adjust``: of every clean estimate, such as to a wanted mean. Raises ValueError for shapes that differ, a part that
    is empty or everything, values that are not finite where they count, and levels that do not fall to 0;
    FloatingPointError where the result is not finite.
    """
    check_part(known, unknown)
    check_levels(levels)
    if jumps < 1:
        raise ValueError(f"expected 1 pass of each level or more, found {jumps}: correct it")
    return _inpainted(denoiser, known, unknown, planes, levels, noise, jumps, adjust)


def _inpainted(
    denoiser: Denoiser, known: Tensor, unknown: Tensor, planes: Tensor | None, levels: Sequence[float], noise: Noise,
    jumps: int, adjust: Callable[[Tensor], Tensor] | None,
) -> Iterator[Tensor]:
    outside = torch.where(unknown, torch.zeros_like(known), known)

    def adjusted(x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        estimate = denoiser(x, sigma, condition)
        return estimate if adjust is None else adjust(estimate)

    x = levels[0] * noise.normal(known)
    for sigma, following in pairwise(levels):
        passes = jumps if following > 0 else 1
        for number in range(passes):
            x = torch.where(unknown, x, outside + sigma * noise.normal(known))
            with torch.no_grad():
                if number + 1 < passes:
                    low = DEPTH * following
                    x = heun(adjusted, x, sigma, low, planes) + (sigma**2 - low**2) ** 0.5 * noise.normal(known)
                else:
                    x = heun(adjusted, x, sigma, following, planes)
        if not bool(torch.isfinite(x[unknown]).all()):
            raise FloatingPointError("the part made anew is not finite: the model is damaged or does not fit the image")
        yield torch.where(unknown, x, known)


def check_part(known: Tensor, unknown: Tensor) -> None:
    """Raise ValueError unless a part of a finite image is to be made anew."""
    if known.shape != unknown.shape or known.ndim != 4 or unknown.dtype != torch.bool:
        raise ValueError(
            f"expected an image (slices, 1, rows, columns) and a truth value for each of its voxels, found "
            f"{tuple(known.shape)} and {tuple(unknown.shape)} of {unknown.dtype}: resample the segment to the image"
        )
    count = int(unknown.sum())
    if count in (0, unknown.numel()):
        what = "no voxel" if count == 0 else "every voxel"
        raise ValueError(f"expected a part of the image to make anew, found {what}: choose another segment")
    if not bool(torch.isfinite(known[~unknown]).all()):
        raise ValueError("expected finite values around the part to make anew, found others: repair or mask them first")


def check_levels(levels: Sequence[float]) -> None:
    """Raise ValueError unless noise levels fall to 0."""
    falling = len(levels) > 1 and levels[-1] == 0 and all(a > b for a, b in pairwise(levels))
    if not falling:
        raise ValueError(f"expected noise levels that fall to 0, found {list(levels)[:4]}: make them with a noise grid")
