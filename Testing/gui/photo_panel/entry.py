"""Photographs that were blurred: their entry in the panel's table, as small as one can be."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from DiffusionReconLib.modalities.contract import AcquisitionPreset, Modality
from slicer.parameterNodeWrapper import parameterPack


@parameterPack
class PhotoAcquisition:
    """A photograph that is blurred."""

    blur: float = 2.0
    place: str = ""


class PhotoRows:
    """Its one choice."""

    def __init__(self, form: Any) -> None:
        self._place = form.choices("photoKindComboBox", "place")
        self._place.fill([("", "Nowhere"), ("out", "Outside")])

    def update(self, values: Any, measured: bool) -> None:
        """Show it."""
        self._place.show(values.place)


PHOTO = Modality(
    name="photo", title="Photograph", purpose="Blurs this photograph.", units=("1",), dicom=("XC",),
    model="photo-small", pack=PhotoAcquisition, uiFile="AcquisitionPhoto.ui", rows=PhotoRows,
    presets=(AcquisitionPreset("soft", "Soft", "a little", MappingProxyType({"blur": 2.0})),
             AcquisitionPreset("hard", "Hard", "very much", MappingProxyType({"blur": 9.0}))),
    sentences={}, stages={}, scanSettings=lambda values: {"blur_pixels": values.blur},
    sources=lambda values: (values.place,),
    summarise=lambda _values: None, suggest=lambda *_facts: None,
)
