"""The unit of MR images: none that physics knows. A network unit is a robust maximum of the images themselves.

No torch here.
"""

from __future__ import annotations

import numpy as np

from ...volume import IntensityScale

FOREGROUND_SHARE, BRIGHTEST, PERCENTILE = 0.1, 99.9, 99.5
"""The foreground lies above this share of the 99.9th percentile; its 99.5th percentile becomes 1, as in training."""

ARBITRARY = IntensityScale("a.u.", 0.0, 1.0)
"""Between network units and themselves: of the modality as a whole, whose runs each have a scale of their own."""


def network_unit(magnitude: np.ndarray) -> float:
    """The value that becomes 1: the 99.5th percentile of the foreground of magnitudes of any shape.

    Raises ValueError where there is no signal.
    """
    foreground = magnitude[magnitude > FOREGROUND_SHARE * np.percentile(magnitude, BRIGHTEST)]
    unit = float(np.percentile(foreground, PERCENTILE)) if foreground.size else 0.0
    if not unit > 0:
        raise ValueError("the images hold no signal: choose other slices, or another file")
    return unit


def scale_of(unit: float) -> IntensityScale:
    """The scale of a run whose network unit is ``unit`` of the input's own values."""
    return IntensityScale(ARBITRARY.unit, 0.0, unit)
