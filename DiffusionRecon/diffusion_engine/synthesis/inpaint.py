"""Make part of an image anew: what is known is re-noised at every level, what is not is drawn to fit it.

    x <- known + s z outside;   c = D(x; s);   x <- a draw at s' < s given x and c          (and back to s, r - 1 times)

Each way back adds noise from s' to s, so that the new part can follow what surrounds it; with one pass alone it only
follows what it saw a level before. Outside the result is the known image, bit by bit.

Sources: RePaint, arXiv:2201.09865, with ways back of one level; lesions with a re-noised background, LeFusion,
arXiv:2403.14066.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..sampling.movers import ancestral
from ..sampling.noise import Noise

JUMPS = 4


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
    x = levels[0] * noise.normal(known)
    for sigma, following in pairwise(levels):
        passes = jumps if following > 0 else 1
        for number in range(passes):
            x = torch.where(unknown, x, outside + sigma * noise.normal(known))
            with torch.no_grad():
                estimate = denoiser(x, torch.tensor(sigma), planes)
            if adjust is not None:
                estimate = adjust(estimate)
            moved = ancestral(x, estimate, sigma, following, noise.normal(known)) if following > 0 else estimate
            if number + 1 < passes:
                x = moved + (sigma**2 - following**2) ** 0.5 * noise.normal(known)
        x = moved
        if not bool(torch.isfinite(estimate[unknown]).all()):
            raise FloatingPointError("the part made anew is not finite: the model is damaged or does not fit the image")
        yield torch.where(unknown, estimate, known)


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
