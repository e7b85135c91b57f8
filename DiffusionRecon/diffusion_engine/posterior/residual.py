"""Does the delivered image explain the data as well as the noise and the discretisation allow?

A residual outside its accepted range means that data, geometry and noise level do not belong together. It never
detects invented structure: what the scanner cannot see leaves no trace in the residual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LIMITATION = (
    "A passed test shows consistent data, not absence of invented structure: what the scanner cannot see leaves no "
    "residual."
)


@dataclass(frozen=True)
class ResidualTest:
    """``ratio`` = |(y - A x) / sigma|^2 / m of an image, by view too, and the range that simulation found normal."""

    kind: str
    ratio: float
    per_view: tuple[float, ...]
    accepted: tuple[float, float]

    @property
    def passed(self) -> bool:
        return self.accepted[0] <= self.ratio <= self.accepted[1]

    @property
    def statement(self) -> str:
        """One or two sentences for the user."""
        low, high = self.accepted
        found = (
            f"The {self.kind} leaves a residual of {self.ratio:.2f} times the noise "
            f"(normal here: {low:.2f} to {high:.2f})"
        )
        if self.passed:
            return f"{found}. {LIMITATION}"
        if self.ratio > high:
            worst = max(range(len(self.per_view)), key=self.per_view.__getitem__)
            return (
                f"{found}: the data are inconsistent with geometry, noise level or field of view; the worst view is "
                f"number {worst + 1} with {self.per_view[worst]:.2f}. Trust the classical image first."
            )
        return f"{found}: the image fits the noise itself, so the stated noise level is likely too high."


def accepted_range(simulated: float, readings: int, slack: float = 1.6, fitted: bool = True) -> tuple[float, float]:
    """Range of ratios that count as normal around the one of a simulated scan of the same object.

    ``simulated``: ratio that the same kind of result reached on data simulated with the same geometry, noise and
    discretisation mismatch; ``readings`` m: adds the 3-sigma width of a chi-square mean, 3 sqrt(2 / m).
    ``slack``: factor for object and texture that the simulation does not know; ``fitted``: whether the image was made
    to fit the data. One that was not, such as FBP, cannot fit the noise, so it has no lower end.
    """
    width = 3 * math.sqrt(2 / readings)
    low = simulated / slack * (1 - min(width, 0.9)) if fitted else 0.0
    return low, simulated * slack * (1 + width)


def summarise(ratios: Sequence[float]) -> float:
    """Mean ratio over slices; raises where one is not finite."""
    if not all(math.isfinite(r) for r in ratios):
        raise FloatingPointError("a residual is not finite: the image or the data hold NaN or infinite values")
    return sum(ratios) / len(ratios)
