"""At which noise level to start from a classical image: from its expected error.

The error of the start is predicted by repeating the scan in the computer: a surrogate of the object (a classical
image of the same data) is measured with the same geometry, given noise of the same variance, and reconstructed in the
same way as the start; the root mean square difference from the surrogate, e, is known exactly. The first noise level is
sigma_0 = ratio * e within bounds, ``ratio`` having been chosen on held-out slices and recorded in the model card. It is
a slice's own, on a grid of levels, so that slices of the same level can be solved together.
Source of the idea of starting at sigma_0: come-closer diffusion, arXiv:2112.05146.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.noise import Noise

LEVELS_AN_OCTAVE = 8
"""First noise levels lie at 2^(k / 8): at most 4.5 % from the one that is asked for."""

DEFAULTS = {"ratio": 2.0, "smallest": 0.1, "largest": 2.0}


def predicted_start_error(
    surrogate: Tensor, likelihood: GaussianLikelihood, start: Callable[[Tensor], Tensor], noise: Noise,
    physical: Tensor | None = None,
) -> Tensor:
    """Root mean square error that ``start`` makes on simulated data of ``surrogate``: one value an image.

    ``surrogate``: (batch, rows, columns); ``start``: data -> images in the same units; ``physical``: the surrogate in
    the likelihood's units, where these are others.
    """
    clean = likelihood.operator.forward(surrogate if physical is None else physical)
    error = start(clean + likelihood.noise_std * noise.normal(clean)) - surrogate
    return error.abs().square().mean((-2, -1)).sqrt()


def start_levels(error: Tensor, calibration: Mapping[str, float]) -> list[float]:
    """sigma_0 of each image: ``ratio`` times its predicted ``error`` (batch,), on the grid, within calibrated bounds.

    Raises FloatingPointError for an error that is not finite.
    """
    values = {**DEFAULTS, **calibration}
    if not bool(torch.isfinite(error).all()):
        raise FloatingPointError("the expected error of the start is not finite: check the data and their noise level")
    wanted = [values["ratio"] * max(float(e), torch.finfo(torch.float32).tiny) for e in error]
    on_grid = [2.0 ** (round(LEVELS_AN_OCTAVE * math.log2(level)) / LEVELS_AN_OCTAVE) for level in wanted]
    return [float(min(max(level, values["smallest"]), values["largest"])) for level in on_grid]
