"""Where a denoiser is unsure, from how much its estimates differ from call to call: relative variances of pixels.

    m_k = 0.9 m_(k - 1) + 0.1 |D_k - D_(k - 1)|^2 / s_k^2,     w = (0.3 + sqrt(m) / mean sqrt(m)) / 1.3

D_k is the estimate of call k at noise s_k. Were the Jacobian J of D diagonal, estimates of an image in two noises would
differ by sqrt(2) s J (root mean square), and the clean image's variance is s^2 J (Tweedie): it goes with the root of m.
An image's weights have mean 1; the floor keeps pixels whose estimates happen to agree from being frozen.

Source of the diagonal covariance: TMPD, arXiv:2310.06721. Reading it off successive estimates, which costs no call, is
this project's own, and so are the constants, chosen on held-out slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..likelihoods.conjugate_gradient import ratio
from .contract import clean_variance

MEMORY, FLOOR = 0.9, 0.3


@dataclass
class LocalVariance:
    """The last estimate and the running mean m of a draw, both (batch, rows, columns); None before the first call."""

    previous: Tensor | None = None
    change: Tensor | None = None

    def update(self, estimate: Tensor, sigma: float) -> Tensor:
        """m (batch, rows, columns), real, after ``estimate`` at ``sigma``; zero after the first call."""
        if self.previous is None or self.change is None:
            self.change = torch.zeros_like(estimate.abs())
        else:
            self.change = MEMORY * self.change + (1 - MEMORY) * (estimate - self.previous).abs() ** 2 / sigma**2
        self.previous = estimate
        return self.change


def relative_variance(change: Tensor) -> Tensor:
    """Weights w of mean 1 in each image of m (batch, rows, columns); 1 everywhere in an image without any change."""
    root = change.sqrt()
    mean = root.mean((-2, -1), keepdim=True)
    relative = torch.where(mean > 0, ratio(root, mean), 1.0)
    return (FLOOR + relative) / (FLOOR + 1)


def prior_variance(sigma: float, sigma_data: float, factor: float, change: Tensor | None) -> float | Tensor:
    """w times :func:`clean_variance`: (batch, rows, columns) by how much estimates ``change``, a number for None."""
    uniform = clean_variance(sigma, sigma_data, factor)
    return uniform if change is None else uniform * relative_variance(change)
