"""Where the random numbers of a run come from."""

from __future__ import annotations

import torch
from torch import Tensor


class Noise:
    """Standard normal noise of a seed: the generator lives on the CPU, so that a seed is the same on every device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape, dtype and device of ``like``; complex ones have variance 1."""
        return torch.randn(like.shape, generator=self.generator, dtype=like.dtype).to(like.device)


def seeded(seed: int) -> Noise:
    """The noise of a seed."""
    return Noise(torch.Generator().manual_seed(seed))
