"""The modalities by name: one entry each, and no other place names one. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from .contract import Modality
from .ct.entry import CT
from .mri.entry import MRI
from .pet.entry import PET

MODALITIES: Mapping[str, Modality] = MappingProxyType({
    modality.name: modality
    for modality in (
        CT,
        MRI,
        PET,
    )
})
"""In the order in which they are offered."""

FIRST = next(iter(MODALITIES))
"""The modality of a run that names none."""


def modality_named(name: object) -> Modality:
    """The entry of a modality; raises ValueError with the names there are."""
    if not isinstance(name, str) or name not in MODALITIES:
        raise ValueError(f"expected modality out of {tuple(MODALITIES)}, found {name!r}: change the setting")
    return MODALITIES[name]


def recognised(path: Path, description: Path | None = None) -> Modality:
    """The modality whose measured data a file, with the description beside it if there is one, holds.

    Raises ValueError where it is none that is known.
    """
    # One that takes any array for its own is asked last.
    for modality in sorted(MODALITIES.values(), key=lambda entry: entry.files.greedy):
        if modality.files.recognise(path, description):
            return modality
    beside = "none beside it" if description is None else f"{description.name} beside it"
    raise ValueError(
        f"expected measured data that are known, found {path} with {beside}: give the file and its description"
    )
