"""From one kind of image to another: images drawn by a denoiser that is told the one there is.

    x_d ~ p(image | given),   d = 1..draws;   mean and spread over the draws

Low dose to full dose, few views to all, one MR weighting to another: a matter of what the denoiser was trained on. The
mean has the least expected error; a single draw has the noise and detail of real images, some of it invented, which is
what the spread shows. A few steps do, since what is given leaves little open.

Sources: SR3, arXiv:2104.07636; Palette, arXiv:2111.05826; few steps, Fast-DDPM, arXiv:2405.14802.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..sampling.noise import Noise
from .generate import Generation, generated_stack
from .guidance import Guided, planes_of_images


class Translation(NamedTuple):
    """After ``draws`` draws: the last one, their mean and standard deviation, (slices, 1, rows, columns) each.

    In network units; the deviation is zero for a single draw.
    """

    draws: int
    draw: Tensor
    mean: Tensor
    spread: Tensor


def translated(
    denoiser: Denoiser, given: Tensor, place: Tensor, how: Generation, draws: int, noise: Noise, weight: float = 1.0,
    slice_mm: float = 0.0,
) -> Iterator[Translation]:
    """The other image after each draw; the last is the result.

    ``denoiser``: of slices or stacks, told an image; ``given``: (slices, 1, rows, columns) in network units; ``place``:
    positions (2, rows, columns); ``weight``: of guidance, see :class:`Guided`; ``slice_mm``: as in
    :func:`generated_stack`. Raises ValueError for no draws and what the functions named refuse.
    """
    if draws < 1:
        raise ValueError(f"expected 1 draw or more, found {draws}: ask for some")
    planes = planes_of_images(place, given)
    guided = Guided(denoiser, weight)
    # Whatever cannot be is said before the first draw.
    generated_stack(guided, planes, how, noise, slice_mm)

    def told() -> Iterator[Translation]:
        total, squares = torch.zeros(given.shape, dtype=torch.float64), torch.zeros(given.shape, dtype=torch.float64)
        for number, own in noise.draws(draws):
            for made in generated_stack(guided, planes, how, own, slice_mm):
                draw = made.images
            away = (draw - given).double()
            total += away
            squares += away**2
            mean = total / number
            variance = ((squares - number * mean**2) / max(1, number - 1)).clamp_min(0)
            yield Translation(number, draw, (given + mean).to(given), variance.sqrt().to(given))

    return told()
