"""The stochastic sampler of EDM: fresh noise before each of Heun's steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..priors.denoiser import Denoiser
from .movers import heun
from .noise import Noise


@dataclass(frozen=True)
class Churn:
    """How much noise is added: ``amount`` spread over the steps, only for levels from ``lowest`` to ``highest``.

    ``inflation``: standard deviation of the added noise relative to its nominal one. 40, 0.05, 50 and 1.003 were
    published for ImageNet-64. Source: arXiv:2206.00364, table 5.
    """

    amount: float = 0.0
    lowest: float = 0.05
    highest: float = 50.0
    inflation: float = 1.003


def churned_heun(
    denoiser: Denoiser, x: Tensor, sigma: float, sigma_next: float, steps: int, churn: Churn, noise: Noise,
    condition: Tensor | None = None,
) -> Tensor:
    """Raise the level to s^ = s (1 + g) by noise, g = min(amount / steps, sqrt(2) - 1), then Heun from s^ to s'.

    ``steps``: of the whole run. Source: arXiv:2206.00364, algorithm 2.
    """
    if churn.lowest <= sigma <= churn.highest and churn.amount > 0:
        raised = sigma * (1 + min(churn.amount / steps, math.sqrt(2) - 1))
        x = x + math.sqrt(raised**2 - sigma**2) * churn.inflation * noise.normal(x)
        sigma = raised
    return heun(denoiser, x, sigma, sigma_next, condition)
