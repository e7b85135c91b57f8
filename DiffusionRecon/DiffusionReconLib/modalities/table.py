"""The modalities of the panel, one entry each; the first stands for what could be set while nothing is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from DiffusionReconLib.modalities.contract import Modality
from DiffusionReconLib.modalities.ct.entry import CT
from DiffusionReconLib.modalities.mri.entry import MRI
from DiffusionReconLib.modalities.pet.entry import PET

NO_UNIT = "a.u."
"""The unit of images whose values have none: of whatever kind they are."""

MODALITIES: Mapping[str, Modality] = MappingProxyType({
    "ct": CT,
    "mri": MRI,
    "pet": PET,
})


def recognised(dicom: str, unit: str, name: str = "") -> str | None:
    """The modality of a volume by DICOM's name of it, else by its unit where there is none; None for others.

    Where its values have no unit either, words in the volume's name come first.
    """
    words = wordsOf(name) if not dicom and unit == NO_UNIT else set()
    for modality in MODALITIES.values():
        if words.intersection(modality.names):
            return modality.name
    for modality in MODALITIES.values():
        if dicom in modality.dicom or (not dicom and unit in modality.units):
            return modality.name
    return None


def wordsOf(name: str) -> set[str]:
    """The words of a name in small letters: "4_PET_wb" has pet, "TorsoPET" too, "Petersen" has not."""
    found = (*re.findall(r"[A-Za-z]+", name), *re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name))
    return {word.lower() for word in found}


def proven(dicom: str, unit: str) -> bool:
    """Whether what :func:`recognised` finds is known: DICOM names it, or a unit that only such images have."""
    return bool(dicom) or unit != NO_UNIT
