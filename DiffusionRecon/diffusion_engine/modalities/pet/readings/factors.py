"""Background, attenuation and efficiency of an Interfile sinogram, out of further Interfiles of the same layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...rules import Remark
from .description import Description
from .interfile_header import InterfileHeader, read_header
from .interfile_layout import SinogramLayout, sinogram_layout


@dataclass(frozen=True, eq=False)
class Factors:
    """By segment, each broadcastable to (planes, views, bins): ``background`` in counts or None, ``attenuation`` as a
    probability, ``efficiency``. ``attenuated``: whether attenuation is known; ``normalised``: whether efficiencies
    are, which then hold the number of ring pairs."""

    background: list[np.ndarray] | None
    attenuation: list[np.ndarray]
    efficiency: list[np.ndarray]
    attenuated: bool
    normalised: bool

    @classmethod
    def read(cls, header: InterfileHeader, layout: SinogramLayout, description: Description,
             randoms: list[np.ndarray] | None, remarks: list[Remark]) -> Factors:
        """Those that the description names, and the delayed coincidences of the file itself as background."""

        def found(name: str | None) -> list[np.ndarray] | None:
            return None if name is None else _same_layout(description, name, layout)

        background = found(description.background)
        if background is None and randoms is not None:
            background = randoms
            remarks.append(Remark("randoms", "The delayed coincidences of the file were taken as the expected randoms: "
                                             "they are noisy themselves, and scatter is not among them.", True))
        if background is None:
            remarks.append(Remark("background", "No background is known: randoms and scatter are taken as none; name "
                                                "a file of them as \"background\" in the description.", False))
        ones = [np.ones(1, np.float32)] * len(layout.segments)
        attenuation = found(description.attenuation)
        factors = found(description.attenuation_factors)
        if factors is not None:
            attenuation = [inverse(part, "attenuation factors", 1.0) for part in factors]
        if attenuation is None:
            remarks.append(Remark("attenuation", "No attenuation is known: give a mu-map or CT, or name a file of "
                                                 "factors as \"attenuation\" in the description.", False))
        efficiency = found(description.efficiency)
        norm = found(description.normalisation)
        if norm is not None:
            efficiency = [inverse(part, "normalisation", 0.0) for part in norm]
        return cls(background, attenuation or ones, efficiency or ones, attenuation is not None, efficiency is not None)


def _same_layout(description: Description, name: str, layout: SinogramLayout) -> list[np.ndarray]:
    """The numbers of another sinogram by segment; ValueError where it is not laid out as the counts."""
    from .interfile_sinogram import parts_of

    header = read_header(description.file(name))
    other = sinogram_layout(header, description)
    if (other.segments, other.views, other.bins) != (layout.segments, layout.views, layout.bins):
        raise ValueError(
            f"expected {name} with the {len(layout.segments)} segments, {layout.views} views and {layout.bins} bins of "
            f"the counts, found {len(other.segments)}, {other.views} and {other.bins}: give that of these counts"
        )
    return parts_of(header, other)[0]


def inverse(factors: np.ndarray, name: str, least: float) -> np.ndarray:
    """1 / factor, 0 where a normalisation is 0 (a dead bin); ValueError for numbers below ``least``."""
    if not np.isfinite(factors).all() or (factors < least - 1e-4).any():
        raise ValueError(f"expected finite {name} of at least {least:g}, found {float(np.min(factors)):g}: give the "
                         "numbers that counts are multiplied by")
    return np.divide(1.0, factors, out=np.zeros(factors.shape), where=factors > 0)
