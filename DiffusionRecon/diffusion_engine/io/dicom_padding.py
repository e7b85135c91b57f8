"""Pixels outside the field of view, known by the DICOM padding tags: made air in CT, always with a warning."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from ..volume import AIR_HU
from .dicom_file import DicomFile
from .dicom_pixels import Words

LEAST_AIR_HU = -1024.0
"""The least that scanners store as air: padding from here to air is air already and stays as it is."""

MOST_TISSUE_HU = 4000.0
"""Padding between air and this may be tissue or metal as well (12 bits end near 3071 HU)."""


@dataclass
class PaddingCount:
    """The padding met in a series: voxels made air and voxels left as they are, with the last value of each."""

    aired: int = 0
    was: float = 0.0
    kept: int = 0
    left: float = 0.0

    def settle(self, values: np.ndarray, padding: np.ndarray, beyond: np.ndarray, is_hu: bool) -> None:
        """Make padding air in place where ``values`` are HU, and count it; where they are not, count it only.

        ``padding``, ``beyond``: where the voxels are padding (bool), and where its word exceeds the stored bits. In CT
        what lies between air and MOST_TISSUE_HU stays; elsewhere all does, and a padding of 0 is no signal anyway.
        """
        if is_hu:
            impossible = (values < LEAST_AIR_HU) | (values > MOST_TISSUE_HU) | beyond
            kept = padding & ~impossible & (values > AIR_HU)
        else:
            impossible = np.zeros_like(padding)
            kept = padding & ((values != 0) | beyond)
        aired = padding & impossible
        if aired.any():
            self.aired += int(aired.sum())
            self.was = float(values[aired][-1])
            values[aired] = AIR_HU
        if kept.any():
            self.kept += int(kept.sum())
            self.left = float(values[kept][-1])

    def tell(self, name: str) -> None:
        """Say by ``warnings.warn`` what was found, if anything."""
        if self.aired:
            warnings.warn(
                f"{self.aired} voxels of {name} are padding by its header (PixelPaddingValue, {self.was:g} HU); "
                f"they were set to air, {AIR_HU:g} HU.",
                stacklevel=5,
            )
        if self.kept:
            warnings.warn(
                f"{self.kept} voxels of {name} hold the padding value of its header ({self.left:g}); they were left "
                "as they are, because it may be a measured value here.",
                stacklevel=5,
            )


def words_beyond(file: DicomFile, words: Words, raw: np.ndarray) -> np.ndarray:
    """Where words (unsigned) are the padding value itself (bool) although it exceeds the bits that are stored."""
    padding = file.padding("PixelPaddingValue")
    if padding is None or words.kind != "i" or words.stored == words.allocated:
        return np.zeros(raw.shape, bool)
    whole = (1 << words.allocated) - 1
    found = {number & whole for number in padding}
    used = ((1 << words.stored) - 1) << (words.high + 1 - words.stored)
    return np.isin(raw, np.array([number for number in found if number & ~used], raw.dtype))


def is_padding(file: DicomFile, words: Words, numbers: np.ndarray) -> np.ndarray:
    """Where stored numbers are PixelPaddingValue, or from it to PixelPaddingRangeLimit (bool)."""
    if words.kind != "i":
        name = "FloatPixelPadding" if words.kind == "f" else "DoubleFloatPixelPadding"
        ends = [file.field(f"{name}{what}") for what in ("Value", "RangeLimit")]
        stated = [end for end in ends if isinstance(end, float)] if ends[0] is not None else []
    else:
        which = 0 if words.signed else 1
        pair = [file.padding(f"PixelPadding{what}") for what in ("Value", "RangeLimit")]
        stated = [end[which] for end in pair if end is not None] if pair[0] else []
    if not stated:
        return np.zeros(numbers.shape, bool)
    return (numbers >= min(stated)) & (numbers <= max(stated))
