"""Averages of denoisers of volumes: the three axes at once.

    D(x; sigma) = sum_k w_k D_k(x; sigma),  sum_k w_k = 1

The score (D - x) / sigma^2 is then the average of the scores: the prior is the geometric mean of the priors of the
planes. Three times the calls, and each plane's seams are seen by the two others.

Source: averages of perpendicular models, arXiv:2501.07430.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..priors.denoiser import Denoiser
from .perpendicular import PLANES, InPlane, check_plane


class Averaged:
    """D of volumes that is the mean of ``denoisers`` of volumes, with ``weights`` of 0 or more (equal if None).

    Raises ValueError without denoisers, or for weights that do not fit.
    """

    def __init__(self, denoisers: Sequence[Denoiser], weights: Sequence[float] | None = None) -> None:
        shares = [1.0] * len(denoisers) if weights is None else [float(w) for w in weights]
        if not denoisers or len(shares) != len(denoisers) or min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(
                f"an average needs denoisers and a weight of 0 or more for each, found {len(denoisers)} and {weights}"
            )
        self.denoisers, self.weights = list(denoisers), [share / sum(shares) for share in shares]

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        result = torch.zeros_like(x)
        for denoiser, weight in zip(self.denoisers, self.weights, strict=True):
            if weight > 0:
                result = result + weight * denoiser(x, sigma, condition)
        return result


def three_axes(
    denoiser: Denoiser, spacing_mm: tuple[float, float, float], known_mm: tuple[float, float],
    conditions: dict[str, Tensor] | None = None,
) -> Averaged:
    """One denoiser of slices in all three planes, averaged.

    ``spacing_mm``: of slices, rows and columns; ``known_mm``: the pixels that the denoiser knows; ``conditions``: what
    it needs in a plane, by the plane's name. Raises ValueError where a plane's pixels are not among those.
    """
    for plane in PLANES:
        check_plane(plane, spacing_mm, known_mm)
    given = conditions or {}
    return Averaged([InPlane(denoiser, plane, given.get(plane)) for plane in PLANES])
