"""CT's entry in the panel's table: its words, its simulated scans, and which preset fits a scan."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from slicer.i18n import tr as _

from DiffusionReconLib.modalities.contract import AcquisitionPreset, MeasuredSummary, Modality, Suggestion
from DiffusionReconLib.modalities.ct.acquisition import CTAcquisition, CTRows, scanSettings, sources, summarise

FEW_VIEWS = 20
FEW_PHOTONS = 3e4
NOT_TRAINED_ON = frozenset((
    "HEAD", "BRAIN", "SKULL", "FACE", "ORBIT", "SINUS", "JAW", "TEETH", "EAR", "IAC", "NECK", "CSPINE", "HEADNECK",
    "EXTREMITY", "ARM", "UPPERARM", "ELBOW", "FOREARM", "WRIST", "HAND", "FINGER", "LEG", "KNEE", "CALF", "ANKLE",
    "FOOT", "TOE",
))
"""Body parts of DICOM that the shipped trained models have hardly seen or not at all."""


def suggest(values: Any, measured: MeasuredSummary | None, bodyPart: str) -> Suggestion | None:
    """The preset that fits unknown anatomy, few photons or few views, in this order; None for other scans."""
    if bodyPart.upper().replace(" ", "").replace("_", "") in NOT_TRAINED_ON:
        return Suggestion(("unknown-anatomy",), _("The trained models do not know this part of the body"))
    if measured is None:
        views, photons = values.views, values.photons if values.noiseKind == "photons" else None
    else:
        views, photons = measured.views, measured.photons
    if photons is not None and photons <= FEW_PHOTONS:
        return Suggestion(("low-dose",), _("Only {n:.0f} photons a ray").format(n=photons))
    if views <= FEW_VIEWS:
        return Suggestion(("few-views", "few-views-thorough", "volume"), _("Only {n} views").format(n=views))
    return None


CLEAN: Mapping[str, Any] = MappingProxyType({"scatterPercent": 0.0, "beamHardening": False})


def _percent(**changes: Any) -> Mapping[str, Any]:
    plain = {"geometry": "parallel", "views": 60, "arcDegrees": 180.0, "noiseKind": "percent", "noisePercent": 0.2}
    return MappingProxyType({**plain, **CLEAN, **changes})


LOW_DOSE: Mapping[str, Any] = MappingProxyType({
    "geometry": "parallel", "views": 360, "arcDegrees": 180.0, "noiseKind": "photons", "photons": 1e4,
    "electronicStd": 5.0, **CLEAN,
})

SENTENCES: Mapping[str, str] = MappingProxyType({
    "fast": _("A first look: 4 samples of 4 steps, by a model that was trained for it."),
    "standard": _("The usual choice: 4 samples of 30 steps."),
    "few-views": _("For 20 views or fewer: 2 samples of 26 thorough steps, larger model, up to four times as slow."),
    "few-views-thorough": _("As Few views with 8 samples of 30 steps: a smoother map, up to seventeen times as slow."),
    "volume": _("For several slices from few views: each is seen with its neighbours, 4 samples of 80 steps."),
    "posterior": _("8 samples whose mean and spread are near the posterior's."),
    "low-dose": _("For few photons: every ray is weighted by its noise, 4 samples of 30 steps."),
    "unknown-anatomy": _("For what the model was not trained on: it adapts to the data, 4 samples."),
    "classical": _("Without a trained model: filtered backprojection and total variation."),
})

CT = Modality(
    name="ct",
    title=_("CT"),
    purpose=_("Simulates a sparse scan of this CT, or reconstructs measured data. For research."),
    units=("HU",),
    dicom=("CT",),
    model="ct-body",
    pack=CTAcquisition,
    uiFile="AcquisitionCT.ui",
    rows=CTRows,
    presets=(
        AcquisitionPreset("sparse-60", _("Sparse view, 60"), _("60 parallel views over 180 degrees"), _percent()),
        AcquisitionPreset("sparse-20", _("Sparse view, 20"), _("20 parallel views over 180 degrees"),
                          _percent(views=20)),
        AcquisitionPreset("sparse-8", _("Sparse view, 8"), _("8 parallel views over 180 degrees"), _percent(views=8)),
        AcquisitionPreset("low-dose", _("Low dose"), _("360 views, 10 000 photons a ray, electronic noise"), LOW_DOSE),
        AcquisitionPreset("limited-arc", _("Limited arc, 90 degrees"), _("60 parallel views over 90 degrees"),
                          _percent(arcDegrees=90.0)),
        AcquisitionPreset("fan", _("Fan beam, 60 views"), _("60 views over 360 degrees, clinical distances"),
                          _percent(geometry="fan_curved", arcDegrees=360.0)),
    ),
    sentences=SENTENCES,
    stages=MappingProxyType({"fbp": _("Filtered backprojection"), "tv": _("Total variation")}),
    scanSettings=scanSettings,
    sources=sources,
    summarise=summarise,
    suggest=suggest,
)
