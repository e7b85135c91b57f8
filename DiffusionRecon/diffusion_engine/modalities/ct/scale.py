"""The units of CT images: HU, attenuation, and network units, of which one is 1000 HU. No torch here."""

from __future__ import annotations

from ...volume import WATER_PER_MM, IntensityScale, Values

HU = IntensityScale("HU", 0.0, 1000.0)
"""The contrast of water to air, 1000 HU, is 1 for a network."""


def hu_to_attenuation(hu: Values, water_per_mm: float = WATER_PER_MM) -> Values:
    """Linear attenuation in 1/mm: mu = water * (1 + HU / 1000); nothing is clipped."""
    return (1.0 + hu / 1000.0) * water_per_mm


def attenuation_to_hu(attenuation: Values, water_per_mm: float = WATER_PER_MM) -> Values:
    """CT number from linear attenuation in 1/mm: HU = 1000 * (mu / water - 1); nothing is clipped."""
    return (attenuation / water_per_mm - 1.0) * 1000.0
