"""What of an MR acquisition the calibration of the spread depends on. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from ...checks import number
from ..rules import near

if TYPE_CHECKING:
    from ..prepared import Prepared
    from .system import MRISystem

ACCELERATION_TOLERANCE, ACS_FACTOR, NOISE_FACTOR, COIL_FACTOR = 0.15, 1.5, 2.0, 2.0

RULE = (
    "the pattern of the samples, their acceleration within 15 % or between two that were calibrated, the fully sampled "
    "lines within a factor of 1.5, the noise and the number of coils within a factor of 2, partial Fourier or not, "
    "pixels that the prior knows"
)


@dataclass(frozen=True)
class MRIFingerprint:
    """``acceleration``: all samples over the measured ones; ``pattern``: "uniform" or "random" in ``axes`` directions.

    ``noise_percent``: of the 99.5th percentile of the image's foreground; ``acs_lines``: fully sampled in the middle;
    ``partial``: one side of k-space was left out; ``resampled``: the prior worked on other pixels than the image's.
    """

    acceleration: float
    pattern: str
    axes: int
    acs_lines: int
    coils: int
    noise_percent: float
    partial: bool = False
    resampled: bool = False

    @classmethod
    def of(cls, prepared: Prepared[MRISystem]) -> MRIFingerprint:
        """That of a problem."""
        system = prepared.delivered
        own = system.acquisition
        return cls(
            own.acceleration, own.pattern, own.axes, own.acs_lines, own.coils, own.noise_percent, own.partial,
            prepared.prior.grid != system.grid,
        )

    @classmethod
    def stored(cls, entry: Mapping[str, Any]) -> MRIFingerprint:
        """That of a card's entry; fields that an older entry lacks have their defaults.

        Raises ValueError for numbers that are none, or not positive.
        """
        for name in ("acceleration", "acs_lines", "coils", "noise_percent"):
            if not number(entry[name]) or not entry[name] > 0:
                raise ValueError(
                    f"a calibration in the model card has {name} {entry[name]!r}, expected a positive number: "
                    "calibrate it again"
                )
        return cls(**{own.name: entry[own.name] for own in fields(cls) if own.name in entry})

    def entry(self) -> dict[str, Any]:
        """JSON values for a card."""
        return {
            **asdict(self), "acceleration": round(self.acceleration, 3), "noise_percent": round(self.noise_percent, 4),
        }

    def fits(self, asked: MRIFingerprint) -> bool:
        """Whether RULE allows to use what was calibrated for this acquisition for ``asked``."""
        return self.offset(asked) is not None and near(
            self.acceleration, asked.acceleration, 1 + ACCELERATION_TOLERANCE
        )

    def offset(self, asked: MRIFingerprint) -> float | None:
        """ln of the ratio of their accelerations; None where they differ in anything else by more than RULE allows."""

        def same(a: MRIFingerprint) -> tuple[Any, ...]:
            return a.pattern, a.axes, a.partial, a.resampled, a.coils > 1

        alike = (
            same(self) == same(asked) and near(self.acs_lines, asked.acs_lines, ACS_FACTOR)
            and near(self.noise_percent, asked.noise_percent, NOISE_FACTOR)
            and near(self.coils, asked.coils, COIL_FACTOR)
        )
        return math.log(self.acceleration / asked.acceleration) if alike else None

    def words(self) -> str:
        """Such as "8-fold acceleration"."""
        return f"{self.acceleration:.3g}-fold acceleration"
