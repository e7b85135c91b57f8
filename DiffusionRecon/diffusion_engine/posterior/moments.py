"""Mean and variance of draws, one draw at a time: memory does not grow with their number."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningMoments:
    """Welford's update: m += (x - m) / n, S += (x - m_old)(x - m_new). Source: doi:10.1080/00401706.1962.10490022."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, draw: Tensor) -> None:
        """Take in one draw; raises FloatingPointError where it is not finite."""
        if not bool(torch.isfinite(draw).all()):
            raise FloatingPointError("a draw holds NaN or infinite values: it was not added")
        self.count += 1
        if self._mean is None or self._squares is None:
            self._mean, self._squares = draw.double(), torch.zeros_like(draw, dtype=torch.float64)
            return
        away = draw.double() - self._mean
        self._mean = self._mean + away / self.count
        self._squares = self._squares + away * (draw.double() - self._mean)

    @property
    def mean(self) -> Tensor:
        """Mean of the draws so far, float32."""
        if self._mean is None:
            raise ValueError("no draw yet: the mean of nothing is undefined")
        return self._mean.float()

    @property
    def std(self) -> Tensor:
        """Standard deviation with n - 1, float32; needs two draws."""
        if self._squares is None or self.count < 2:
            raise ValueError("a spread needs at least 2 draws")
        return (self._squares / (self.count - 1)).sqrt().float()
