"""MRI's entry in the panel's table: its words, its simulated acquisitions, and which preset fits one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from diffusion_engine.modalities.mri.entry import MRI as OF_ENGINE
from slicer.i18n import tr as _

from DiffusionReconLib.modalities.contract import AcquisitionPreset, MeasuredSummary, Modality, Suggestion
from DiffusionReconLib.modalities.mri.acquisition import MRIAcquisition, MRIRows, scanSettings, sources, summarise

TRAINED_ON = frozenset(("BRAIN", "HEAD", "SKULL"))
"""Body parts of DICOM that the shipped trained model has seen."""


def suggest(values: Any, measured: MeasuredSummary | None, bodyPart: str) -> Suggestion | None:
    """The classical images for what the trained model has not seen; None for heads and where it is not known."""
    part = bodyPart.upper().replace(" ", "").replace("_", "")
    if part and part not in TRAINED_ON:
        return Suggestion(("classical",), _("The trained model knows heads alone"))
    return None


def _acquisition(**changes: Any) -> Mapping[str, Any]:
    plain = {"acceleration": 4.0, "pattern": "gaussian", "plane": "lines", "acsLines": 24, "coils": 8,
             "noisePercent": 1.0, "partialFourier": 1.0}
    return MappingProxyType({**plain, **changes})


SENTENCES: Mapping[str, str] = MappingProxyType({
    "standard": _("The usual choice: 4 samples of {n} steps.").format(n=OF_ENGINE.usual["dds"]["steps"]),
    "posterior": _("8 samples whose mean and spread are near the posterior's."),
    "classical": _("Without a trained model: zero-filled, CG-SENSE, total variation and l1-wavelet."),
})

MRI = Modality(
    name="mri",
    title=_("MRI"),
    purpose=_("Simulates an accelerated scan of this MR volume, or reconstructs measured k-space. For research."),
    units=("a.u.",),
    dicom=("MR",),
    model="mr-head",
    pack=MRIAcquisition,
    uiFile="AcquisitionMRI.ui",
    rows=MRIRows,
    presets=(
        AcquisitionPreset("fast-4", _("4-fold, random lines"), _("a quarter of the lines, denser in the middle"),
                          _acquisition()),
        AcquisitionPreset("fast-8", _("8-fold, random lines"), _("an eighth of the lines, denser in the middle"),
                          _acquisition(acceleration=8.0)),
        AcquisitionPreset("even-4", _("4-fold, even lines"), _("every fourth line or so, as for SENSE and GRAPPA"),
                          _acquisition(pattern="uniform")),
        AcquisitionPreset("points-8", _("8-fold, points (3D)"), _("an eighth of two phase encodings, Poisson disc"),
                          _acquisition(acceleration=8.0, pattern="poisson", plane="ellipse")),
        AcquisitionPreset("partial", _("2-fold, partial Fourier"), _("half of the lines, from 3/4 of k-space"),
                          _acquisition(acceleration=2.0, partialFourier=0.75)),
        AcquisitionPreset("one-coil", _("4-fold, one coil"), _("a quarter of the lines and a single coil"),
                          _acquisition(coils=1)),
    ),
    sentences=SENTENCES,
    stages=MappingProxyType({
        "zero-filled": _("Zero-filled"), "sense": _("CG-SENSE"), "tv": _("Total variation"), "wavelet": _("l1-wavelet"),
    }),
    scanSettings=scanSettings,
    sources=sources,
    summarise=summarise,
    suggest=suggest,
)
