"""DPM-Solver++(2M): a second-order step of the probability flow from one denoiser call, with the call before it."""

from __future__ import annotations

import math

from torch import Tensor


def dpm_2m(
    x: Tensor, clean: Tensor, sigma: float, sigma_next: float,
    clean_before: Tensor | None = None, sigma_before: float | None = None,
) -> Tensor:
    """x' = (s' / s) x + (1 - s' / s) [(1 + 1 / (2 r)) D_i - D_{i-1} / (2 r)], r = ln(s_before / s) / ln(s / s').

    ``clean``: D(x; s) of this step, or one corrected by data; ``clean_before``, ``sigma_before``: those of the step
    before, None at the first, which is then of first order, as is the last into zero. Source: arXiv:2211.01095,
    algorithm 2, in coordinates x = clean + sigma * noise.
    """
    if sigma_next == 0:
        return clean
    target = clean
    if clean_before is not None and sigma_before is not None:
        ratio = math.log(sigma_before / sigma) / math.log(sigma / sigma_next)
        target = clean + (clean - clean_before) / (2 * ratio)
    share = sigma_next / sigma
    return share * x + (1 - share) * target
