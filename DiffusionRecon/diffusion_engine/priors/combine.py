"""Denoisers made from denoisers: other intensity scales, complex images, guidance, and several priors as one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser


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


@dataclass(frozen=True, eq=False)
class ComplexDenoiser:
    """A network of real images, say magnitudes, applied to the real and the imaginary part of complex ones.

    D(x; s) = D'(Re x; s / sqrt(2)) + i D'(Im x; s / sqrt(2)): complex noise of variance s^2 has half of it in each
    part. Exact where the parts are independent and distributed as what the network was trained on; a magnitude
    network is only an approximation, best with the phase near zero. Source: arXiv:2110.05243.
    """

    denoiser: Denoiser

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if not x.is_complex():
            return self.denoiser(x, sigma, condition)
        each = sigma if sigma.ndim == 0 else sigma.repeat(2)
        twice = condition
        if condition is not None and condition.ndim == 4 and condition.shape[0] == x.shape[0]:
            twice = torch.cat([condition, condition])
        parts = self.denoiser(torch.cat([x.real, x.imag]), each / math.sqrt(2), twice)
        return torch.complex(*parts.chunk(2))


@dataclass(frozen=True, eq=False)
class GuidedDenoiser:
    """Classifier-free guidance: D(x; s | c) = (1 + w) D'(x; s | c) - w D'(x; s | empty), w = ``weight``.

    ``empty``: the condition that stood for "none" in training, None for a network that takes none. w = 0 is the
    conditional prior, -1 the unconditional one; above 0 the draws are sharper than those of any prior. Source:
    arXiv:2207.12598.
    """

    denoiser: Denoiser
    weight: float
    empty: Tensor | None = None

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        guided = self.denoiser(x, sigma, condition)
        if self.weight == 0:
            return guided
        return (1 + self.weight) * guided - self.weight * self.denoiser(x, sigma, self.empty)


@dataclass(frozen=True, eq=False)
class AveragedDenoiser:
    """Several priors as one: D = sum_k w_k D_k, so that the scores (D - x) / s^2 are averaged with the same weights.

    The noisy densities are multiplied, p ~ prod_k p_k^w_k. ``weights`` sum to 1, equal where none are given. Raises
    ValueError otherwise.
    """

    denoisers: tuple[Denoiser, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.denoisers:
            raise ValueError("an average of priors needs one prior or more")
        if self.weights is not None and (
            len(self.weights) != len(self.denoisers) or not math.isclose(sum(self.weights), 1, abs_tol=1e-6)
        ):
            raise ValueError(f"expected {len(self.denoisers)} weights that sum to 1, found {self.weights}")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        weights = self.weights or (1 / len(self.denoisers),) * len(self.denoisers)
        parts = [w * denoiser(x, sigma, condition) for w, denoiser in zip(weights, self.denoisers, strict=True)]
        return torch.stack(parts).sum(0)
