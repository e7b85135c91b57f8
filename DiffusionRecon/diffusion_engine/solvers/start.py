"""At which noise level to start from a classical image: from its expected error.

The error of the start is predicted by repeating the scan in the computer: a surrogate of the object (the TV image of
the same data) is projected with the same geometry, given noise of the same variance, and reconstructed in the same way
as the start; the root mean square difference from the surrogate, e, is known exactly. The first noise level is
sigma_0 = ratio * e within bounds, ``ratio`` having been chosen on held-out slices and recorded in the model card.
Source of the idea of starting at sigma_0: come-closer diffusion, arXiv:2112.05146.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..likelihoods.gaussian import GaussianLikelihood

DEFAULTS = {"ratio": 2.0, "smallest": 0.1, "largest": 2.0}


def predicted_start_error(
    surrogate: Tensor, likelihood: GaussianLikelihood, start: Callable[[Tensor], Tensor], generator: torch.Generator
) -> Tensor:
    """Root mean square error that ``start`` makes on simulated data of ``surrogate``: one value an image.

    ``surrogate``: (batch, rows, columns); ``start``: data (batch, views, detectors) -> images, both in the
    likelihood's units.
    """
    clean = likelihood.operator.forward(surrogate)
    noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype).to(clean.device)
    error = start(clean + likelihood.noise_std * noise) - surrogate
    return error.square().mean((-2, -1)).sqrt()


def start_level(error: Tensor, calibration: Mapping[str, float]) -> float:
    """sigma_0 for a batch: ``ratio`` times the largest predicted error, within the calibrated bounds."""
    values = {**DEFAULTS, **calibration}
    return float(min(max(values["ratio"] * float(error.max()), values["smallest"]), values["largest"]))
