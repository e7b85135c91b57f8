"""Whether what looks like noise is some: a pattern of even and odd bins, or a stated noise that is not there."""

from __future__ import annotations

import math

import numpy as np

from ....physics.levels import noise_differences
from .look import Look
from .remark import Remark

_LEAST_VIEWS, _LEAST_BINS = 8, 24
_ALIKE = 0.8  # of the bins alternate in one way
_IN_OBJECT = 0.3  # of the largest line integral: bins that see the object
_PATTERN = 0.3  # of the noise: what is left of it by the mean over the views, with its sign changing from bin to bin
_STATED = 4.0  # times what is seen: neighbouring bins may share noise, which hides up to that of it


def doubt_pattern(look: Look) -> list[Remark]:
    """Whether even and odd bins read differently in all views, so that the noise is estimated from their difference.

    Noise is gone in the mean of many views, and an object's edges do not change sign from bin to bin.
    """
    if look.geometry.views < _LEAST_VIEWS or look.p.shape[-1] < 16 or look.noise <= 0:
        return []
    found = []
    for p in look.p:
        inside = p.mean(0)[2:-2] > _IN_OBJECT * look.peak
        alternating = noise_differences(p).mean(0) * (-1.0) ** np.arange(p.shape[-1] - 4)
        if inside.sum() >= _LEAST_BINS:
            one_way = float((alternating[inside] > 0).mean())
            found.append(abs(float(np.median(alternating[inside]))) if abs(one_way - 0.5) > _ALIKE - 0.5 else 0.0)
    if not found or np.median(found) < _PATTERN * look.noise:
        return []
    return [Remark(
        "pattern", "Even and odd detector bins read differently in all views: what counts as noise is mostly their "
        "difference; correct their gain or offset.", False,
    )]


def doubt_stated_noise(look: Look, variance: np.ndarray | None) -> list[Remark]:
    """Whether line integrals are stated to be much noisier than they are seen to be, so that they count for little."""
    if variance is None or look.noise <= 0:
        return []
    finite = variance[np.isfinite(variance)]
    stated = math.sqrt(float(np.median(finite))) if finite.size else 0.0
    if stated < _STATED * look.noise:
        return []
    return [Remark(
        "stated_noise", f"The stated noise has a standard deviation of {stated:.3g}, but the readings show no more "
        f"than {look.noise:.3g}: the image will be too smooth if the noise is wrong (a variance is the square).", False,
    )]
