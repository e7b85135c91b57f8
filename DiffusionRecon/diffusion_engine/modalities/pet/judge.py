"""What is doubtful about counts before anything is solved."""

from __future__ import annotations

from ..contract import Remark
from .sinogram import Sinogram

FEW_COUNTS = 0.02
"""Bins with fewer counts on average hold next to nothing: then the prior decides nearly everything."""
HIGH_BACKGROUND = 3.0
"""Background over trues above which hardly anything of the patient is left."""
SAID = {
    "background": "No background is known: randoms and scatter are taken as none, which makes cold places too warm.",
    "attenuation": (
        "No attenuation is known, so that the middle of the body is too cold: give a CT or a map as attenuation_map."
    ),
    "relative": (
        "The counts are not calibrated (duration_s and counts_per_bq): images have relative units, not Bq/mL or SUV."
    ),
}


def judge(sinogram: Sinogram, attenuated: bool) -> tuple[Remark, ...]:
    """Remarks on counts, beside those of their reader; ``attenuated``: whether attenuation is known by now."""
    told = {remark.kind for remark in sinogram.remarks}
    found = []
    if sinogram.background is None and "background" not in told:
        found.append(Remark("background", SAID["background"], True))
    if not attenuated and "attenuation" not in told:
        found.append(Remark("attenuation", SAID["attenuation"], True))
    if sinogram.duration_s is None or sinogram.counts_per_bq is None:
        found.append(Remark("relative", SAID["relative"], True))
    total = float(sinogram.prompts.sum(dtype="float64"))
    if total < FEW_COUNTS * sinogram.prompts.size:
        found.append(Remark("few_counts", (
            f"There are {total / sinogram.prompts.size:.2g} counts a bin: the prior decides nearly everything."
        ), True))
    if sinogram.background is not None:
        away = float(sinogram.background.sum(dtype="float64"))
        if away > HIGH_BACKGROUND * (total - away):
            found.append(Remark("high_background", (
                f"The background is {away / max(total - away, 1.0):.3g} times the true coincidences: images hardly "
                "follow the patient."
            ), True))
    return tuple(found)
