"""The unit of PET images: SUV or Bq/mL, whichever the input has. A network unit is a statistic of the images.

No torch here.
"""

from __future__ import annotations

from ...volume import IntensityScale

SUV = IntensityScale("SUV", 0.0, 10.0)
"""That of priors: what is 1 for a network is about SUV 8 to 10. Each run has a scale of its own in the input's unit."""
BQML, RELATIVE = "Bq/mL", "a.u."


def scale_of(activity: float, unit: str) -> IntensityScale:
    """The scale of a run whose network unit is ``activity`` in ``unit``."""
    return IntensityScale(unit, 0.0, activity)
