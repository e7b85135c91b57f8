"""PET's entry in the panel's table: its words, its simulated acquisitions, and which preset fits one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from diffusion_engine.modalities.pet.entry import PET as OF_ENGINE
from slicer.i18n import tr as _

from DiffusionReconLib.modalities.contract import AcquisitionPreset, MeasuredSummary, Modality, Suggestion
from DiffusionReconLib.modalities.pet.acquisition import (
    MAP,
    PETAcquisition,
    PETRows,
    measuredSettings,
    notReady,
    remarksOf,
    scanSettings,
    sources,
    summarise,
)

NOT_TRAINED_ON = frozenset(("BRAIN", "HEAD", "SKULL"))
"""Body parts of DICOM that the shipped trained model has not seen."""


def suggest(values: Any, measured: MeasuredSummary | None, bodyPart: str) -> Suggestion | None:
    """The classical images for what the trained model has not seen; None where that is not known."""
    part = bodyPart.upper().replace(" ", "").replace("_", "")
    if part in NOT_TRAINED_ON:
        return Suggestion(("classical",), _("The trained model does not know this part of the body"))
    return None


def _acquisition(**changes: Any) -> Mapping[str, Any]:
    plain = {"counts": 1.0, "backgroundPercent": 30.0, "angles": 180, "attenuated": True, "denoise": False}
    return MappingProxyType({**plain, **changes})


SENTENCES: Mapping[str, str] = MappingProxyType({
    "standard": _("The usual choice: 4 samples of a method that follows the counts."),
    "posterior": _("8 samples whose mean and spread are near the posterior's."),
    "classical": _("Without a trained model: OSEM, and an image with a relative difference penalty (RDP)."),
})

PET = Modality(
    name="pet",
    title=_("PET"),
    purpose=_("Simulates a low-count scan of this PET volume, or reconstructs measured counts. For research."),
    units=("Bq/mL", "SUV", "SUVlbm", "SUVlbm_james", "SUVbsa", "SUVibw"),
    dicom=("PT",),
    model=OF_ENGINE.default_prior,
    pack=PETAcquisition,
    uiFile="AcquisitionPET.ui",
    rows=PETRows,
    presets=(
        AcquisitionPreset("full", _("Full counts"), _("a million true coincidences a slice"), _acquisition()),
        AcquisitionPreset("quarter", _("A quarter of the counts"), _("250 000 true coincidences a slice"),
                          _acquisition(counts=0.25)),
        AcquisitionPreset("tenth", _("A tenth of the counts"), _("100 000 true coincidences a slice"),
                          _acquisition(counts=0.1)),
        AcquisitionPreset("fortieth", _("A fortieth of the counts"), _("25 000 true coincidences a slice"),
                          _acquisition(counts=0.025)),
        AcquisitionPreset("denoise", _("Denoise this low-count image"),
                          _("no scan is simulated: the volume is the low-count image, without raw data"),
                          MappingProxyType({"denoise": True, "attenuated": True})),
    ),
    sentences=SENTENCES,
    stages=MappingProxyType({"osem": _("OSEM"), "rdp": _("Relative difference penalty")}),
    scanSettings=scanSettings,
    sources=sources,
    summarise=summarise,
    suggest=suggest,
    names=("pet", "suv", "suvbw", "fdg", "pt", "psma", "dotatate"),
    volumes=MappingProxyType({MAP: "petAttenuation"}),
    measuredSettings=measuredSettings,
    notReady=notReady,
    remarks=remarksOf,
)
