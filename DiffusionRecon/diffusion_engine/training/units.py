"""What a prior's unit means for training: the scale to network units, what is refused, which patches suit it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..modalities.ct.hu_question import question_hu
from ..volume import AIR_HU, IntensityScale, Volume

FOREGROUND_PERCENTILE = 99.5
FOREGROUND_SHARE = 0.1
"""Foreground of an image without a physical unit: above this share of its 99.9th percentile."""
HIGHEST_SUV = 1000.0
LABEL = "label"
"""The unit of segmentations."""
LINE_INTEGRAL = "line integral"
"""The unit of sinograms, which are made of CT volumes in HU (see :mod:`.sinograms`)."""


@dataclass(frozen=True)
class UnitRule:
    """How values of a unit are trained on.

    ``scale``: network value = value / scale, None where each volume has its own (see :meth:`scale_of`). ``floor``:
    lower values are raised to it. ``fine_pixel_mm``: smaller pixels are averaged 2 x 2. ``full_weight_mm``: field of
    view from which a volume weighs fully. ``sigma_data``: standard deviation in network units; noise levels are in
    proportion to it. ``empty_std``: patches below this deviation (network units) count as empty.
    ``window``: network values shown as black and white. ``finer``: factor on the noise levels where the detail to be
    learnt is small against ``sigma_data``; ``log_sigma_std``: standard deviation of their logarithm.
    """

    unit: str
    modality: str
    scale: float | None
    scale_rule: str
    floor: float
    fine_pixel_mm: float
    full_weight_mm: float
    sigma_data: float
    empty_std: float
    patch_sizes: tuple[int, ...]
    window: tuple[float, float]
    finer: float = 1.0
    log_sigma_std: float = 1.3

    @property
    def of_ct(self) -> bool:
        """Whether the volumes to train on are CT in HU."""
        return self.unit in ("HU", LINE_INTEGRAL)

    @property
    def log_sigma_mean(self) -> float:
        """Mean of the logarithm of the noise level: -1.8 for ``sigma_data`` 0.5."""
        return round(-1.8 + math.log(self.finer * self.sigma_data / 0.5), 4)

    @property
    def sigma(self) -> tuple[float, float]:
        """Range of noise levels that is trained: 1/100 (times ``finer``) to 10 times ``sigma_data``."""
        return round(self.finer * self.sigma_data / 100, 6), round(10 * self.sigma_data, 6)

    def scale_of(self, values: np.ndarray) -> float:
        """The value that becomes 1: fixed, or the 99.5th percentile of the foreground of ``values`` (any shape)."""
        if self.scale is not None:
            return self.scale
        bright = values[values > FOREGROUND_SHARE * np.percentile(values, 99.9)]
        return float(np.percentile(bright, FOREGROUND_PERCENTILE))

    def to_network(self, values: np.ndarray) -> np.ndarray:
        """Network units from values of a whole volume."""
        return IntensityScale(self.unit, 0.0, self.scale_of(values)).to_network(values)

    def question(self, volume: Volume) -> str | None:
        """A sentence when a volume does not look like this unit, None when it does. Voxels must be finite."""
        if self.of_ct:
            return question_hu(volume)
        if volume.unit not in (self.unit, "a.u."):
            return f"The values are in {volume.unit}, {self.unit} was expected: convert them or choose another image."
        low, high = float(volume.array.min()), float(volume.array.max())
        found = f"values from {low:.4g} to {high:.4g}"
        if not high > 0 or low < -0.1 * high:
            return f"These {found} are not those of a magnitude image: is this CT, or a phase or difference image?"
        if self.unit == "SUV" and high > HIGHEST_SUV:
            return f"These {found} are beyond any SUV: are they in Bq/mL? Divide by dose over body weight first."
        return None


UNITS: dict[str, UnitRule] = {
    rule.unit: rule
    for rule in (
        UnitRule("HU", "ct", 1000.0, "1000 HU = 1", AIR_HU, 1.1, 400.0, 0.5, 0.02, (64, 128), (-1.0, 0.6)),
        UnitRule(
            "a.u.", "mri", None, "99.5th percentile of a volume's foreground (above 10 % of the 99.9th) = 1",
            0.0, 0.6, 200.0, 0.3, 0.02, (64, 128), (0.0, 1.0),
        ),
        UnitRule("SUV", "pet", 10.0, "SUV 10 = 1", 0.0, 0.0, 200.0, 0.1, 0.005, (32, 64), (0.0, 0.7)),
        # A body's sinogram is smooth: what interpolation between every third view misses is 0.007 network units.
        UnitRule(
            LINE_INTEGRAL, "sinogram", 4.0, "line integral 4 = 1, attenuation from HU with water 0.0193 per mm",
            AIR_HU, 1.1, 400.0, 0.5, 0.01, (64, 128), (0.0, 2.0), 0.2, 1.8,
        ),
    )
}


def rule_of(unit: str) -> UnitRule:
    """The rule of a unit; raises ValueError with the units there are."""
    if unit not in UNITS:
        raise ValueError(f"no rule to train on the unit '{unit}': choose from {', '.join(UNITS)}")
    return UNITS[unit]
