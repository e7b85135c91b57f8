"""Does the delivered image explain the data as well as the noise and the discretisation allow?

Two questions. Is the residual of the size that the same kind of image leaves on a simulated scan of itself? That range
follows the image, so nonsense would pass it. And is it small against the data themselves, whatever the image: there is
a ceiling for any image that was fitted. A residual outside means that data, geometry and noise level do not belong
together. Neither detects invented structure: what the scanner cannot see leaves no trace in the residual.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

LIMITATION = (
    "A passed test shows consistent data, not absence of invented structure: what the scanner cannot see leaves no "
    "residual."
)
SLACK = 1.6
"""Factor for object and texture that a simulation does not know."""
UNFITTED_SLACK = 4.0
"""The same for an image that was not fitted: its streaks hang on the object's edges, of which the simulated one has
others. Found on good scans: up to 2.1."""
MISMATCH = 0.03
"""What pixels may cost a fitted image, as a share of the data's own norm, both in units of the noise. Found on
scans of 8 to 240 views, noise of 0.1 to 1 % and 1e4 to 1e6 counts, metal and cut-off bodies, 400 iterations: 0 to
0.012; views in a wrong order or readings of another kind: 0.2 to 0.5."""
UNRESOLVED = 0.005
"""The share of that norm that the mean of draws may leave beyond its own simulated scan: detail that the draws do not
agree on, or that was lost on the way from the prior's pixels to others, is not in it to be lost again. Found: up to
0.0034 with the prior's own pixels, 0.0042 with others."""
CONVERGED = 400
"""Iterations after which a classical image leaves no more than that; after 60 it leaves up to 0.03 where the noise is
even and 0.3 where counts are its source."""
SMOOTH_SLACK = 2.0
"""Factor on what broad groups of readings leave of a simulated scan. Found on good scans of 20 to 120 views, noise of
0.1 to 1 % and 1e4 to 1e7 counts: up to 2.5; with 5 % scatter 4.9 and more in 19 of 20."""
NOISE_SHARE = 0.3
"""The largest share of that norm that may be noise: above it the data say next to nothing at their noise level."""
UNFITTED_SHARE = 0.8
"""The share of the data's plain norm that an image which was not fitted may leave once what is impossible in it is
raised to the least value: 8 views leave 0.4, an arc of 40 degrees 0.7; readings of another kind 0.83, noise alone 3."""

TRUST_CLASSICAL = "Trust the classical image first."
COMPARE = "Reconstruct by {image} as well, and trust that image first where it passes."
CHECK = "Check geometry, units and noise level before any image is used."
TRUST_NONE = (
    "No image that was made explains the data: check geometry, units and noise level, and use none of the images."
)


@dataclass(frozen=True)
class ResidualTest:
    """``ratio`` = |(y - A x) / sigma|^2 / m of an image, by group too, and the range that simulation found normal.

    ``group``: one group of readings in words; ``further``: the ratios by other groups, by what one of them is called;
    ``fitted``: whether the image was made to fit the data; ``explains``: whether the residual is small against the data
    themselves, see :func:`ceiling`; ``advice``: what to do where it is too large, see :func:`advised`; ``smooth``: mean
    square of the residual over broad groups of readings, in units of its noise, and the most that is normal;
    ``causes``: of what is smooth, in words.
    """

    kind: str
    ratio: float
    per_group: tuple[float, ...]
    accepted: tuple[float, float]
    explains: bool = True
    advice: str = CHECK
    fitted: bool = True
    group: str = "group"
    smooth: tuple[float, float] | None = None
    causes: str = ""
    further: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.explains and self.accepted[0] <= self.ratio <= self.accepted[1] and not self.drifts

    @property
    def drifts(self) -> bool:
        """Whether something smooth is left that noise and discretisation do not explain."""
        return self.smooth is not None and self.smooth[0] > self.smooth[1]

    @property
    def too_large(self) -> bool:
        return not self.explains or self.ratio > self.accepted[1]

    @property
    def statement(self) -> str:
        """One or two sentences for the user."""
        low, high = self.accepted
        left = f"The {self.kind} leaves a residual of {self.ratio:.2f} times the noise"
        found = f"{left} (normal here: {low:.2f} to {high:.2f})"
        if self.passed:
            return f"{found}. {LIMITATION}"
        if self.drifts and not self.too_large:
            return f"{found}. {self.misfit}"
        if not self.too_large:
            return f"{found}: the image fits the noise itself, so the stated noise level is likely too high."
        worst_group = ", ".join(
            f"the worst {name} is number {1 + max(range(len(own)), key=own.__getitem__)} with {max(own):.2f}"
            for name, own in {self.group: self.per_group, **self.further}.items()
        )
        if not self.explains:
            return f"{left}, too large a part of the data themselves; {worst_group}. {self.advice}"
        more = f" {self.misfit}" if self.drifts else ""
        return (
            f"{found}: the data are inconsistent with geometry, noise level or field of view; {worst_group}. "
            f"{self.advice}{more}"
        )

    @property
    def misfit(self) -> str:
        """One sentence on what is smooth and no image explains; empty where nothing is."""
        if self.smooth is None or not self.drifts:
            return ""
        times, most = (math.sqrt(value) for value in self.smooth)
        return (
            f"Over broad groups of readings the residual is {times:.1f} times their noise (normal here: up to "
            f"{most:.1f}), as {self.causes} may leave it: values may be several percent wrong, do not measure them."
        )


def advised(tests: Sequence[ResidualTest], image: str, classical: Sequence[str]) -> list[ResidualTest]:
    """The tests of a run with what to do where one left too much, which depends on the others.

    ``image``: the fallback in words; ``classical``: the kinds of images without a prior, the best first.

    No image is recommended where none that was fitted explains the data, and the classical one only where its own test
    does not say too much.
    """
    by_kind = {test.kind: test for test in tests}
    fitted = [test for test in tests if test.fitted] or tests
    other = next((by_kind[kind] for kind in classical if kind in by_kind), None)

    def advice(test: ResidualTest) -> str:
        if not test.too_large:
            return ""
        if not any(own.explains for own in fitted):
            return TRUST_NONE
        if other is None:
            return COMPARE.format(image=image)
        return CHECK if other.too_large else TRUST_CLASSICAL

    return [replace(test, advice=advice(test)) for test in tests]


def accepted_range(
    simulated: float, readings: int, fitted: bool = True, allowed: float = 0.0
) -> tuple[float, float]:
    """Range of ratios that count as normal around the one of a simulated scan of the same object.

    ``simulated``: ratio that the same kind of result reached on data simulated with the same geometry, noise and
    discretisation mismatch; ``readings`` m: adds the 3-sigma width of a chi-square mean, 3 sqrt(2 / m).
    ``fitted``: whether the image was made to fit the data. One that was not cannot fit the noise, so it
    has no lower end, and more room above. ``allowed``: added at the upper end, for what the simulation cannot know.
    """
    width = 3 * math.sqrt(2 / readings)
    slack = SLACK if fitted else UNFITTED_SLACK
    low = simulated / slack * (1 - min(width, 0.9)) if fitted else 0.0
    return low, simulated * slack * (1 + width) + allowed


def smooth_limit(simulated: float, groups: int) -> float:
    """The most that the mean square over broad groups of readings may be, each in units of its noise.

    ``simulated``: what the same kind of image left of a simulated scan; ``groups`` n: adds the 3-sigma width of a
    chi-square mean, so that it is SMOOTH_SLACK (1 + 3 sqrt(2 / n)) times as much.
    """
    return SMOOTH_SLACK * simulated * (1 + 3 * math.sqrt(2 / groups))


def ceiling(
    signal: float, readings: int, iterations: int = CONVERGED, noise_share: float = NOISE_SHARE
) -> float:
    """Largest ratio that an image may leave that was fitted to the data, whatever the image.

    ``signal`` = |y / sigma|^2 / m, the data in units of their noise; ``readings`` m; ``iterations``: fewer than
    CONVERGED leave more. Noise leaves a chi-square mean, with its 3-sigma width and SLACK, but no more than
    ``noise_share`` of the data's norm, and pixels and iterations a share of that norm:

        min(SLACK (1 + 3 sqrt(2 / m)), noise_share^2 signal) + (MISMATCH (CONVERGED / iterations)^1.3)^2 signal.
    """
    noise = SLACK * (1 + 3 * math.sqrt(2 / readings))
    mismatch = MISMATCH * max(1.0, CONVERGED / iterations) ** 1.3
    return min(noise, noise_share**2 * signal) + mismatch**2 * signal


def summarise(ratios: Sequence[float]) -> float:
    """Mean ratio over slices; raises where one is not finite."""
    if not all(math.isfinite(r) for r in ratios):
        raise FloatingPointError("a residual is not finite: the image or the data hold NaN or infinite values")
    return sum(ratios) / len(ratios)
