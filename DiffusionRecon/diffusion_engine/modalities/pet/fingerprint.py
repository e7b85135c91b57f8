"""What of a PET acquisition the calibration of the spread depends on. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from ...checks import number

if TYPE_CHECKING:
    from ..prepared import Prepared
    from .system import PETSystem

COUNTS_FACTOR, ANGLES_FACTOR, BACKGROUND_PERCENT, SPREAD_MM = 1.5, 2.0, 30.0, 2.0

RULE = (
    "the true coincidences of a slice within a factor of 1.5 or between two that were calibrated, the background "
    "within 30 percent of the trues, the angles within a factor of 2, the point spread within 2 mm, attenuation or "
    "none, raw data or an image in their place, pixels that the prior knows"
)


@dataclass(frozen=True)
class PETFingerprint:
    """``counts``: true coincidences of a slice in millions; ``background_percent``: of the trues; ``attenuated``:
    whether attenuation is known; ``resampled``: the prior worked on other pixels than the image's; ``denoised``: an
    image stands in place of raw data."""

    counts: float
    background_percent: float
    angles: int
    psf_mm: float = 0.0
    attenuated: bool = True
    resampled: bool = False
    denoised: bool = False

    @classmethod
    def of(cls, prepared: Prepared[PETSystem]) -> PETFingerprint:
        """That of a problem."""
        system = prepared.delivered
        own = system.acquisition
        return cls(
            own.counts, own.background_percent, own.angles, own.psf_mm, own.attenuated,
            prepared.prior.grid != system.grid, own.denoised,
        )

    @classmethod
    def stored(cls, entry: Mapping[str, Any]) -> PETFingerprint:
        """That of a card's entry; fields that an older entry lacks have their defaults.

        Raises ValueError for numbers that are none, or not positive.
        """
        for name, least in (("counts", 0.0), ("angles", 0.0), ("background_percent", -1.0)):
            if not number(entry[name]) or not entry[name] > least:
                raise ValueError(
                    f"a calibration in the model card has {name} {entry[name]!r}, expected a positive number: "
                    "calibrate it again"
                )
        return cls(**{own.name: entry[own.name] for own in fields(cls) if own.name in entry})

    def entry(self) -> dict[str, Any]:
        """JSON values for a card."""
        return {
            **asdict(self), "counts": float(f"{self.counts:.4g}"),
            "background_percent": round(self.background_percent, 2),
        }

    def fits(self, asked: PETFingerprint) -> bool:
        """Whether RULE allows to use what was calibrated for this acquisition for ``asked``."""
        return self.offset(asked) is not None and _near(self.counts, asked.counts, COUNTS_FACTOR)

    def offset(self, asked: PETFingerprint) -> float | None:
        """ln of the ratio of their counts; None where they differ in anything else by more than RULE allows."""
        alike = (
            (self.attenuated, self.resampled, self.denoised) == (asked.attenuated, asked.resampled, asked.denoised)
            and abs(self.background_percent - asked.background_percent) <= BACKGROUND_PERCENT
            and abs(self.psf_mm - asked.psf_mm) <= SPREAD_MM and _near(self.angles, asked.angles, ANGLES_FACTOR)
        )
        return math.log(self.counts / asked.counts) if alike else None

    def words(self) -> str:
        """Such as "0.1 million counts a slice"."""
        return f"{self.counts:.3g} million counts a slice"


def _near(one: float, other: float, factor: float) -> bool:
    """Whether two numbers are within a ``factor`` of each other; a little more, for rounding."""
    return max(one, other) <= factor * max(min(one, other), 1e-12) * 1.001
