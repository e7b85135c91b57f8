"""How linearly a solver's result answers to a change of its first noise.

With the first noise n of a run, a direction d and everything drawn later kept as it is,

    c = cos(r(n + eps d) - r(n), r(n) - r(n - eps d)),

r the result. Where the prior knows the image, the way from noise to result is nearly linear and c is near 1; where it
has to choose, small changes of the noise send the result elsewhere. Source of the idea: controlled sampling by
perturbation of the initial noise, arXiv:2502.04670.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..sampling.noise import Noise


class ShiftedNoise(Noise):
    """The noise of a seed whose first numbers are moved by ``amount`` times a direction of ``direction_seed``.

    What is drawn afterwards is the same for every amount.
    """

    def __init__(self, seed: int, amount: float, direction_seed: int) -> None:
        super().__init__(torch.Generator().manual_seed(seed))
        self._amount = amount
        self._direction: Noise | None = Noise(torch.Generator().manual_seed(direction_seed))

    def normal(self, like: Tensor) -> Tensor:
        numbers = super().normal(like)
        if self._direction is not None:
            numbers = numbers + self._amount * self._direction.normal(like)
            self._direction = None
        return numbers


def linearity(run: Callable[[Noise], Tensor], epsilon: float = 0.2, seed: int = 0) -> list[float]:
    """c above of each image.

    ``run``: a solver's result (batch, rows, columns) from the noise it is given, nothing else of it random;
    ``epsilon``: size of the change, in standard deviations of the noise. Raises ValueError for an epsilon that is not
    positive or a result that does not change, FloatingPointError where a result is not finite.
    """
    if not 0 < epsilon < float("inf"):
        raise ValueError(f"expected a finite epsilon above 0, found {epsilon}: give for instance 0.2")
    below, middle, above = (run(ShiftedNoise(seed, a, seed + 1)).double() for a in (-epsilon, 0.0, epsilon))
    if not all(bool(torch.isfinite(result).all()) for result in (below, middle, above)):
        raise FloatingPointError("a result is not finite: its linearity is undefined")
    up, down = (above - middle).flatten(1), (middle - below).flatten(1)
    lengths = up.norm(dim=1) * down.norm(dim=1)
    if not bool((lengths > 0).all()):
        raise ValueError("the result does not depend on the first noise: choose a solver that starts from noise")
    return [float(c) for c in (up * down).sum(1) / lengths]
