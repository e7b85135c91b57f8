"""Simulated coincidences: randoms and scatter as a smooth background, and Poisson counts."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

BACKGROUND_SHARE = 0.3
"""Expected background over expected true coincidences of a slice."""
RANDOMS_PART = 0.5
"""Of the background; the rest is scatter."""
SCATTER_FWHM_MM = 200.0
"""Of the Gaussian across the bins by which scatter is wider than the trues."""


def expected_background(trues: Tensor, bin_mm: float, share: float = BACKGROUND_SHARE) -> Tensor:
    """Expected randoms and scatter of each bin, (..., angles, bins), in sum ``share`` of each slice's true counts.

    Half are uniform randoms; half are scatter, in each slice the mean over all angles of the trues, blurred across the
    bins by a Gaussian of 200 mm: as smooth as single scatter is, without its dependence on the angle.
    """
    if not (math.isfinite(share) and share >= 0):
        raise ValueError(f"expected a background share of 0 or more of the trues, found {share}: correct it")
    total = share * trues.sum((-2, -1), keepdim=True)
    angles, bins = trues.shape[-2:]
    profile = trues.mean(-2).cpu().numpy().astype(np.float64)
    wide = gaussian_filter1d(profile, SCATTER_FWHM_MM / bin_mm / math.sqrt(8 * math.log(2)), mode="constant")
    scatter = torch.from_numpy(wide).to(trues).unsqueeze(-2)
    scatter = scatter / (angles * scatter.sum(-1, keepdim=True)).clamp_min(torch.finfo(trues.dtype).tiny)
    return total * (RANDOMS_PART / (angles * bins) + (1 - RANDOMS_PART) * scatter).expand_as(trues)


def drawn_counts(mean: Tensor, generator: torch.Generator) -> Tensor:
    """y ~ Poisson(mean), in the dtype of the argument. Raises ValueError for a mean that is negative or not finite."""
    if not bool((torch.isfinite(mean) & (mean >= 0)).all()):
        raise ValueError("expected finite mean counts of 0 or more, found others: correct the activity or background")
    return torch.poisson(mean, generator=generator)
