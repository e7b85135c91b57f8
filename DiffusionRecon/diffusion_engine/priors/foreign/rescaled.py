"""A denoiser of images in one unit as a denoiser of images in another."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ...denoiser import Denoiser


@dataclass(frozen=True, eq=False)
class Rescaled:
    """A prior of images in other units: D(x; s) = o + c D'((x - o) / c; s / c), c = ``scale``, o = ``offset``.

    The inner network's value is (x - offset) / scale, as in a model card: one trained on [-1, 1] from images in [0, 1]
    has offset 0.5 and scale 0.5. Raises ValueError unless the scale is positive.
    """

    denoiser: Denoiser
    scale: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (self.scale > 0 and math.isfinite(self.scale) and math.isfinite(self.offset)):
            raise ValueError(f"expected a positive scale and a finite offset, found {self.scale} and {self.offset}")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        inner = self.denoiser((x - self.offset) / self.scale, sigma / self.scale, condition)
        return self.offset + self.scale * inner
