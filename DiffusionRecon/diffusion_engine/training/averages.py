"""Moving averages of the weights over several lengths at once: which is best is known only after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Averages:
    """a <- b a + (1 - b) w for each half-life h, b = 0.5^(1 / min(h, 1 + t / 4)) at step t: short at first.

    ``values``: half-life in steps -> weights by name. Raises ValueError for no or a repeated half-life, or one below 1.
    """

    def __init__(self, network: nn.Module, halflives: Sequence[int]) -> None:
        if not halflives or min(halflives) < 1 or len(set(halflives)) < len(halflives):
            raise ValueError(f"expected different half-lives of 1 step or more, found {list(halflives)}: correct them")
        self.values = {
            halflife: {name: value.detach().clone() for name, value in network.state_dict().items()}
            for halflife in halflives
        }

    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after step ``step`` (from 0)."""
        current = network.state_dict()
        with torch.no_grad():
            for halflife, average in self.values.items():
                decay = 0.5 ** (1 / min(halflife, 1 + step / 4))
                # One call for all tensors: a graphics card would wait for hundreds of small ones.
                torch._foreach_lerp_([average[name] for name in current], list(current.values()), 1 - decay)

    def restore(self, values: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Take the averages of a checkpoint of the same half-lives."""
        self.values = {halflife: dict(average) for halflife, average in values.items()}


def halflives_around(steps: int, middle: int) -> tuple[int, ...]:
    """Further half-lives beside ``middle``: a quarter and four times it, none longer than half of the run."""
    return tuple(sorted({max(1, middle // 4), max(1, min(4 * middle, steps // 2))} - {middle}))
