"""Where the random numbers of a run come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class Noise:
    """Standard normal noise of a seed: the generator lives on the CPU, so that a seed is the same on every device.

    ``sign``: 1, or -1 for the opposite of every number.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.sign = generator, 1

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape, dtype and device of ``like``; complex ones have variance 1."""
        return self.sign * torch.randn(like.shape, generator=self.generator, dtype=like.dtype).to(like.device)

    @property
    def place(self) -> Any:
        """Where in its sequence of numbers it is."""
        return self.generator.get_state()

    @place.setter
    def place(self, place: Any) -> None:
        self.generator.set_state(place)


def seeded(seed: int) -> Noise:
    """The noise of a seed."""
    return Noise(torch.Generator().manual_seed(seed))


def numbered_draws(noise: Noise, draws: int, antithetic: bool) -> Iterator[int]:
    """1 to ``draws``, ``noise`` being made ready for each; ``antithetic``: every second one gets -z for z before it.

    What is odd in z cancels in the mean of such a pair; so the mean of few draws is nearer that of many, and their
    spread reads a little wide. Uniform numbers are the same in both. Source: doi:10.1017/S0305004100031455.
    """
    place = noise.place
    for draw in range(1, draws + 1):
        if antithetic and draw % 2 == 0:
            noise.place, noise.sign = place, -1
        else:
            place, noise.sign = noise.place, 1
        yield draw
    noise.sign = 1
