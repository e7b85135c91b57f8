"""The unit of CT images: 1000 HU, the contrast of water to air, are 1 for a network. No torch here."""

from __future__ import annotations

from ...volume import IntensityScale

HU = IntensityScale("HU", 0.0, 1000.0)
