"""Mean and variance of draws, one draw at a time: memory does not grow with their number."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningMoments:
    """Welford's update: m += (x - m) / n, S += (x - m_old)(x - m_new); of complex draws the last factor conjugated.

    Source: doi:10.1080/00401706.1962.10490022.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, draw: Tensor) -> None:
        """Take in one draw; raises FloatingPointError where it is not finite."""
        if not bool(torch.isfinite(draw).all()):
            raise FloatingPointError("a draw holds NaN or infinite values: it was not added")
        self.count += 1
        wide = draw.to(torch.complex128 if draw.is_complex() else torch.float64)
        if self._mean is None or self._squares is None:
            self._mean, self._squares = wide, torch.zeros_like(wide.real)
            return
        away = wide - self._mean
        self._mean = self._mean + away / self.count
        left = wide - self._mean
        self._squares = self._squares + ((away * left.conj()).real if wide.is_complex() else away * left)

    @property
    def mean(self) -> Tensor:
        """Mean of the draws so far, float32 or complex64."""
        if self._mean is None:
            raise ValueError("no draw yet: the mean of nothing is undefined")
        return self._mean.to(torch.complex64) if self._mean.is_complex() else self._mean.float()

    @property
    def std(self) -> Tensor:
        """Standard deviation with n - 1, float32, of complex draws the root of E|x - m|^2; needs two draws."""
        if self._squares is None or self.count < 2:
            raise ValueError("a spread needs at least 2 draws")
        return (self._squares / (self.count - 1)).sqrt().float()
