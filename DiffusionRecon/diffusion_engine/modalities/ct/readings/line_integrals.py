"""From what was measured to line integrals with their variance: what is not known is estimated, and said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ....physics.noise import estimate_air_counts, estimate_noise_std, log_data
from ....physics.noise_by_ray import variance_by_ray
from ..measurement import Measurement


def as_line_integrals(measurement: Measurement, notes: list[str], used: np.ndarray | None = None) -> Measurement:
    """Line integrals with their variance, infinite where readings are not ``used``; the variance None where unknown.

    Counts have the variance that is given, else that of their noise; i0 is estimated from air, and said, when unknown.
    Line integrals without a variance get one estimated, and said, where some of them are not used.
    """
    values = torch.from_numpy(measurement.values.astype(np.float32))
    whole = used is None or bool(used.all())
    allowed = None if used is None or whole else torch.from_numpy(used)
    variance = measurement.variance
    if measurement.kind == "counts":
        i0 = measurement.i0
        if i0 is None:
            i0 = estimate_air_counts(values, allowed)
            notes.append(f"The unattenuated count was estimated from the air beside the object: {i0:.4g}.")
        values, counted = log_data(values, i0, measurement.electronic_std)
        variance = counted.numpy() if variance is None else variance
    elif variance is None and allowed is not None:
        variance = estimated_variance(values, allowed, notes)
    if allowed is not None and variance is not None:
        variance = np.where(allowed.numpy(), variance, np.inf)
    return replace(measurement, values=values.numpy(), kind="line_integrals", i0=None, variance=variance)


def estimated_variance(values: Tensor, used: Tensor | None, notes: list[str]) -> np.ndarray:
    """The noise variance of line integrals that come without one, and said: by ray, or one number.

    By ray where it grows with what a ray crossed, as that of counts does, see :func:`variance_by_ray`; else that of
    :func:`estimate_noise_std`. Raises ValueError where no noise is seen.
    """
    std = estimate_noise_std(values, used)
    if std == 0:
        raise ValueError(
            "the data hold no noise that could be estimated: give measured data, not ideal ones, or state the noise "
            "(a variance, or noise_std in geometry.json)"
        )
    by_ray = variance_by_ray(values.cpu().numpy(), None if used is None else used.cpu().numpy())
    if by_ray is None:
        notes.append(f"The noise was estimated from the data: standard deviation {std:.4g} of the line integrals.")
        return np.array(std**2)
    low, high = np.sqrt(np.quantile(by_ray, (0.05, 0.95)))
    notes.append(
        "The noise was estimated from the data and grows with what a ray crossed, as that of photon counts does: "
        f"standard deviations of {low:.4g} to {high:.4g} of the line integrals, and every ray counts by its own."
    )
    return by_ray
