"""Whether a volume looks like PET in its unit: a CT, or SUV taken for Bq/mL and the other way round. No torch here."""

from __future__ import annotations

import numpy as np

from ...volume import Volume

DEEP = -0.1
"""Least value over the greatest below which values are no activities: filtered backprojection stays above."""

HOTTEST_SUV = 300.0
"""Greatest SUV that is not questioned: bladders and injection sites reach 200."""

FAINTEST_BQML = 30.0
"""Greatest activity in Bq/mL below which a scan is questioned."""

OPAQUEST_PER_CM = 0.3
"""Greatest value below which an image without unit may be one of attenuation: bone has 0.17 1/cm at 511 keV."""


def question_pet(volume: Volume) -> str | None:
    """A sentence when the values do not look like activity in the volume's unit, None when they do.

    Raises ValueError, one sentence, for a unit that PET does not have and a volume without any activity.
    """
    if volume.unit not in ("Bq/mL", "a.u.") and not volume.unit.startswith("SUV"):
        raise ValueError(f"expected a PET volume in Bq/mL or SUV, found one in {volume.unit}: "
                         + ("choose the PET, not the CT" if volume.unit == "HU" else "state the unit of its values"))
    least, most = float(np.min(volume.array)), float(np.max(volume.array))
    if not most > 0:
        raise ValueError(f"expected activity above 0, found values from {least:g} to {most:g}: choose another volume")
    if least < DEEP * most:
        return (f"The volume has values from {least:.4g} to {most:.4g} {volume.unit}, which are no activities: is it a "
                "CT or another image?")
    if volume.unit.startswith("SUV") and _whole(volume.array):
        return (f"The volume holds whole numbers from {least:g} to {most:g} alone, which SUV are not: is it a label "
                "map or another image?")
    if volume.unit == "a.u." and most < OPAQUEST_PER_CM:
        return f"The volume reaches only {most:.4g} in no known unit: is it an attenuation map in 1/cm?"
    if volume.unit.startswith("SUV") and most > HOTTEST_SUV:
        return f"The volume reaches an SUV of {most:.4g}, which no tissue has: are its values Bq/mL?"
    if volume.unit == "Bq/mL" and most < FAINTEST_BQML:
        return f"The volume reaches only {most:.4g} Bq/mL, which no scan shows: are its values SUV or kBq/mL?"
    return None


def _whole(values: np.ndarray) -> bool:
    """Whether all values are whole numbers; scanners' SUV are their stored numbers times a factor that is none."""
    return bool((values == np.rint(values)).all())
