"""Noise of a stack, slice by slice: a slice's numbers depend on seed, call and slice alone, neighbours may share them.

    n_k = cos(t pi / 2) w_a + sin(t pi / 2) w_(a + 1),  a = floor(k / m),  t = k / m - a

with independent standard normal anchors w, one every m slices ("period"). The squares of the two weights add to 1, so
the noise of each slice is exactly standard normal, white within the slice, and neighbours correlate by
cos(pi / (2 m)); m = 1 gives independent slices. A solver that is given the same noise for two slices decides alike
where the measurement does not decide, so that what it adds runs on from slice to slice.

Sources: spherical interpolation of noise, arXiv:2010.02502; along the slices of a stack, arXiv:2602.04162.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..sampling.noise import Noise


class SliceNoise(Noise):
    """Noise whose first axis is the stack: slice ``first`` + n of the whole stack gets the same numbers in any chunk.

    ``seed``: 0 or more; ``first``: index of the batch's first slice in the whole stack; ``period``: slices from anchor
    to anchor, 1 for independent slices; ``call``: number of the next call. ``generator`` serves what is not a stack.
    Raises ValueError for a negative seed, slice or call, or a period below 1.
    """

    def __init__(self, seed: int, first: int = 0, period: int = 1, call: int = 0) -> None:
        if min(seed, first, call) < 0 or period < 1:
            raise ValueError(
                f"expected seed, first slice and call of 0 or more and a period of 1 or more, found {seed}, {first}, "
                f"{call} and {period}: correct them"
            )
        super().__init__(torch.Generator().manual_seed(_mixed(seed)))
        self.seed, self.first, self.period = seed, first, period
        self._calls = [call]

    @property
    def call(self) -> int:
        """Number of the next call."""
        return self._calls[0]

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape, dtype and device of ``like`` (slices, ...)."""
        return self.part(self.take(), 0, like)

    def part(self, call: int, start: int, like: Tensor) -> Tensor:
        """The noise of one call (see :meth:`take`) for the slices from number ``start`` on, as :meth:`normal`."""
        return self.sign * slice_noise(self.seed, call, self.first + start, like, self.period)

    @property
    def place(self) -> Any:
        return super().place, self.call

    @place.setter
    def place(self, place: Any) -> None:
        state, self._calls[0] = place
        self.generator.set_state(state)

    def take(self) -> int:
        """The number of this call, for :meth:`part`; the next call gets the next one."""
        self._calls[0] += 1
        return self._calls[0] - 1

    def shared(self, period: int) -> SliceNoise:
        """The same noise with another period; the two count their calls together, so that no number comes twice."""
        other = SliceNoise(self.seed, self.first, period)
        other._calls, other.generator, other.sign = self._calls, self.generator, self.sign
        return other


def slice_noise(seed: int, call: int, first: int, like: Tensor, period: int = 1) -> Tensor:
    """The noise of one call for slices ``first`` to ``first`` + len(like): shape, dtype and device of ``like``."""
    white: dict[int, Tensor] = {}

    def anchor(index: int) -> Tensor:
        if index not in white:
            generator = torch.Generator().manual_seed(_mixed(seed, call, index))
            white[index] = torch.randn(like.shape[1:], generator=generator, dtype=like.dtype)
        return white[index]

    noise = torch.empty(like.shape, dtype=like.dtype)
    for n in range(like.shape[0]):
        index, rest = divmod(first + n, period)
        white = {k: v for k, v in white.items() if k >= index}
        angle = 0.5 * math.pi * rest / period
        noise[n] = math.cos(angle) * anchor(index) + math.sin(angle) * anchor(index + 1) if rest else anchor(index)
    return noise.to(like.device)


def _mixed(*numbers: int) -> int:
    """A seed in which all of ``numbers`` are mixed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
