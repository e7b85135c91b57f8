"""Where the random numbers of a run come from: seed, use, draw, call and slice of the patient, and nothing else.

Each slice of a batch has a stream of its own in every call, so that its numbers do not depend on the other slices,
their order or the device; the numbers are drawn on the CPU. Neighbours may share theirs:

    n_k = cos(t pi / 2) w_a + sin(t pi / 2) w_(a + 1),  a = floor(k / m),  t = k / m - a

with independent standard normal anchors w, one every m slices ("period"). The squares of the two weights add to 1, so
the noise of each slice is exactly standard normal, white within the slice, and neighbours correlate by
cos(pi / (2 m)); m = 1 gives independent slices. Given the same noise for two slices, a solver makes the same choice
where the measurement leaves one, so that what it adds continues from slice to slice.

Sources: independent streams, numpy's SeedSequence; spherical interpolation of noise, arXiv:2010.02502; along the
slices of a stack, arXiv:2602.04162; pairs of opposite noise, doi:10.1017/S0305004100031455.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor

USES = ("draw", "scan", "start", "rescan", "residual")
"""What numbers are for: the draws of a solver, a simulated scan, the expected error of a start, the scan of the
residual test, the scale of the residual map. Each has streams of its own."""


class Noise:
    """The random numbers of a batch whose first axis is slices of the patient; calls are counted.

    ``seed``: 0 or more; ``slices``: the index of each slice of the batch in the whole stack, or of the first one where
    they follow each other; ``use``: out of USES; ``period``: slices from anchor to anchor, 1 for independent slices.
    Raises ValueError for a negative seed or slice, a period below 1 or an unknown use.
    """

    def __init__(self, seed: int, slices: int | Sequence[int] = 0, use: str = "draw", period: int = 1) -> None:
        lowest = slices if isinstance(slices, int) else min(slices, default=0)
        if min(seed, lowest) < 0 or period < 1 or use not in USES:
            raise ValueError(
                f"expected seed and slices of 0 or more, a period of 1 or more and a use out of {USES}, found {seed}, "
                f"{slices}, {period} and {use!r}: correct them"
            )
        self.seed, self.slices, self.period, self.draw, self.sign = seed, slices, period, 1, 1
        self._use, self._calls = USES.index(use), [0]

    def draws(self, count: int, antithetic: bool = False) -> Iterator[tuple[int, Noise]]:
        """1 to ``count`` and the numbers of each draw, from its first call on; they do not depend on ``count``.

        ``antithetic``: every second draw gets -z for each normal number z of the one before it, and the same uniform
        numbers. What is odd in z cancels in the mean of such a pair; so the mean of few draws is nearer that of many,
        and their spread reads a little wide.
        """
        for number in range(1, count + 1):
            opposite = antithetic and number % 2 == 0
            own = copy(self)
            own.draw, own.sign, own._calls = number - opposite, -1 if opposite else 1, [0]
            yield number, own

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape, dtype and device of ``like`` (slices, ...); complex: of variance 1."""
        return self.part(self.take(), 0, like)

    def part(self, call: int, start: int, like: Tensor) -> Tensor:
        """The noise of one call (see :meth:`take`) for the slices from number ``start`` on, as :meth:`normal`."""
        places = self._places(start, len(like))
        white: dict[int, Tensor] = {}

        def anchor(index: int) -> Tensor:
            if index not in white:
                white[index] = _standard_normal(self._stream(call, index), like)
            return white[index]

        noise = torch.empty(like.shape, dtype=like.dtype)
        for n, place in enumerate(places):
            index, rest = divmod(place, self.period)
            white = {k: v for k, v in white.items() if k >= index}
            angle = 0.5 * math.pi * rest / self.period
            noise[n] = math.cos(angle) * anchor(index) + math.sin(angle) * anchor(index + 1) if rest else anchor(index)
        return (noise if self.sign > 0 else -noise).to(like.device)

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers from 0 to 1 of the shape, dtype and device of ``like`` (slices, ...), real."""
        shape = tuple(like.shape[1:])
        return torch.stack([torch.as_tensor(stream.random(shape)) for stream in self.streams(len(like))]).to(like)

    def streams(self, count: int) -> list[np.random.Generator]:
        """A generator for each slice of a batch of ``count``, for numbers of other kinds; one call."""
        call = self.take()
        return [self._stream(call, place) for place in self._places(0, count)]

    def common(self) -> np.random.Generator:
        """A generator for what is the same for all slices of a run; one call."""
        return self._stream(self.take(), -1)

    def take(self) -> int:
        """The number of this call, for :meth:`part`; the next call gets the next one."""
        self._calls[0] += 1
        return self._calls[0] - 1

    def shared(self, period: int) -> Noise:
        """The same noise with another period; the two count their calls together, so that no number comes twice."""
        other = copy(self)
        other.period = period
        return other

    def of(self, index: Sequence[int]) -> Noise:
        """That of some slices of the batch, by their numbers in it, which counts its own calls from here on."""
        other = copy(self)
        other.slices = [self._places(n, 1)[0] for n in index]
        other._calls = list(self._calls)
        return other

    def _places(self, start: int, count: int) -> Sequence[int]:
        """The slices of the stack that ``count`` images from number ``start`` of the batch on are."""
        if isinstance(self.slices, int):
            return range(self.slices + start, self.slices + start + count)
        if start + count > len(self.slices):
            raise ValueError(
                f"expected noise for slices of a batch of {len(self.slices)}, found numbers {start} to "
                f"{start + count - 1}: the first axis must be the slices"
            )
        return self.slices[start : start + count]

    def _stream(self, call: int, place: int) -> np.random.Generator:
        """The generator of one call for one slice of the stack, -1 for all of them."""
        key = (self._use, self.draw, call, place + 1)
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(self.seed, spawn_key=key)))


def seeded(seed: int) -> Noise:
    """The noise of a seed for a batch that is a stack of its own."""
    return Noise(seed)


def _standard_normal(stream: np.random.Generator, like: Tensor) -> Tensor:
    """Numbers for one slice of ``like``."""
    shape = tuple(like.shape[1:])
    if like.is_complex():
        pair = _standard_normal(stream, torch.empty((1, *shape, 2), dtype=like.real.dtype))
        return torch.view_as_complex(pair) / math.sqrt(2)
    width = np.float64 if like.dtype == torch.float64 else np.float32
    return torch.as_tensor(stream.standard_normal(shape, dtype=width)).to(like.dtype)
